"""Moving about: the cursor in lists, folding, views, and the time and GPU of the detailed view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gpufleet.client import lines
from gpufleet.tui.state import METRIC_KEYS, SPANS, Cursor, Detail, Metric, Scene, Ui, View

MOVES = frozenset({"up", "down", "pageup", "pagedown", "home", "end", "wheel-up", "wheel-down"})
WHEEL_LINES = 3


def place(cursor: Cursor, keys: tuple[str, ...] | list[str], page: int) -> Cursor:
    """The cursor in lines that may have changed: it stays with its line, else where it was.

    ``top`` moves only as far as it must for the selected line to be seen.
    """
    count = len(keys)
    if not count:
        return Cursor()
    if cursor.at < count and keys[cursor.at] == cursor.key:
        at = cursor.at
    elif cursor.key in keys:
        at = keys.index(cursor.key)
    else:
        at = min(cursor.at, count - 1)
    page = max(page, 1)
    top = min(max(cursor.top, at - page + 1), at)
    top = min(top, max(count - page, 0))
    return Cursor(keys[at], at, top)


def _set(ui: Ui, cursor: Cursor) -> Ui:
    return replace(ui, cursors={**ui.cursors, ui.view: cursor})


def move(ui: Ui, scene: Scene, name: str) -> Ui:
    """Moves the cursor; in the detailed view it scrolls the processes."""
    steps = {"up": -1, "down": 1, "pageup": -scene.page, "pagedown": scene.page}
    steps |= {"wheel-up": -WHEEL_LINES, "wheel-down": WHEEL_LINES}
    steps |= {"home": -(10**9), "end": 10**9}
    step = steps[name]
    if ui.view is View.DETAIL:
        last = max(scene.processes - 1, 0)
        top = min(max(ui.detail.process_top + step, 0), last)
        return replace(ui, detail=replace(ui.detail, process_top=top))
    return select(ui, scene, ui.cursor().at + step)


def select(ui: Ui, scene: Scene, at: int) -> Ui:
    """Puts the cursor onto a line, the nearest one if there is no such line."""
    if not scene.keys:
        return ui
    at = min(max(at, 0), len(scene.keys) - 1)
    return _set(ui, replace(ui.cursor(), key=scene.keys[at], at=at))


def show(ui: Ui, view: View) -> Ui:
    """Goes to a view; Esc returns to the list."""
    if ui.view is view:
        return back(ui, Scene())
    return replace(ui, view=view, back=View.FLEET)


def back(ui: Ui, scene: Scene) -> Ui:
    """Back to where one came from."""
    return replace(ui, view=ui.back, back=View.FLEET)


def detail(ui: Ui, scene: Scene) -> Ui:
    """The selected GPU in detail; of a group its first one."""
    uuid = _selected_gpu(ui, scene)
    if not uuid:
        return replace(ui, note="Select a GPU first: there is none on this line.")
    now = replace(ui.detail, uuid=uuid, end_ms=None, process_top=0)
    return replace(ui, view=View.DETAIL, back=ui.view, detail=now)


def _selected_gpu(ui: Ui, scene: Scene) -> str:
    at = ui.cursor().at
    if ui.view is View.ALERTS:
        return scene.gpus[at] if at < len(scene.gpus) else ""
    if at >= len(scene.lines):
        return ""
    line = scene.lines[at]
    row = line.members[0] if line.group else line.row
    return str(row.get("uuid") or "")


def open_(ui: Ui, scene: Scene) -> Ui:
    """Enter: opens or closes a group, shows a GPU in detail."""
    at = ui.cursor().at
    if at < len(scene.lines) and scene.lines[at].group:
        return fold(ui, scene)
    return detail(ui, scene)


def fold(ui: Ui, scene: Scene) -> Ui:
    """Opens or closes the group of the selected line."""
    at = min(ui.cursor().at, len(scene.lines) - 1)
    while at >= 0 and not scene.lines[at].group:
        at -= 1
    if at < 0:
        return replace(ui, note="Nothing is grouped here: g groups.")
    key = scene.lines[at].key
    order = _order(ui)
    toggled = order.toggled ^ {key}
    return select(_with_order(ui, replace(order, toggled=toggled)), scene, at)


def fold_all(ui: Ui, scene: Scene) -> Ui:
    """Opens all groups, or closes them where one is open."""
    order = _order(ui)
    any_open = any(line.group and line.open for line in scene.lines)
    return _with_order(ui, replace(order, all_open=not any_open, toggled=frozenset()))


def _order(ui: Ui) -> lines.Order:
    return ui.users_order if ui.view is View.USERS else ui.order


def _with_order(ui: Ui, order: lines.Order) -> Ui:
    return replace(ui, users_order=order) if ui.view is View.USERS else replace(ui, order=order)


def search(ui: Ui, scene: Scene, step: int, here: bool = False) -> Ui:
    """Goes to the next match; one in a closed group opens it."""
    if not ui.search:
        return replace(ui, note="Nothing is searched for: / begins.") if not here else ui
    start = ui.cursor().at + (0 if here else step)
    at = lines.found_by(scene.lines, ui.search, start, step)
    if at is not None:
        return select(ui, scene, at)
    for line in scene.lines:
        if line.group and not line.open:
            inside = [lines.Line(str(row.get("uuid")), row) for row in line.members]
            found = lines.found_by(inside, ui.search, 0, 1)
            if found is not None:
                order = _order(ui)
                opened = _with_order(ui, replace(order, toggled=order.toggled ^ {line.key}))
                at_user = f"@{line.title}" if line.key.startswith("user:") else ""
                key = inside[found].key + at_user
                return _set(
                    opened, replace(opened.cursor(), key=key, at=scene.keys.index(line.key))
                )
    return replace(ui, note=f"Nothing here is called {ui.search!r}.")


def _next_gpu(step: int) -> Callable[[Ui, Scene], Ui]:
    def go(ui: Ui, scene: Scene) -> Ui:
        if not scene.gpus:
            return ui
        at = scene.gpus.index(ui.detail.uuid) if ui.detail.uuid in scene.gpus else -step
        uuid = scene.gpus[(at + step) % len(scene.gpus)]
        return replace(ui, detail=replace(ui.detail, uuid=uuid, process_top=0))

    return go


def toggle_chart(ui: Ui, key: str) -> Ui:
    """Shows or hides a chart; the last one stays."""
    metric = METRIC_KEYS[key]
    shown = set(ui.detail.charts) ^ {metric}
    charts = tuple(m for m in Metric if m in shown) or ui.detail.charts
    return replace(ui, detail=replace(ui.detail, charts=charts))


def _in_time(share: float) -> Callable[[Ui, Scene], Ui]:
    def go(ui: Ui, scene: Scene) -> Ui:
        now = ui.detail
        step = int(SPANS[now.span] * 1000 * share)
        return replace(ui, detail=replace(now, end_ms=_end(now, step, scene.now_ms)))

    return go


def _end(now: Detail, step: int, now_ms: int) -> int | None:
    end = (now.end_ms if now.end_ms is not None else now_ms) + step
    return None if end >= now_ms else max(end, 0)


def _zoom(step: int) -> Callable[[Ui, Scene], Ui]:
    def go(ui: Ui, scene: Scene) -> Ui:
        now = ui.detail
        span = min(max(now.span + step, 0), len(SPANS) - 1)
        end = now.end_ms
        if end is not None:
            # The middle of what is shown stays where it is.
            grown = (SPANS[span] - SPANS[now.span]) * 500
            end = _end(now, grown, scene.now_ms)
        return replace(ui, detail=replace(now, span=span, end_ms=end))

    return go


def _live(ui: Ui, scene: Scene) -> Ui:
    return replace(ui, detail=replace(ui.detail, end_ms=None))


COMMANDS: Mapping[str, Callable[[Ui, Scene], Ui]] = {
    "back": back,
    "detail": detail,
    "open": open_,
    "fold": fold,
    "fold-all": fold_all,
    "search-next": lambda ui, scene: search(ui, scene, 1),
    "search-back": lambda ui, scene: search(ui, scene, -1),
    "next-gpu": _next_gpu(1),
    "last-gpu": _next_gpu(-1),
    "earlier": _in_time(-0.25),
    "later": _in_time(0.25),
    "page-earlier": _in_time(-1),
    "page-later": _in_time(1),
    "zoom-in": _zoom(-1),
    "zoom-out": _zoom(1),
    "live": _live,
}
