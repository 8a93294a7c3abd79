"""Puts the terminal client together: hub, threads, choices, screen; and runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from gpufleet.client import columns
from gpufleet.client.filter import FilterError, parse
from gpufleet.client.lines import grouping
from gpufleet.client.preferences import save
from gpufleet.tui import chart_pane, preferences, reducer, screen, theme
from gpufleet.tui.alerts_view import ordered
from gpufleet.tui.asking import WHOLE_GPUS, Hub, Wants
from gpufleet.tui.board import Board, Known
from gpufleet.tui.events import Button, Event, Key, Mouse, Resize
from gpufleet.tui.feed import Feed, now_ms
from gpufleet.tui.picture import Frame, Picture
from gpufleet.tui.screen import Arranged
from gpufleet.tui.sparks import Sparks
from gpufleet.tui.state import Effect, Quit, Redraw, Save, Scene, Ui, View
from gpufleet.tui.terminal import Terminal

NOTE_MS = 5000
"""So long a note stands in the footer, unless a key comes first."""
CLOCK_SECONDS = 1.0
"""The screen is drawn at least so often: its clock goes on."""
FLEET_LOAD, FLEET_POWER = "fleet load", "fleet power"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    hub: str
    make: Callable[[], Hub]
    ui: Ui
    interval: float
    unicode: bool
    mouse: bool
    environ: Mapping[str, str]
    preferences: Path | None
    """Where choices are remembered; ``None``: nowhere."""


class Program:
    """The running client. ``handle`` and ``draw`` are its two halves; ``run`` is the loop."""

    def __init__(self, settings: Settings, board: Board, terminal: Terminal) -> None:
        self._settings = settings
        self._board = board
        self._terminal = terminal
        self._ui = settings.ui
        self._sparks = Sparks()
        self._known = Known()
        self._frozen: Known | None = None
        self._frozen_ms = 0
        self._arranged = Arranged()
        self._arranged_of: object = None
        self._arranged_rows: object = None
        self._sorted_alerts: object = None
        self._frame: Frame | None = None
        self._noted_ms = 0
        self._seen_list = 0
        self._seen_loads: object = None
        self._filled: dict[str, object] = {}
        self._seen_fleet: object = None
        self._theme_of: object = None
        self._theme = theme.build("dark", theme.Depth.NONE, settings.unicode, {})

    def run(self) -> int:
        """Until somebody quits. Returns the exit status."""
        with Feed(self._settings.make, self._board, self._settings.interval):
            self.draw()
            drawn = time.monotonic()
            while True:
                events = self._terminal.events(CLOCK_SECONDS - (time.monotonic() - drawn))
                for event in events:
                    if not self.handle(event):
                        return 0
                self.draw()
                drawn = time.monotonic()

    def handle(self, event: Event) -> bool:
        """What somebody did; false ends the program."""
        if isinstance(event, Resize):
            return True
        if isinstance(event, Mouse):
            return self._clicked(event)
        ui, effects = reducer.press(self._ui, event, self._scene(), self._check)
        return self._after(ui, effects)

    def _clicked(self, mouse: Mouse) -> bool:
        if mouse.button in (Button.UP, Button.DOWN):
            if self._ui.menu is not None:
                return self.handle(Key("up" if mouse.button is Button.UP else "down"))
            command = "wheel-up" if mouse.button is Button.UP else "wheel-down"
        elif self._frame is None or self._ui.prompt is not None:
            return True
        else:
            command = screen.command_at(self._frame, mouse.x, mouse.y)
        if not command:
            return True
        ui, effects = reducer.act(replace(self._ui, note=""), command, self._scene())
        if mouse.button is Button.DOUBLE and command.startswith("line:"):
            name = "detail" if ui.view is View.ALERTS else "open"
            ui, more = reducer.act(ui, name, self._scene())
            effects += more
        return self._after(ui, effects)

    def _after(self, ui: Ui, effects: tuple[Effect, ...]) -> bool:
        if ui.paused and not self._ui.paused:
            self._frozen, self._frozen_ms = self._known, now_ms()
        elif not ui.paused:
            self._frozen = None
        self._ui = ui
        self._noted_ms = now_ms()
        for effect in effects:
            if isinstance(effect, Quit):
                return False
            if isinstance(effect, Redraw):
                self._terminal.redraw()
            elif isinstance(effect, Save):
                if self._settings.preferences is not None:
                    save(self._settings.preferences, preferences.remembered(ui))
            else:
                self._board.order(effect)
        return True

    def _check(self, text: str) -> tuple[str, int] | None:
        fields = self._known.fields
        if fields is None:
            return None
        try:
            parse(text, fields)
        except FilterError as error:
            return str(error), error.position - 1
        return None

    def _scene(self) -> Scene:
        return screen.scene(self._picture(), self._ui, self._arranged, self._frame)

    def draw(self) -> None:
        """Shows what is known now, and says what is wanted next."""
        self._learn()
        if self._ui.note and now_ms() - self._noted_ms > NOTE_MS:
            self._ui = replace(self._ui, note="")
        size = self._terminal.size()
        picture = self._picture()
        self._arrange(picture)
        frame = screen.draw(picture, self._ui, self._arranged, size, self._styles())
        self._ui = screen.settled(self._ui, self._arranged, frame)
        self._frame = frame
        self._terminal.paint(frame.canvas)
        self._board.want(self._wants(picture, frame, size))

    def _learn(self) -> None:
        known = self._board.known()
        self._known = known
        now = now_ms()
        if known.list_version != self._seen_list:
            self._seen_list = known.list_version
            if len(known.rows) <= WHOLE_GPUS:
                for row in known.rows:
                    self._sparks.add(str(row["uuid"]), now, row.get("utilization_ratio"))
            for key, row in known.fresh.items():
                self._sparks.add(key, now, row.get("utilization_ratio"))
            fleet = known.fleet or {}
            load = (fleet.get("utilization_ratio") or {}).get("mean")
            power = (fleet.get("power_watts") or {}).get("sum")
            self._sparks.add(FLEET_LOAD, now, load)
            self._sparks.add(FLEET_POWER, now, power)
        if known.loads is not self._seen_loads:
            self._seen_loads = known.loads
            for key, points in known.loads.items():
                if self._filled.get(key) is not points:
                    self._filled[key] = points
                    self._sparks.fill(key, points)
        if known.fleet_past is not None and known.fleet_past is not self._seen_fleet:
            self._seen_fleet = known.fleet_past
            self._sparks.fill(FLEET_LOAD, known.fleet_past.get("utilization_ratio", ()))
            self._sparks.fill(FLEET_POWER, known.fleet_past.get("power_watts", ()))

    def _picture(self) -> Picture:
        known = self._known
        shown = (
            known
            if self._frozen is None
            else replace(
                self._frozen,
                past=known.past,
                gpu_trouble=known.gpu_trouble,
                note=known.note,
            )
        )
        limit = ((shown.fleet or {}).get("power_limit_watts") or {}).get("sum")
        watts = self._sparks.get(FLEET_POWER, ())
        return Picture(
            hub=self._settings.hub,
            now_ms=now_ms() if self._frozen is None else self._frozen_ms,
            taken_ms=shown.taken_ms,
            interval_seconds=self._settings.interval,
            trouble=shown.trouble,
            fleet=shown.fleet,
            rows=shown.rows,
            fresh=shown.fresh,
            sparks=self._sparks,
            spark_seconds=self._sparks.seconds,
            fleet_load=self._sparks.get(FLEET_LOAD, ()),
            fleet_power=[None if w is None or not limit else w / limit for w in watts],
            gpu=shown.gpu,
            gpu_trouble=shown.gpu_trouble,
            past=shown.past,
            events=shown.events,
            alerts=shown.alerts,
            alerts_trouble=shown.alerts_trouble,
            note=shown.filter_trouble or shown.note,
        )

    def _arrange(self, picture: Picture) -> None:
        order = screen.order_of(self._ui)
        if order != self._arranged_of or picture.rows is not self._arranged_rows:
            self._arranged_of = order
            self._arranged_rows = picture.rows
            lines = screen.arrange(picture.rows, order)
            for line in lines:
                if line.group:
                    load = line.row.get("utilization_ratio")
                    self._sparks.add(line.key, picture.now_ms, load)
            self._arranged = replace(self._arranged, lines=lines)
        if picture.alerts is not self._sorted_alerts:
            self._sorted_alerts = picture.alerts
            self._arranged = replace(self._arranged, alerts=ordered(picture.alerts))

    def _styles(self) -> theme.Theme:
        key = (self._ui.theme, self._terminal.depth)
        if key != self._theme_of:
            self._theme_of = key
            self._theme = theme.build(*key, self._settings.unicode, self._settings.environ)
        return self._theme

    def _wants(self, picture: Picture, frame: Frame, size: tuple[int, int]) -> Wants:
        ui = self._ui
        order = screen.order_of(ui)
        by = grouping(order, len(picture.rows))
        visible = tuple(str(line.row["uuid"]) for line in frame.visible if not line.group)
        missing = tuple(u for u in visible if self._sparks.wants(u, picture.now_ms))
        folded = [line for line in frame.visible if line.key.startswith("node:")]
        nodes = tuple(line.title for line in folded if self._sparks.wants(line.key, picture.now_ms))
        large = len(picture.rows) > WHOLE_GPUS
        detail = ui.detail.uuid if ui.view is View.DETAIL else ""
        start, end = chart_pane.span_of(picture, ui.detail)
        return Wants(
            filter=ui.filter,
            users=ui.view is View.USERS,
            more=_fields_of(by, order.sort),
            visible=visible,
            histories=missing if ui.view in (View.FLEET, View.USERS) else (),
            nodes=nodes if ui.view is View.FLEET else (),
            folded=tuple(line.title for line in folded) if large else (),
            spark_start_ms=(picture.now_ms // 60_000 - 6) * 60_000,
            detail=detail,
            start_ms=0 if ui.detail.end_ms is None else start,
            end_ms=(end - start) if ui.detail.end_ms is None else end,
            live=ui.detail.end_ms is None,
            columns=2 * size[0] if detail else 0,
            alerts=ui.view is View.ALERTS,
        )


def _fields_of(by: str, sort: str) -> tuple[str, ...]:
    """Fields that rows must have for this order, whatever else they have."""
    sorted_by = columns.BY_ID[sort].fields if sort in columns.BY_ID else ()
    return (*((by,) if by.startswith("label.") else ()), *sorted_by)


def run(settings: Settings) -> int:
    """The full screen until somebody quits. NoScreen where there is none."""
    with ExitStack() as stack:
        terminal = Terminal(settings.environ, unicode=settings.unicode, mouse=settings.mouse)
        stack.enter_context(terminal)
        board = Board(terminal.wake)
        try:
            return Program(settings, board, terminal).run()
        except KeyboardInterrupt:
            return 0
