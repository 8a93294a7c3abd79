"""The whole screen: view, footer, and what lies over them. Pure: a picture and choices in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpufleet.client import columns, lines
from gpufleet.client.lines import Line, Order, Row
from gpufleet.tui import alerts_view, detail_view, fleet_view, footer, overlay
from gpufleet.tui.boxes import Zone
from gpufleet.tui.canvas import Canvas
from gpufleet.tui.navigation import place
from gpufleet.tui.picture import Alert, Frame, Picture
from gpufleet.tui.state import Cursor, Scene, Ui, View
from gpufleet.tui.theme import Theme, greyed

LEAST_WIDTH, LEAST_HEIGHT = 20, 5


@dataclass(frozen=True, slots=True)
class Arranged:
    """Lines and alerts in order: what is computed once for a picture and an order."""

    lines: Sequence[Line] = ()
    alerts: Sequence[Alert] = ()


def order_of(ui: Ui) -> Order:
    """The order of the list that is shown, or that lies behind the detailed view."""
    users = ui.view is View.USERS or (ui.view is View.DETAIL and ui.back is View.USERS)
    return ui.users_order if users else ui.order


def arrange(rows: Sequence[Row], order: Order) -> list[Line]:
    """The rows as lines, by the order's column."""
    column = columns.BY_ID.get(order.sort, columns.BY_ID["place"])
    return lines.arrange(rows, order, column.key)


def scene(picture: Picture, ui: Ui, arranged: Arranged, frame: Frame | None) -> Scene:
    """What keys are about, given what was drawn last."""
    page = frame.page if frame is not None else 1
    gpus = [str(line.row["uuid"]) for line in arranged.lines if not line.group]
    if not gpus:
        gpus = [str(row["uuid"]) for row in picture.rows]
    keys = [line.key for line in arranged.lines]
    shown: Sequence[Line] = arranged.lines
    if ui.view is View.ALERTS:
        keys = [alert.key for alert in arranged.alerts]
        gpus = [alert.uuid or "" for alert in arranged.alerts]
        shown = ()
    labels = sorted({name for row in picture.rows[:500] for name in row.get("labels") or ()})
    processes = len((picture.gpu or {}).get("processes") or ())
    return Scene(
        lines=shown,
        keys=keys,
        page=page,
        now_ms=picture.now_ms,
        menu=overlay.menu_values(ui, labels) if ui.menu is not None else (),
        labels=labels,
        gpus=gpus,
        processes=processes,
    )


def draw(
    picture: Picture, ui: Ui, arranged: Arranged, size: tuple[int, int], theme: Theme
) -> Frame:
    """The screen, every cell of it."""
    w, h = size
    if w < LEAST_WIDTH or h < LEAST_HEIGHT:
        return _too_small(size, theme)
    shown = greyed(theme) if picture.old else theme
    frame = _view(picture, ui, arranged, size, shown, theme)
    zones: list[Zone] = list(frame.zones)
    canvas = frame.canvas
    zones += footer.draw(canvas, ui, picture.note, theme)
    if ui.menu is not None:
        values = overlay.menu_values(ui, scene(picture, ui, arranged, frame).labels)
        zones = overlay.draw(canvas, ui, values, theme)
    return replace(frame, zones=zones)


def _view(
    picture: Picture,
    ui: Ui,
    arranged: Arranged,
    size: tuple[int, int],
    theme: Theme,
    live: Theme,
) -> Frame:
    if ui.view is View.DETAIL:
        gpus = scene(picture, ui, arranged, None).gpus
        at = gpus.index(ui.detail.uuid) + 1 if ui.detail.uuid in gpus else 0
        row = picture.fresh.get(ui.detail.uuid)
        if row is None:
            row = next((r for r in picture.rows if r["uuid"] == ui.detail.uuid), None)
        return detail_view.draw(picture, ui, row, size, theme, live, (at, len(gpus) if at else 0))
    if ui.view is View.ALERTS:
        shown = arranged.alerts
        return alerts_view.draw(picture, ui, shown, ui.cursor(), size, theme, live)
    return fleet_view.draw(picture, ui, arranged.lines, ui.cursor(), size, theme, live)


def settled(ui: Ui, arranged: Arranged, frame: Frame) -> Ui:
    """The choices with the cursor where it is after drawing: lines may have come and gone."""
    if ui.view is View.DETAIL:
        return ui
    if ui.view is View.ALERTS:
        keys = [alert.key for alert in arranged.alerts]
    else:
        keys = [line.key for line in arranged.lines]
    before = ui.cursor()
    after = place(before, keys, frame.page) if keys else Cursor()
    if after == before:
        return ui
    return replace(ui, cursors={**ui.cursors, ui.view: after})


def command_at(frame: Frame, x: int, y: int) -> str:
    """What a click at a cell does; the uppermost zone counts."""
    return next((zone.command for zone in reversed(frame.zones) if zone.holds(x, y)), "")


def _too_small(size: tuple[int, int], theme: Theme) -> Frame:
    canvas = Canvas(*size, theme.text)
    for y, text in enumerate((f"{LEAST_WIDTH}x{LEAST_HEIGHT} wanted", "q quits")):
        canvas.put(0, y, text, theme.text)
    return Frame(canvas, (), 1)
