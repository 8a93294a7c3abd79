"""What a finished line means: a search, a filter, a label, a comment, a length of time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from gpufleet.tui import navigation
from gpufleet.tui.prompt import Prompt, Purpose, remembered
from gpufleet.tui.state import Acknowledge, Effect, Save, Scene, Silence, Ui

MOST_FILTERS = 50
_LENGTH = re.compile(r"(\d{1,4})\s*(min|m|h|d|w)", re.ASCII)
_SECONDS = {"min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
MOST_SILENCE = 90 * 86400


def answered(
    ui: Ui, prompt: Prompt, scene: Scene, check: Callable[[str], tuple[str, int] | None]
) -> tuple[Ui, tuple[Effect, ...]]:
    """Enter was pressed in a line, which is closed in ``ui``; one with a mistake opens again."""
    text = prompt.text.strip()
    match prompt.purpose:
        case Purpose.SEARCH:
            return navigation.search(replace(ui, search=text), scene, 1, here=True), ()
        case Purpose.FILTER:
            wrong = check(prompt.text) if text else None
            if wrong is not None:
                again = replace(prompt, error=wrong[0], error_at=wrong[1], at=wrong[1])
                return replace(ui, prompt=again), ()
            filters = remembered(ui.filters, text, MOST_FILTERS)
            return replace(ui, filter=text, filters=filters), (Save(),)
        case Purpose.LABEL:
            if not text:
                return ui, ()
            name = text.removeprefix("label.")
            order = replace(ui.order, group=f"label.{name}", toggled=frozenset(), all_open=None)
            return replace(ui, order=order), (Save(),)
        case Purpose.ACKNOWLEDGE:
            return ui, (Acknowledge(prompt.subject, text),)
        case Purpose.SILENCE:
            seconds = length_of_time(text)
            if seconds is None:
                error = "Write a length such as 30m, 2h or 3d, at most 90d."
                return replace(ui, prompt=replace(prompt, error=error)), ()
            comment = Prompt(Purpose.SILENCE_COMMENT, subject=prompt.subject, carried=str(seconds))
            return replace(ui, prompt=comment), ()
        case Purpose.SILENCE_COMMENT:
            return ui, (Silence(prompt.subject, int(prompt.carried), text),)


def length_of_time(text: str) -> int | None:
    """``30m``, ``2h``, ``3d``, ``1w`` as seconds; ``None`` for anything else, or over 90 days."""
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        return None
    seconds = int(match[1]) * _SECONDS[match[2]]
    return seconds if 0 < seconds <= MOST_SILENCE else None
