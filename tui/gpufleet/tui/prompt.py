"""A line that is being typed: text, cursor, and the history that the arrows walk through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from gpufleet.tui.events import Key

MAX_TEXT = 2000


class Purpose(Enum):
    """What is asked for."""

    SEARCH = "search"
    FILTER = "filter"
    LABEL = "group by label"
    ACKNOWLEDGE = "acknowledge"
    SILENCE = "silence"
    SILENCE_COMMENT = "silence, comment"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The line. ``at`` is the cursor, ``error`` a sentence, ``error_at`` its character (from 0)."""

    purpose: Purpose
    text: str = ""
    at: int = 0
    history: tuple[str, ...] = ()
    """Earlier texts, the newest first."""
    back: int = -1
    """Which of them is shown; -1: what is typed."""
    typed: str = ""
    error: str = ""
    error_at: int | None = None
    subject: str = ""
    """What it is about, for example an incident's id."""
    carried: str = ""
    """What an earlier line said, where one follows the other."""


def edited(prompt: Prompt, key: Key) -> Prompt:
    """The line after a key; keys that mean nothing in a line change nothing."""
    text, at = prompt.text, prompt.at
    name = key.name
    if len(name) == 1:
        if len(text) >= MAX_TEXT:
            return prompt
        return _typed(prompt, text[:at] + name + text[at:], at + 1)
    if name == "backspace" and at:
        return _typed(prompt, text[: at - 1] + text[at:], at - 1)
    if name == "delete":
        return _typed(prompt, text[:at] + text[at + 1 :], at)
    if name == "ctrl-u":
        return _typed(prompt, text[at:], 0)
    if name == "ctrl-k":
        return _typed(prompt, text[:at], at)
    if name == "ctrl-w":
        kept = text[:at].rstrip()
        kept = kept[: kept.rfind(" ") + 1]
        return _typed(prompt, kept + text[at:], len(kept))
    moves = {"left": at - 1, "right": at + 1, "home": 0, "ctrl-a": 0}
    moves |= {"end": len(text), "ctrl-e": len(text)}
    if name in moves:
        return replace(prompt, at=min(max(moves[name], 0), len(text)))
    if name in ("up", "down") and prompt.history:
        return _recalled(prompt, prompt.back + (1 if name == "up" else -1))
    return prompt


def _typed(prompt: Prompt, text: str, at: int) -> Prompt:
    return replace(prompt, text=text, at=at, back=-1, typed=text, error="", error_at=None)


def _recalled(prompt: Prompt, back: int) -> Prompt:
    back = min(max(back, -1), len(prompt.history) - 1)
    text = prompt.typed if back < 0 else prompt.history[back]
    return replace(prompt, text=text, at=len(text), back=back, error="", error_at=None)


def remembered(history: Sequence[str], text: str, most: int) -> tuple[str, ...]:
    """The history with a text at its front, each once."""
    return (text, *(old for old in history if old != text))[:most] if text else tuple(history)
