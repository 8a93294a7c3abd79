"""The real client in a real pseudo-terminal against the hub's real HTTP application."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpufleet.tui.text import width
from support.processes import command, environment
from support.pty_screen import PtyScreen
from support.published_alerts import incident
from support.tui_hub import TuiHub, calm, hostile

SIZES = ((20, 5), (40, 12), (80, 24), (120, 35), (200, 55), (300, 100))
KEYS = {"fleet": "", "detail": "o", "alerts": "oa", "users": "au", "help": "?"}
ESC, ENTER = "\x1b", "\r"
FOOTER = re.compile("quit|Select a GPU")
ALERTS = (incident(),)


@pytest.fixture
def tui(tmp_path: Path) -> Iterator[Callable[..., PtyScreen]]:
    """Starts the client; ends it with the test."""
    running: list[PtyScreen] = []

    def start(
        hub: TuiHub, *flags: str, size: tuple[int, int] = (80, 24), **environ: str
    ) -> PtyScreen:
        extra = {
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            "XDG_CONFIG_HOME": str(tmp_path),
            "NO_COLOR": "",
            **environ,
        }
        shown = PtyScreen(command("tui", hub.url, *flags), environment(extra), size)
        running.append(shown)
        return shown

    yield start
    for shown in running:
        shown.__exit__(None, None, None)


def fault(shown: PtyScreen, footer: bool = True) -> str:
    """What is wrong with the screen: rows not full, boxes not closed, no footer. Empty: nothing."""
    lines = shown.lines()
    if "Traceback" in shown.text():
        return "a traceback"
    if not lines[0].strip() or (footer and not FOOTER.search(lines[-1])):
        return "an edge is blank"
    for number, line in enumerate(lines):
        if width(line) != shown.screen.columns:
            return f"row {number} spills"
        shut = line.rstrip()
        if shut.startswith("│") and (shut[-1] not in "│┃" or width(shut) != shown.screen.columns):
            return f"the box is open in row {number}"
    return ""


def whole(shown: PtyScreen, footer: bool = True) -> None:
    """Waits for a faultless screen, and that it stays one while it is drawn on."""
    deadline = time.monotonic() + 15
    shown.settle(0.04, 1.0)
    while wrong := fault(shown, footer):
        assert time.monotonic() < deadline, f"{wrong}; the screen:\n{shown.text()}"
        shown.settle(0.1, 1.0)


FLEETS = {
    "0": lambda: calm(0),
    "1": lambda: calm(1),
    "8": lambda: calm(8),
    "64": lambda: calm(64),
    "1000": lambda: calm(1000),
    "hostile": hostile,
    "all unknown": lambda: hostile(known=False),
}


@pytest.mark.parametrize("fleet", FLEETS)
def test_every_view_at_every_size(tui: Callable[..., PtyScreen], fleet: str) -> None:
    """One client, resized while it draws, through all sizes in each view."""
    with TuiHub(FLEETS[fleet](), ALERTS) as hub:
        shown = tui(hub, "--interval", "0.5")
        shown.wait(lambda text: "GPU" in text and "asking" not in text, "a fleet")
        for view, key in KEYS.items():
            shown.type(key)
            for columns, rows in SIZES:
                shown.resize(columns, rows)
                whole(shown, footer=view != "help")
        shown.type(ESC)
        shown.wait(lambda text: "quit" in text.splitlines()[-1], "the help closed")
        shown.type("q")
        assert shown.end() == 0


@pytest.mark.parametrize(
    ("environ", "flags"),
    [
        ({"TERM": "vt100"}, ()),
        ({"TERM": "linux"}, ()),
        ({"TERM": "screen"}, ()),
        ({"LC_ALL": "C"}, ()),
        ({"NO_COLOR": "1"}, ()),
        ({}, ("--ascii",)),
        ({}, ("--theme", "light")),
        ({}, ("--theme", "contrast")),
        ({}, ("--theme", "mono")),
    ],
    ids=str,
)
def test_every_kind_of_terminal_is_served(
    tui: Callable[..., PtyScreen], environ: dict[str, str], flags: tuple[str, ...]
) -> None:
    with TuiHub(hostile(), ALERTS) as hub:
        shown = tui(hub, *flags, **environ)
        shown.wait(lambda text: "7 GPUs" in text, "the fleet")
        ascii_only = environ.get("LC_ALL") == "C" or "--ascii" in flags
        for key in ("", "o", "o", "a", "a", "u"):
            shown.type(key)
            shown.settle(0.1, 1.5)
            text = shown.text()
            assert "Traceback" not in text
            assert not ascii_only or text.isascii(), text
            assert "quit" in text.splitlines()[-1]
        if environ.get("TERM") == "vt100" or environ.get("NO_COLOR") or "mono" in flags:
            cells = [cell for row in shown.screen.buffer.values() for cell in row.values()]
            assert {cell.fg for cell in cells} == {"default"}
        shown.type("q")
        assert shown.end() == 0


def test_a_dumb_terminal_gets_one_picture_as_text(tui: Callable[..., PtyScreen]) -> None:
    with TuiHub(calm(3)) as hub:
        shown = tui(hub, size=(100, 20), TERM="dumb")
        assert shown.end() == 0
        text = shown.text()
        assert "cannot place its cursor" in " ".join(text.split())
        assert "node-1 / GPU 2" in text


def test_an_unknown_terminal_gets_one_picture_as_text(tui: Callable[..., PtyScreen]) -> None:
    with TuiHub(calm(1)) as hub:
        shown = tui(hub, size=(100, 20), TERM="no-such-thing")
        assert shown.end() == 0
        assert "does not know the terminal" in " ".join(shown.text().split())


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_given_back_however_it_ends(
    tui: Callable[..., PtyScreen], sign: signal.Signals
) -> None:
    with TuiHub(calm(2)) as hub:
        shown = tui(hub)
        shown.wait(lambda text: "node-1" in text, "the fleet")
        assert b"\x1b[?1049h" in shown.raw
        os.kill(shown.process.pid, sign)
        status = shown.end()
        assert status in (0, 128 + sign)
        assert shown.raw.rstrip().endswith(b"\x1b[?1l\x1b>")
        assert b"\x1b[?1049l" in shown.raw
        assert b"\x1b[?1006;1000l" in shown.raw


def test_the_hub_goes_and_comes_and_the_picture_stays(tui: Callable[..., PtyScreen]) -> None:
    with TuiHub(calm(4)) as hub:
        shown = tui(hub, "--interval", "0.3")
        shown.wait(lambda text: "live" in text and "GPU 3" in text, "the fleet")
        hub.stop()
        text = shown.wait(lambda text: "no answer for" in text, "told of the silence")
        assert "node-1 / GPU 3" in text
        hub.start()
        shown.wait(lambda text: "live" in text, "back again")


def test_a_hub_that_is_not_there_is_told_and_waited_for(tui: Callable[..., PtyScreen]) -> None:
    hub = TuiHub(calm(1))
    shown = tui(hub)
    shown.wait(lambda text: "does not answer" in text, "told why there is nothing")
    with hub:
        shown.wait(lambda text: "node-1 / GPU 0" in text, "the fleet")


def test_keys_are_answered_while_the_hub_is_slow(tui: Callable[..., PtyScreen]) -> None:
    with TuiHub(calm(8)) as hub:
        shown = tui(hub)
        shown.wait(lambda text: "GPU 7" in text, "the fleet")
        hub.delay = 30.0
        shown.type("s")
        shown.wait(lambda text: "sort by" in text, "the menu")
        shown.type("q")
        shown.type("u")
        shown.wait(lambda text: "user" in text, "the users")
        shown.type("q")
        assert shown.end() == 0


def test_a_filter_is_typed_mended_and_applied_by_the_hub(tui: Callable[..., PtyScreen]) -> None:
    with TuiHub(calm(16)) as hub:
        shown = tui(hub)
        shown.wait(lambda text: "16 GPUs" in text, "the fleet")
        shown.settle(0.5, 3)
        shown.type("f")
        shown.wait(lambda text: "filter:" in text, "the line")
        shown.type("node=node-2 & tmp>1" + ENTER)

        def told(text: str) -> bool:  # the whole of it: a screen may be read half drawn
            *_, arrow, line = text.splitlines()
            return "did you mean 'temp'" in text and "↑" in arrow and "tmp" in line

        lines = shown.wait(told, "told").splitlines()
        assert lines[-2].index("↑") == lines[-1].index("tmp")
        shown.type(ESC)
        shown.type("f")
        shown.settle(0.1, 1)
        shown.type("node=node-2 & temp>1" + ENTER)
        text = shown.wait(lambda text: "8 of 16 GPUs" in text, "fewer GPUs")
        assert "node-1 /" not in text
        shown.type("F")
        shown.wait(lambda text: "16 GPUs" in text and "of 16" not in text.splitlines()[4], "all")


def test_alerts_are_acknowledged_and_silenced_from_the_keyboard(
    tui: Callable[..., PtyScreen],
) -> None:
    with TuiHub(calm(2), ALERTS) as hub:
        shown = tui(hub, "--view", "alerts", size=(120, 30))
        shown.wait(lambda text: "GpuHot" in text, "the alert")
        shown.type("A")
        shown.wait(lambda text: "acknowledge, with a comment" in text, "the question")
        shown.type("on it" + ENTER)
        shown.wait(lambda text: ": on it" in text and "seen" in text, "the alert is marked")
        shown.type("Z")
        shown.wait(lambda text: "silence for" in text, "how long")
        shown.type(ENTER)
        shown.wait(lambda text: "comment of the silence" in text, "why")
        shown.type("repair" + ENTER)
        shown.wait(lambda text: "1 silenced" in text and ": repair" in text, "it is silenced")
        assert hub.alerts.open[0].acknowledged_comment == "on it"
        (kept,) = hub.alerts.kept
        assert [str(matcher) for matcher in kept.silence.matchers] == [
            "alertname=GpuHot", "node=node-1", "gpu=GPU-node-1-0",
        ]  # fmt: skip
        assert kept.silence.ends_ms - kept.created_ms == pytest.approx(7_200_000, abs=5000)


def test_history_is_asked_for_where_one_scrolls(tui: Callable[..., PtyScreen]) -> None:
    with TuiHub(calm(2)) as hub:
        shown = tui(hub, size=(120, 40))
        shown.wait(lambda text: "GPU 1" in text, "the fleet")
        shown.type("o")
        shown.wait(lambda text: "last 15 min" in text and "1 process" in text, "the GPU")
        shown.type("-" * 12)
        shown.wait(lambda text: "last 30 d" in text, "a month")
        shown.type("[")
        shown.wait(lambda text: "30 d until 30 d ago" in text, "the month before")
        shown.settle(0.3, 2)
        spans = [
            (float(found[2]) - float(found[1]))
            for path in hub.asked
            if (found := re.search(r"/GPU-node-1-0/history.*start=([\d.]+)&end=([\d.]+)", path))
        ]
        assert spans[0] == pytest.approx(900)
        assert spans[-1] == pytest.approx(30 * 86400)
        shown.type("0")
        shown.wait(lambda text: "last 30 d" in text, "live again")


def test_the_mouse_selects_sorts_and_scrolls(tui: Callable[..., PtyScreen]) -> None:
    with TuiHub(calm(40)) as hub:
        shown = tui(hub)
        text = shown.wait(lambda text: "node-2 / GPU 7" in text, "the fleet")
        y = next(i for i, line in enumerate(text.splitlines()) if "node-1 / GPU 4" in line)
        click(shown, 10, y)
        click(shown, 10, y)
        shown.wait(lambda text: "node-1 / GPU 4" in text.splitlines()[0], "the GPU in detail")
        shown.type(ESC)
        text = shown.wait(lambda text: "node-2 / GPU 7" in text, "the list")
        heading = text.splitlines()[5]
        click(shown, heading.index("load"), 5)
        shown.wait(lambda text: "sort load ▼" in text, "sorted")
        for _ in range(9):
            wheel_down(shown)
        shown.wait(lambda text: "of 40" in text and "1-16 of" not in text, "scrolled")


def click(shown: PtyScreen, x: int, y: int) -> None:
    press, release = f"\x1b[<0;{x + 1};{y + 1}M", f"\x1b[<0;{x + 1};{y + 1}m"
    shown.type(press + release)
    shown.settle(0.05, 0.5)


def wheel_down(shown: PtyScreen) -> None:
    shown.type("\x1b[<65;10;10M")


def test_preferences_are_kept_from_one_start_to_the_next(tui: Callable[..., PtyScreen]) -> None:
    with TuiHub(calm(4)) as hub:
        shown = tui(hub)
        shown.wait(lambda text: "GPU 3" in text, "the fleet")
        shown.type("s5")
        shown.wait(lambda text: "sort temp ▼" in text, "sorted")
        shown.type("q")
        assert shown.end() == 0
        again = tui(hub)
        again.wait(lambda text: "sort temp ▼" in text, "sorted as before")


def test_a_paused_picture_holds_still(tui: Callable[..., PtyScreen]) -> None:
    with TuiHub(calm(2)) as hub:
        shown = tui(hub, "--interval", "0.2", size=(120, 30))
        shown.wait(lambda text: "2 GPUs" in text, "the fleet")
        shown.type("p")
        shown.wait(lambda text: "paused" in text, "paused")
        hub.publish(calm(3))
        shown.settle(0.6, 2)
        assert "2 GPUs" in shown.text()
        shown.type("p")
        shown.wait(lambda text: "3 GPUs" in text, "live again")


def test_a_large_fleet_is_asked_for_whole_now_and_then_and_for_what_is_seen_each_time(
    tui: Callable[..., PtyScreen],
) -> None:
    with TuiHub(calm(1000)) as hub:
        shown = tui(hub, "--interval", "0.2")
        shown.wait(lambda text: "1,000 GPUs" in text and "group node" in text, "the nodes")
        shown.type(" ")
        shown.wait(lambda text: "GPU 7" in text, "a node opened")
        hub.asked.clear()

        def asked() -> list[str]:
            return [path for path in hub.asked if path.startswith("/api/v1/gpus?")]

        shown.wait(lambda _: len(asked()) >= 5, "asked five times")
        lists = asked()
        whole_lists = [path for path in lists if "uuid%3D" not in path]
        assert len(whole_lists) <= 1
        assert all(path.count("uuid%3D") == 8 for path in lists if path not in whole_lists)
