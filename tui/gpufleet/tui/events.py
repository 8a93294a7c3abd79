"""What a person does at the terminal, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Key:
    """A key: one character as typed, or a key's name (``up``, ``enter``, ``esc``, ``ctrl-u``)."""

    name: str


class Button(Enum):
    """What the mouse did."""

    PRESS = "press"
    DOUBLE = "double"
    UP = "wheel up"
    DOWN = "wheel down"


@dataclass(frozen=True, slots=True)
class Mouse:
    """The mouse at a cell."""

    x: int
    y: int
    button: Button


@dataclass(frozen=True, slots=True)
class Resize:
    """The terminal has another size now."""

    width: int
    height: int


Event = Key | Mouse | Resize
