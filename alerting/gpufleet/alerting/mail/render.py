"""Writes a view as plain text and as HTML that mail programs show alike, light and dark."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gpufleet.alerting.mail.view import View

CHART_ID = "chart@gpufleet"
"""Content-ID of the picture that the HTML shows."""
WIDTH = 76

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Tone:
    """Colours of a mail: ``solid`` under white text, ``ink`` on white, ``bright`` on black,
    ``line`` in charts, on either."""

    solid: str
    ink: str
    bright: str
    wash: str
    line: str


TONES = {
    "critical": Tone("#d92d20", "#b42318", "#ff8a80", "#fef3f2", "#f04438"),
    "warning": Tone("#b54708", "#93370d", "#fdb022", "#fffaeb", "#dc6803"),
    "info": Tone("#175cd3", "#175cd3", "#84bcff", "#eff8ff", "#2e90fa"),
    "resolved": Tone("#067647", "#067647", "#5fd39b", "#ecfdf3", "#12a168"),
    "nodata": Tone("#475467", "#475467", "#b6c0cf", "#f2f4f7", "#7d8794"),
    "flapping": Tone("#5925dc", "#5925dc", "#bda6ff", "#f4f3ff", "#8b6cf0"),
    "digest": Tone("#344054", "#344054", "#b6c0cf", "#f2f4f7", "#7d8794"),
    "muted": Tone("#475467", "#475467", "#b6c0cf", "#f2f4f7", "#7d8794"),
}


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["wrapped"] = _wrapped
    return made


def html_of(view: View, *, chart: bool) -> str:
    """The HTML part; every text is escaped. ``chart``: the picture comes with it."""
    return (
        _environment()
        .get_template("mail.html.j2")
        .render(view=view, tones=TONES, tone=TONES[view.tone], chart_id=CHART_ID if chart else "")
    )


def text_of(view: View) -> str:
    """The text part."""
    text = _environment().get_template("mail.txt.j2").render(view=view)
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [
        line for at, line in enumerate(lines) if line or (at and lines[at - 1])
    ]  # no two empty lines in a row
    return "\n".join(kept).strip() + "\n"


def _wrapped(text: str, indent: int = 0) -> str:
    """Lines of at most WIDTH characters, the further ones indented by so many spaces."""
    return textwrap.fill(
        text,
        WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
