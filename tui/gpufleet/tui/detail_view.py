"""One GPU in detail: charts over time, facts, processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpufleet.client import units
from gpufleet.client.lines import Row
from gpufleet.client.severity import LETTERS, LEVELS
from gpufleet.tui import chart_pane, facts, process_table
from gpufleet.tui.boxes import Title, Zone, box
from gpufleet.tui.canvas import Canvas
from gpufleet.tui.header import clock, status
from gpufleet.tui.picture import Frame, Picture
from gpufleet.tui.state import Ui
from gpufleet.tui.text import fit, wrap
from gpufleet.tui.theme import Theme

BOXED_WIDTH, BOXED_HEIGHT = 50, 16
SIDE_WIDTH = 110
"""From this width on the facts stand beside the charts."""


def draw(
    picture: Picture, ui: Ui, row: Row | None, size: tuple[int, int], theme: Theme, live: Theme,
    at: tuple[int, int],
) -> Frame:  # fmt: skip
    """The view but for its last row. ``row`` is the GPU's in the list, ``at`` which of how many.

    Until the hub told the whole GPU, the row's values are shown.
    """
    canvas = Canvas(*size, theme.text)
    gpu = document(picture, ui.detail.uuid, row)
    if gpu is None:
        return _nothing(canvas, picture, ui, theme)
    if size[0] < BOXED_WIDTH or size[1] < BOXED_HEIGHT:
        return _compact(canvas, picture, ui, gpu, theme)
    return _boxed(canvas, picture, ui, gpu, theme, live, at)


def document(picture: Picture, uuid: str, row: Row | None) -> Mapping[str, Any] | None:
    """The GPU's document, or one made of its row."""
    if picture.gpu is not None and picture.gpu.get("uuid") == uuid:
        return picture.gpu
    if row is None:
        return None
    level = row.get("health")
    return {
        "uuid": uuid,
        "node": row.get("node"),
        "index": row.get("index"),
        "name": row.get("name"),
        "stale": row.get("stale"),
        "health": {"level": level, "reasons": row.get("health_reasons") or []},
        "dynamic": row,
        "static": {},
        "detail": {},
        "fault": None,
        "processes": None,
        "mig": [],
    }


def _boxed(
    canvas: Canvas,
    picture: Picture,
    ui: Ui,
    gpu: Mapping[str, Any],
    theme: Theme,
    live: Theme,
    at: tuple[int, int],
) -> Frame:
    w, h = canvas.width, canvas.height - 1
    processes = gpu.get("processes") or ()
    beside = w >= SIDE_WIDTH
    lower = min(max(len(processes) + 3, 5), max(h // 4, 5))
    if beside:
        upper, middle = h - lower, 0
        left = w - min(max(w * 2 // 5, 46), 64)
    else:
        middle = max((h - lower) // 2, 4)
        found = facts.columns(gpu, picture, theme, w - 4, middle - 2)
        middle = min(len(found) + 2, middle)
        upper, left = h - lower - middle, w
    zones = _chart_box(canvas, picture, ui, gpu, theme, live, at, (left, upper))
    if beside:
        inside = Canvas(w - left - 4, upper - 2)
        facts.tall(inside, gpu, picture, theme)
        zones += box(canvas, left, 0, (w - left, upper), theme, [Title("GPU")],
                     [Title(fit(str(gpu["uuid"]), w - left - 14), style=theme.dim)])  # fmt: skip
        canvas.blit(inside, left + 2, 1)
    else:
        zones += box(canvas, 0, upper, (w, middle), theme, [Title("GPU")],
                     [Title(str(gpu["uuid"]), style=theme.dim)])  # fmt: skip
        for i, pieces in enumerate(found[: middle - 2]):
            inside = Canvas(w - 4, 1)
            inside.runs(0, 0, pieces)
            canvas.blit(inside, 2, upper + 1 + i)
    page = _process_box(canvas, picture, ui, gpu, theme, (h - lower, lower))
    return Frame(canvas, zones, page)


def _chart_box(
    canvas: Canvas,
    picture: Picture,
    ui: Ui,
    gpu: Mapping[str, Any],
    theme: Theme,
    live: Theme,
    at: tuple[int, int],
    size: tuple[int, int],
) -> list[Zone]:
    word, style = status(picture, ui, live)
    titles = [Title(place(gpu), style=theme.strong), Title(units.model(gpu.get("name")))]
    titles.append(Title(health_word(gpu), style=theme.level(gpu["health"]["level"])))
    if ui.detail.end_ms is not None and word == "live":
        word, style = "history", theme.sorted
    right = [Title(word, "", "pause", style), Title(clock(picture.now_ms))]
    foot = [Title(chart_pane.when(picture, ui.detail), "", "live", theme.sorted)]
    if at[1]:
        foot.append(Title(f"GPU {at[0]:,} of {at[1]:,}", "", "next-gpu", theme.dim))
    zones = box(canvas, 0, 0, size, theme, titles, right, foot)
    inside = Canvas(size[0] - 4, size[1] - 2)
    more = chart_pane.draw(inside, picture, ui.detail, gpu, theme)
    canvas.blit(inside, 2, 1)
    return zones + [zone.moved(2, 1) for zone in more]


def place(gpu: Mapping[str, Any]) -> str:
    """``node / GPU 0``."""
    return f"{gpu.get('node')} / GPU {gpu.get('index')}"


def health_word(gpu: Mapping[str, Any]) -> str:
    """Health with its letter."""
    level = gpu["health"]["level"]
    if gpu.get("stale"):
        return "S stale"
    if level is None:
        return "? unknown"
    return f"{LETTERS[level]} {LEVELS[level]}"


def _process_box(
    canvas: Canvas,
    picture: Picture,
    ui: Ui,
    gpu: Mapping[str, Any],
    theme: Theme,
    rows: tuple[int, int],
) -> int:
    y, height = rows
    processes: Sequence[Mapping[str, Any]] = gpu.get("processes") or ()
    page = max(height - 3, 1)
    top = min(ui.detail.process_top, max(len(processes) - page, 0))
    many = units.plural(len(processes), "process").replace("processs", "processes")
    right = []
    if len(processes) > page:
        right.append(Title(f"{top + 1}-{min(top + page, len(processes))} of {len(processes)}"))
    box(canvas, 0, y, (canvas.width, height), theme, [Title(many)], right)
    inside = Canvas(canvas.width - 4, height - 2)
    process_table.draw(inside, processes, top, picture.now_ms, gpu, theme)
    canvas.blit(inside, 2, y + 1)
    return page


def _compact(
    canvas: Canvas, picture: Picture, ui: Ui, gpu: Mapping[str, Any], theme: Theme
) -> Frame:
    w, h = canvas.width, canvas.height - 1
    level = gpu["health"]["level"]
    x = canvas.put(0, 0, health_word(gpu)[0] + " ", theme.level(level))
    short = f"{gpu.get('node')}/{gpu.get('index')}"
    x = canvas.put(x, 0, fit(short, w - x), theme.strong) + 1
    when = chart_pane.when(picture, ui.detail)
    if w - x > len(when):
        canvas.put_right(w, 0, when, theme.dim)
    most = max((h - 1) // 3, 1)
    found = facts.columns(gpu, picture, theme, w, most)
    rows = min(len(found), most)
    for i, pieces in enumerate(found[:rows]):
        canvas.runs(0, 1 + i, pieces)
    rest = h - 1 - rows
    if rest >= 2:
        inside = Canvas(w, rest)
        chart_pane.draw(inside, picture, ui.detail, gpu, theme)
        canvas.blit(inside, 0, 1 + rows)
    return Frame(canvas, (), 1)


def _nothing(canvas: Canvas, picture: Picture, ui: Ui, theme: Theme) -> Frame:
    said = picture.gpu_trouble or f"Asking {picture.hub} for {ui.detail.uuid} …"
    for i, line in enumerate(wrap(said, max(canvas.width - 2, 10))[: canvas.height - 1]):
        canvas.put(1, i, line, theme.error if picture.gpu_trouble else theme.dim)
    return Frame(canvas, (), 1)
