"""The client in tmux, another terminal than pyte: the same picture, nothing left behind."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpufleet.tui.text import width
from support.processes import command, environment
from support.tui_hub import TuiHub, calm, hostile

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")


class Tmux:
    """A tmux server of its own with one window."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux")
        self._folder = folder

    def run(self, *arguments: str) -> str:
        found = subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *arguments],
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return found.stdout

    def start(self, hub: TuiHub, *flags: str) -> None:
        env = environment({"LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": str(self._folder)})
        wanted = ("PYTHONPATH", "LC_ALL", "XDG_CONFIG_HOME")
        setting = " ".join(f"{name}={shlex.quote(env[name])}" for name in wanted)
        line = shlex.join(command("tui", hub.url, *flags))
        self.run("new-session", "-d", "-x", "100", "-y", "30", f"{setting} {line}; echo ended; cat")

    def screen(self) -> str:
        return self.run("capture-pane", "-p")

    def wait(self, seen: Callable[[str], bool], what: str) -> str:
        deadline = time.monotonic() + 20
        while not seen(found := self.screen()):
            assert time.monotonic() < deadline, f"never {what}; the screen:\n{found}"
            time.sleep(0.1)
        return found


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    server = Tmux(tmp_path)
    yield server
    server.run("kill-server")


def test_the_client_draws_the_same_in_tmux_and_leaves_nothing(tmux: Tmux) -> None:
    with TuiHub(calm(20)) as hub:
        tmux.start(hub)
        found = tmux.wait(lambda text: "20 GPUs" in text and "GPU 7" in text, "the fleet")
        tmux.run("send-keys", "o")
        found = tmux.wait(lambda text: "1 load" in text and "4 power" in text, "a GPU")
        tmux.run("resize-window", "-x", "60", "-y", "20")
        found = tmux.wait(lambda text: text.splitlines()[0].endswith("╮") and
                          width(text.splitlines()[0]) == 60, "redrawn")  # fmt: skip
        assert all(width(line) <= 60 for line in found.splitlines())
        tmux.run("send-keys", "q")
        found = tmux.wait(lambda text: "ended" in text, "the end")
        assert "GPU" not in found


def test_hostile_names_do_nothing_to_tmux(tmux: Tmux) -> None:
    with TuiHub(hostile()) as hub:
        tmux.start(hub)
        found = tmux.wait(lambda text: "7 GPUs" in text and "quit" in text, "the fleet")
        boxed = [line for line in found.splitlines() if line.startswith("│")]
        assert len(boxed) > 20
        assert all(line[-1] in "│┃" and width(line) == 100 for line in boxed)
