"""One picture of the fleet as plain text, for pipes and scripts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gpufleet.client.lines import Line
from gpufleet.client.query import MOST_ROWS
from gpufleet.tui import (
    alerts_asking,
    alerts_view,
    asking,
    column_layout,
    feed,
    fleet_view,
    header,
    screen,
    theme,
)
from gpufleet.tui.asking import Hub, Wants
from gpufleet.tui.canvas import Canvas
from gpufleet.tui.list_cells import DRAW, Look
from gpufleet.tui.picture import Picture
from gpufleet.tui.sparks import BUCKET_SECONDS, Sparks
from gpufleet.tui.state import Ui, View
from gpufleet.tui.text import ascii_cell
from gpufleet.tui.theme import Depth, Theme

SPARKED = 64
"""Up to so many GPUs their recent load is asked for."""


def text(hub: Hub, ui: Ui, width: int, unicode: bool) -> str:
    """The view as lines of at most ``width`` cells. HubError where the hub does not answer."""
    width = max(width, 20)
    picture = take(hub, ui)
    plain = theme.build("mono", Depth.NONE, unicode, {})
    if ui.view is View.ALERTS:
        found = _alerts(picture, width, plain)
    else:
        found = _lines(picture, ui, width, plain)
    lines = [*_head(picture, width, plain), "", *found]
    if not unicode:
        lines = ["".join(ascii_cell(char) for char in line) for line in lines]
    return "".join(line.rstrip() + "\n" for line in lines)


def take(hub: Hub, ui: Ui) -> Picture:
    """Asks for all that the picture needs, once."""
    wants = Wants(filter=ui.filter, users=ui.view is View.USERS, more=_label(ui))
    fleet = hub.get("/api/v1/fleet")
    rows, _ = asking.rows(hub, ui.filter, asking.all_fields(wants), MOST_ROWS)
    now = feed.now_ms()
    sparks = Sparks()
    if rows and len(rows) <= SPARKED and ui.view is View.FLEET:
        start = now - 300_000
        count, every = int(300 / BUCKET_SECONDS), int(BUCKET_SECONDS * 1000)
        uuids = [str(row["uuid"]) for row in rows]
        for uuid, points in asking.recent_loads(hub, uuids, start, count, every).items():
            sparks.fill(uuid, points)
    alerts = None
    trouble = ""
    if ui.view is View.ALERTS:
        alerts = alerts_asking.alerts(hub)
    return Picture(
        hub="", now_ms=now, taken_ms=now, fleet=fleet, rows=rows, sparks=sparks, alerts=alerts,
        alerts_trouble=trouble, spark_seconds=BUCKET_SECONDS,
    )  # fmt: skip


def _label(ui: Ui) -> tuple[str, ...]:
    return (ui.order.group,) if ui.order.group.startswith("label.") else ()


def _head(picture: Picture, width: int, plain: Theme) -> list[str]:
    canvas = Canvas(width, 2)
    header.flow(canvas, 0, 0, width, header.counts(picture, plain, width >= 100), 3)
    header.meters(canvas, 0, 1, min(width, 100), picture, plain)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(picture.now_ms / 1000))
    return [when, *canvas.lines()]


def _lines(picture: Picture, ui: Ui, width: int, plain: Theme) -> list[str]:
    lines: Sequence[Line] = screen.arrange(picture.rows, screen.order_of(ui))
    if not lines:
        return ["No GPU passes the filter." if ui.filter else "The hub knows no GPU yet."]
    longest = max(fleet_view.place_width(line) for line in lines)
    without = column_layout.absent([line.row for line in lines])
    placed = column_layout.layout(width, longest, without, users=ui.view is View.USERS)
    canvas = Canvas(width, len(lines) + 1)
    area = fleet_view.Area(0, 1, width, len(lines), 0)
    fleet_view.headings(canvas, area, placed, picture, ui, plain)
    look = Look(plain, picture.sparks)
    for y, line in enumerate(lines, start=1):
        for at in placed:
            DRAW[at.column.id](canvas, at.x, y, at.width, line, look)
    return canvas.lines()


def _alerts(picture: Picture, width: int, plain: Theme) -> list[str]:
    shown = alerts_view.ordered(picture.alerts)
    if not shown:
        return ["Nothing fires, nothing is pending."]
    canvas = Canvas(width, len(shown))
    alerts_view.draw_lines(canvas, picture, shown, width, plain)
    return canvas.lines()
