"""The demo and the terminal client together, in a real terminal: shown, quit, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.processes import command, environment, free_port
from support.pty_screen import PtyScreen


@pytest.mark.parametrize("started_by", ["demo", "tui"])
def test_a_demo_is_shown_in_the_terminal_and_ends_with_it(tmp_path: Path, started_by: str) -> None:
    flags = ("--nodes", "1", "--gpus", "2", "--hours", "0")
    ports = ("--http-port", str(free_port()), "--grpc-port", str(free_port()))
    arguments = ("demo", *flags, *ports) if started_by == "demo" else ("tui", "--demo")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    extra = {
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
        "XDG_CONFIG_HOME": str(tmp_path),
        "TMPDIR": str(scratch),
    }
    with PtyScreen(command(*arguments), environment(extra), (100, 30)) as shown:
        shown.wait(lambda text: "live" in text and "node-1 / GPU 1" in text, "the fleet", 60)
        shown.type("q")
        assert shown.end(40) == 0
    assert list(scratch.iterdir()) == []
