"""The last row: what keys do here, a note, or the line that is being typed."""

from __future__ import annotations

from gpufleet.tui.boxes import Zone
from gpufleet.tui.canvas import Canvas
from gpufleet.tui.keymap import BINDINGS, Binding, sign
from gpufleet.tui.prompt import Prompt, Purpose
from gpufleet.tui.state import Ui
from gpufleet.tui.text import cells, fit, width
from gpufleet.tui.theme import Theme

_WORDS = {
    Purpose.SEARCH: "search",
    Purpose.FILTER: "filter",
    Purpose.LABEL: "group by label",
    Purpose.ACKNOWLEDGE: "acknowledge, with a comment",
    Purpose.SILENCE: "silence for (30m, 2h, 3d)",
    Purpose.SILENCE_COMMENT: "comment of the silence",
}
_HINTS = {
    Purpose.SEARCH: "Enter keeps it, n goes on, Esc leaves",
    Purpose.FILTER: "temp>85 & node~=dgx, user=NAME, not stale; ↑ earlier ones",
    Purpose.LABEL: "a label's name, for example rack",
    Purpose.ACKNOWLEDGE: "Enter acknowledges, Esc leaves",
    Purpose.SILENCE: "Enter goes on, Esc leaves",
    Purpose.SILENCE_COMMENT: "Enter silences, Esc leaves",
}


def draw(canvas: Canvas, ui: Ui, note: str, theme: Theme) -> list[Zone]:
    """Draws the last row, with the row above where a typed line has a mistake."""
    y = canvas.height - 1
    if ui.prompt is not None:
        _prompt(canvas, y, ui.prompt, theme)
        return []
    said = ui.note or note
    if said:
        canvas.put(0, y, fit(" " + said, canvas.width), theme.sorted)
        return []
    return _keys(canvas, y, ui, theme)


def _keys(canvas: Canvas, y: int, ui: Ui, theme: Theme) -> list[Zone]:
    shown = [binding for binding in BINDINGS[ui.view] if binding.short]
    last = [b for b in shown if b.command in ("help", "quit")]
    rest = [b for b in shown if b not in last]
    room = canvas.width - sum(_room(b) for b in last)
    kept = []
    for binding in rest:
        if _room(binding) <= room:
            kept.append(binding)
            room -= _room(binding)
    zones, x = [], 0
    for binding in [*kept, *last]:
        start = x
        x = canvas.put(x + 1, y, sign(binding.keys[0]), theme.key)
        x = canvas.put(x, y, f" {binding.short}", theme.dim)
        zones.append(Zone(start, y, x - start, 1, binding.command))
        x += 1
    return zones


def _room(binding: Binding) -> int:
    return width(sign(binding.keys[0])) + width(binding.short) + 3


def _prompt(canvas: Canvas, y: int, prompt: Prompt, theme: Theme) -> None:
    w = canvas.width
    label = f" {_WORDS[prompt.purpose]}: "
    if width(label) > w // 2:
        label = fit(label, max(w // 2, 2))
    x = canvas.put(0, y, label, theme.heading)
    room = max(w - x - 1, 1)
    before = cells(prompt.text[: prompt.at])
    offset = max(len(before) - room + 1, 0)
    shown = cells(prompt.text)
    canvas.put_cells(x, y, shown[offset : offset + room], theme.strong)
    at = x + len(before) - offset
    under = shown[len(before)] if len(before) < len(shown) else " "
    if at < w:
        canvas.put(at, y, under or " ", theme.match)
    if not prompt.text:
        canvas.put(x + 2, y, fit(_HINTS[prompt.purpose], w - x - 3), theme.dim)
    if prompt.error and y > 0:
        mark = None
        if prompt.error_at is not None:
            mark = x + min(max(len(cells(prompt.text[: prompt.error_at])) - offset, 0), room)
        _mistake(canvas, y - 1, mark, prompt.error, theme)


def _mistake(canvas: Canvas, y: int, mark: int | None, sentence: str, theme: Theme) -> None:
    """An arrow at the wrong character with the sentence beside it, above it where it is long."""
    w, length = canvas.width, width(sentence)
    canvas.put(0, y, " " * w, theme.text)
    if mark is None:
        canvas.put(1, y, fit(sentence, w - 1), theme.error)
        return
    canvas.put(mark, y, "↑", theme.error)
    if mark + 2 + length <= w:
        canvas.put(mark + 2, y, sentence, theme.error)
    elif length + 2 <= mark:
        canvas.put(mark - 1 - length, y, sentence, theme.error)
    elif y > 0:
        canvas.put(0, y - 1, " " * w, theme.text)
        canvas.put(max(w - length - 1, 0), y - 1, fit(sentence, w), theme.error)
