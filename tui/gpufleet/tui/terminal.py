"""The one door to curses: a session that always gives the terminal back, keys in, canvases out."""

from __future__ import annotations

import curses
import locale
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType, TracebackType

from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.difference import Run, runs
from gpufleet.tui.events import Button, Event, Key, Mouse, Resize
from gpufleet.tui.text import ascii_cell
from gpufleet.tui.theme import Depth

ESCAPE_MS = 25
DOUBLE_CLICK_SECONDS = 0.4
MAX_PAIRS = 250
MAX_CELLS = 400 * 200
"""A terminal that says it is greater is drawn no greater."""

_NAMES = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_LEFT: "left",
    curses.KEY_RIGHT: "right",
    curses.KEY_PPAGE: "pageup",
    curses.KEY_NPAGE: "pagedown",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_ENTER: "enter",
    curses.KEY_BACKSPACE: "backspace",
    curses.KEY_DC: "delete",
    curses.KEY_BTAB: "shift-tab",
    curses.KEY_F1: "?",
}
_CONTROLS = {
    "\n": "enter",
    "\r": "enter",
    "\t": "tab",
    "\x1b": "esc",
    "\x7f": "backspace",
    "\b": "backspace",
    **{chr(code): f"ctrl-{chr(code + 96)}" for code in range(1, 27) if code not in (8, 9, 10, 13)},
}
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
"""What a poll says of a terminal that was closed."""
_WHEEL_DOWN = getattr(curses, "BUTTON5_PRESSED", 1 << 21)


class NoScreen(Exception):
    """There is no terminal on which a picture can be drawn. One sentence."""


def speaks_unicode() -> bool:
    """Whether the locale's characters are UTF-8; the C library is asked, since curses uses it."""
    with suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "")
    return locale.nl_langinfo(locale.CODESET).upper() in ("UTF-8", "UTF8")


class Terminal:
    """The terminal as a context: ``events`` in, ``paint`` out. Any thread may ``wake`` it."""

    def __init__(self, environ: Mapping[str, str], *, unicode: bool, mouse: bool = True) -> None:
        self._unicode = unicode
        self._mouse = mouse
        self._colour = not environ.get("NO_COLOR")
        self._term = environ.get("TERM", "")
        self._attributes: dict[Style, int] = {}
        self._pairs: dict[tuple[int, int], int] = {}
        self._shown: Canvas | None = None
        self._pressed = (0.0, -1, -1)
        self._window: curses.window | None = None
        self._wake_read, self._wake_write = -1, -1
        self._poll = select.poll()
        self._handlers: dict[int, object] = {}
        self.depth = Depth.NONE

    def __enter__(self) -> Terminal:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise NoScreen("The full screen needs a terminal for input and output.")
        try:
            curses.setupterm(self._term or "dumb")
        except curses.error:
            raise NoScreen(
                f"This system does not know the terminal {self._term!r}: set TERM, for example"
                " to xterm-256color."
            ) from None
        if not curses.tigetstr("cup"):
            raise NoScreen(f"This terminal (TERM={self._term}) cannot place its cursor.")
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        for descriptor in (0, self._wake_read):
            self._poll.register(descriptor, select.POLLIN)
        for inherited in ("COLUMNS", "LINES"):  # of another terminal: curses would believe them
            os.environ.pop(inherited, None)
        self._window = curses.initscr()
        try:
            self._begin(self._window)
        except BaseException:
            self._end()
            raise
        return self

    def _begin(self, window: curses.window) -> None:
        curses.noecho()
        curses.cbreak()
        curses.set_escdelay(ESCAPE_MS)
        window.keypad(True)
        window.nodelay(True)
        with suppress(curses.error):
            curses.curs_set(0)
        if self._colour:
            with suppress(curses.error):
                curses.start_color()
                curses.use_default_colors()
                if curses.COLORS >= 256:
                    self.depth = Depth.FULL
                elif curses.COLORS >= 8:
                    self.depth = Depth.EIGHT
        if self._mouse:
            curses.mousemask(curses.BUTTON1_PRESSED | curses.BUTTON4_PRESSED | _WHEEL_DOWN)
            curses.mouseinterval(0)
        self._handlers = {
            signal.SIGWINCH: signal.signal(signal.SIGWINCH, self._on_resize),
            signal.SIGTERM: signal.signal(signal.SIGTERM, _on_end),
            signal.SIGHUP: signal.signal(signal.SIGHUP, _on_end),
        }

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() returned
        self._handlers = {}
        if self._window is not None:
            with suppress(curses.error):
                if self._mouse:
                    curses.mousemask(0)
                self._window.keypad(False)
                self._window.move(self._window.getmaxyx()[0] - 1, 0)
                self._window.clrtoeol()
                self._window.refresh()
            with suppress(curses.error):
                curses.echo()
                curses.nocbreak()
                curses.endwin()
            self._window = None
        for end in (self._wake_read, self._wake_write):
            if end >= 0:
                os.close(end)
        self._wake_read, self._wake_write = -1, -1

    def size(self) -> tuple[int, int]:
        """Width and height in cells."""
        assert self._window is not None
        height, width = self._window.getmaxyx()
        return width, min(height, MAX_CELLS // max(width, 1))

    def wake(self) -> None:
        """Makes a waiting ``events`` return."""
        if self._wake_write >= 0:
            with suppress(BlockingIOError, OSError):
                os.write(self._wake_write, b"w")

    def _on_resize(self, number: int, frame: FrameType | None) -> None:
        with suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"r")

    def events(self, seconds: float) -> list[Event]:
        """What was done; waits up to so long for it, or until somebody calls ``wake``."""
        ready = dict(self._poll.poll(max(seconds, 0.0) * 1000))
        if ready.get(0, 0) & _GONE:
            raise SystemExit(128 + signal.SIGHUP)
        found: list[Event] = []
        if self._wake_read in ready and b"r" in os.read(self._wake_read, 4096):
            found.append(self._resized())
        if 0 in ready or found:
            found += self._typed()
        return found

    def _resized(self) -> Resize:
        width, height = os.get_terminal_size(0)
        with suppress(curses.error):
            curses.resizeterm(max(height, 1), max(width, 1))
        self._shown = None
        return Resize(*self.size())

    def _typed(self) -> list[Event]:
        assert self._window is not None
        found: list[Event] = []
        while True:
            try:
                code = self._window.get_wch()
            except curses.error:
                return found
            if code == curses.KEY_MOUSE:
                with suppress(curses.error):
                    found += self._mouse_event(*curses.getmouse())
            elif isinstance(code, int):
                if code in _NAMES:
                    found.append(Key(_NAMES[code]))
            elif code in _CONTROLS:
                found.append(Key(_CONTROLS[code]))
            elif code.isprintable():
                found.append(Key(code))

    def _mouse_event(self, device: int, x: int, y: int, z: int, state: int) -> list[Event]:
        if state & curses.BUTTON4_PRESSED:
            return [Mouse(x, y, Button.UP)]
        if state & _WHEEL_DOWN:
            return [Mouse(x, y, Button.DOWN)]
        if state & curses.BUTTON1_PRESSED:
            now = time.monotonic()
            before, was_x, was_y = self._pressed
            double = now - before < DOUBLE_CLICK_SECONDS and (was_x, was_y) == (x, y)
            self._pressed = (0.0, -1, -1) if double else (now, x, y)
            return [Mouse(x, y, Button.DOUBLE if double else Button.PRESS)]
        return []

    def redraw(self) -> None:
        """The next ``paint`` draws every cell, whatever the terminal shows."""
        assert self._window is not None
        self._shown = None
        self._window.clearok(True)

    def paint(self, canvas: Canvas) -> None:
        """Shows a canvas: only cells that differ from the last one are sent."""
        window = self._window
        assert window is not None
        old = self._shown
        if old is not None and (old.width, old.height) != (canvas.width, canvas.height):
            old = None
        if old is None:
            window.erase()
        for run in runs(canvas, old):
            self._write(window, run)
        self._shown = canvas
        window.noutrefresh()
        curses.doupdate()

    def _write(self, window: curses.window, run: Run) -> None:
        height, width = window.getmaxyx()
        cells, x = run.cells, run.x
        attribute = self._attribute(run.style)
        corner = run.y == height - 1 and x + len(cells) == width
        with suppress(curses.error):  # the terminal shrank just now: a resize is on its way
            if corner:
                last = cells[-1]
                cells = cells[:-1]
            if cells:
                window.addstr(run.y, x, self._text(cells), attribute)
            if corner and last != "":
                # addstr in the last cell would scroll; insstr does not.
                window.insstr(run.y, width - 1, self._text([last]), attribute)

    def _text(self, found: list[str]) -> str:
        if self._unicode:
            return "".join(found)
        return "".join([ascii_cell(cell) if cell else " " for cell in found])

    def _attribute(self, style: Style) -> int:
        known = self._attributes.get(style)
        if known is None:
            known = self._attributes[style] = self._make(style)
        return known

    def _make(self, style: Style) -> int:
        made = 0
        for wanted, flag in (
            (style.bold, curses.A_BOLD),
            (style.dim, curses.A_DIM),
            (style.underline, curses.A_UNDERLINE),
            (style.reverse, curses.A_REVERSE),
        ):
            if wanted:
                made |= flag
        if self.depth is not Depth.NONE and (style.fg is not None or style.bg is not None):
            made |= self._pair(style.fg, style.bg)
        return made

    def _pair(self, fg: int | None, bg: int | None) -> int:
        colours = (-1 if fg is None else fg, -1 if bg is None else bg)
        number = self._pairs.get(colours)
        if number is None:
            if len(self._pairs) >= min(MAX_PAIRS, curses.COLOR_PAIRS - 1):
                return 0
            number = len(self._pairs) + 1
            try:
                curses.init_pair(number, *colours)
            except (curses.error, ValueError):
                return 0
            self._pairs[colours] = number
        return curses.color_pair(number)


def _on_end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
