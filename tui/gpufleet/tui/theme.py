"""Themes: which style each meaning has, for terminals with 256 colours, 8, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from gpufleet.client.severity import LEVELS, Severity
from gpufleet.tui.canvas import Style

NAMES = ("auto", "dark", "light", "contrast", "mono")
"""What ``--theme`` takes; ``auto`` is dark or light as the terminal says."""

Ramp = tuple[Style, ...]
"""Styles from the least value to the greatest."""


class Depth(Enum):
    """How many colours the terminal has."""

    FULL = 256
    EIGHT = 8
    NONE = 0


@dataclass(frozen=True, slots=True)
class Theme:
    """A style for each meaning; widgets know no colours."""

    name: str
    text: Style
    strong: Style
    dim: Style
    border: Style
    title: Style
    key: Style
    """A letter that does something when it is pressed."""
    heading: Style
    sorted: Style
    track: Style
    """The empty part of a bar."""
    health: tuple[Style, Style, Style, Style]
    unknown: Style
    load: Ramp
    memory: Ramp
    temperature: Ramp
    power: Ramp
    neutral: Ramp
    match: Style
    error: Style
    good: Style
    selected_bg: int | None
    """Ground of the selected row; ``None`` shows it in reverse."""
    unicode: bool = True

    def level(self, level: int | None) -> Style:
        """The style of a health level."""
        return self.unknown if level is None else self.health[level]

    def severity(self, severity: Severity) -> Style:
        """The style of a severity."""
        plain = {Severity.NONE: self.text, Severity.UNKNOWN: self.unknown}
        return plain.get(severity) or self.health[LEVELS.index(severity.value)]


def shade(ramp: Ramp, ratio: float | None) -> Style:
    """The ramp's style for a ratio; outside 0–1 it is that of the nearer end."""
    if ratio is None:
        return ramp[0]
    return ramp[min(max(int(ratio * len(ramp)), 0), len(ramp) - 1)]


def ramp(colours: Sequence[int], bold_from: float = 2.0) -> Ramp:
    """A ramp of palette colours; from this share of it on they are bold."""
    count = len(colours)
    return tuple(Style(colour, bold=i / count >= bold_from) for i, colour in enumerate(colours))


def _dark() -> Theme:
    return Theme(
        name="dark",
        text=Style(252),
        strong=Style(255, bold=True),
        dim=Style(244),
        border=Style(239),
        title=Style(252, bold=True),
        key=Style(203, bold=True),
        heading=Style(110, bold=True),
        sorted=Style(222, bold=True),
        track=Style(237),
        health=(Style(71), Style(221, bold=True), Style(208, bold=True), Style(203, bold=True)),
        unknown=Style(244),
        load=ramp((29, 35, 71, 77, 113, 149, 185, 221)),
        memory=ramp((37, 38, 74, 75, 69, 99, 135, 171)),
        temperature=ramp((32, 38, 37, 71, 107, 143, 179, 215, 209, 203, 197)),
        power=ramp((60, 61, 97, 133, 169, 175, 211, 210, 209)),
        neutral=ramp((66, 67, 74, 110, 153)),
        match=Style(16, 221),
        error=Style(203, bold=True),
        good=Style(71),
        selected_bg=236,
    )


def _light() -> Theme:
    return Theme(
        name="light",
        text=Style(235),
        strong=Style(16, bold=True),
        dim=Style(243),
        border=Style(249),
        title=Style(235, bold=True),
        key=Style(160, bold=True),
        heading=Style(24, bold=True),
        sorted=Style(130, bold=True),
        track=Style(253),
        health=(Style(28), Style(136, bold=True), Style(166, bold=True), Style(160, bold=True)),
        unknown=Style(243),
        load=ramp((29, 28, 64, 70, 100, 136)),
        memory=ramp((30, 31, 25, 26, 62, 56, 92, 128)),
        temperature=ramp((25, 31, 30, 28, 64, 100, 136, 172, 166, 160, 124)),
        power=ramp((60, 61, 97, 91, 127, 163, 161)),
        neutral=ramp((66, 60, 24, 25)),
        match=Style(16, 222),
        error=Style(160, bold=True),
        good=Style(28),
        selected_bg=254,
    )


def _contrast() -> Theme:
    white = Style(15)
    bold = Style(15, bold=True)
    hot = ramp((10, 10, 10, 11, 11, 11, 9, 9), 0.7)
    return Theme(
        name="contrast",
        text=white,
        strong=bold,
        dim=Style(250),
        border=Style(250),
        title=bold,
        key=Style(11, bold=True, underline=True),
        heading=Style(14, bold=True),
        sorted=Style(11, bold=True, underline=True),
        track=Style(240),
        health=(Style(10), Style(11, bold=True), Style(16, 11, bold=True), Style(15, 9, bold=True)),
        unknown=Style(250),
        load=hot,
        memory=ramp((14, 14, 14, 14, 13, 13)),
        temperature=hot,
        power=hot,
        neutral=ramp((14, 14)),
        match=Style(16, 11, bold=True),
        error=Style(15, 9, bold=True),
        good=Style(10, bold=True),
        selected_bg=None,
    )


def _eight(base: Theme) -> Theme:
    """The same meanings with the eight colours that every colour terminal has."""
    green, yellow, red, blue, magenta, cyan = (Style(c) for c in (2, 3, 1, 4, 5, 6))
    hot: Ramp = (green, green, green, yellow, yellow, red)
    plain = Style()
    return replace(
        base,
        text=plain,
        strong=Style(bold=True),
        dim=plain,
        border=blue if base.name == "light" else cyan,
        title=Style(bold=True),
        key=Style(1, bold=True),
        heading=Style(6, bold=True) if base.name != "light" else Style(4, bold=True),
        sorted=Style(3, bold=True),
        track=Style(dim=True),
        health=(green, Style(3, bold=True), Style(5, bold=True), Style(1, bold=True)),
        unknown=plain,
        load=hot,
        memory=(cyan, cyan, blue if base.name == "light" else cyan, magenta),
        temperature=(cyan, cyan, green, green, yellow, red),
        power=(green, yellow, yellow, magenta),
        neutral=(cyan,),
        match=Style(0, 3),
        error=Style(1, bold=True),
        good=green,
        selected_bg=None,
    )


def _mono() -> Theme:
    plain, bold, dim = Style(), Style(bold=True), Style(dim=True)
    return Theme(
        name="mono",
        text=plain,
        strong=bold,
        dim=plain,
        border=dim,
        title=bold,
        key=Style(bold=True, underline=True),
        heading=Style(underline=True),
        sorted=Style(bold=True, underline=True),
        track=dim,
        health=(plain, bold, bold, Style(bold=True, reverse=True)),
        unknown=plain,
        load=(plain, plain, plain, bold),
        memory=(plain,),
        temperature=(plain, plain, plain, bold),
        power=(plain,),
        neutral=(plain,),
        match=Style(reverse=True),
        error=Style(bold=True, reverse=True),
        good=plain,
        selected_bg=None,
    )


def build(name: str, depth: Depth, unicode: bool, environ: Mapping[str, str]) -> Theme:
    """The theme of a name; with no colours it is mono, whatever the name.

    ``COLORFGBG`` is how some terminals tell their colours: its last number is the ground's.
    """
    if name == "auto":
        ground = environ.get("COLORFGBG", "").rpartition(";")[2]
        name = "light" if ground in ("7", "15") else "dark"
    if depth is Depth.NONE or name == "mono":
        made = _mono()
    else:
        made = {"dark": _dark, "light": _light, "contrast": _contrast}[name]()
        if depth is Depth.EIGHT:
            made = _eight(made)
    return replace(made, unicode=unicode)


def greyed(theme: Theme) -> Theme:
    """The theme for a picture that is old: everything as dim as its dim text."""
    grey = theme.dim if theme.name != "mono" else Style(dim=True)
    names = ("text", "strong", "title", "heading", "sorted", "good", "unknown")
    ramps = ("load", "memory", "temperature", "power", "neutral")
    return replace(
        theme,
        health=(grey,) * 4,
        **dict.fromkeys(names, grey),  # type: ignore[arg-type]  # all of them are styles
        **dict.fromkeys(ramps, (grey,)),  # type: ignore[arg-type]  # and these are ramps
    )
