"""Captures of the terminal client, as text and as pictures, made from the demo."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpufleet.cli import tui
from pictures import painter
from support.processes import command, environment
from support.pty_screen import PtyScreen

ROOT = Path(__file__).resolve().parent.parent.parent
DOWN, END, ENTER = "\x1bOB", "\x1bOF", "\r"


@dataclass(frozen=True, slots=True)
class Shot:
    """One capture: the size, what is typed before it (each waited for), and flags."""

    name: str
    size: tuple[int, int]
    keys: Sequence[str] = ()
    flags: Sequence[str] = ()
    light: bool = False


SHOTS = (
    Shot("fleet", (120, 35)),
    Shot("fleet-80x24", (80, 24)),
    Shot("fleet-40x12", (40, 12)),
    Shot("fleet-200x55", (200, 55)),
    Shot("nodes", (120, 35), ["e", DOWN, " "], ["--group", "node"]),
    Shot("detail", (120, 35), ["o"]),
    Shot("detail-80x24", (80, 24), ["o"]),
    Shot("detail-40x12", (40, 12), ["o"]),
    Shot("detail-200x55", (200, 55), ["o"]),
    Shot("history", (120, 35), ["o", "-", "-", "\x1bOD"]),
    Shot("alerts", (120, 35), ["a"]),
    Shot("alerts-80x24", (80, 24), ["a"]),
    Shot("users", (120, 35), ["u", " "]),
    Shot("filter", (120, 35), ["f", "util<5 & powr>30"]),
    Shot("sort", (120, 35), ["s"]),
    Shot("help", (120, 35), ["?"]),
    Shot("light", (120, 35), (), ["--theme", "light"], light=True),
    Shot("ascii", (80, 24), (), ["--ascii", "--theme", "mono"]),
)


def take(shot: Shot, url: str, folder: Path) -> None:
    """Writes NAME.txt and NAME.png."""
    with tempfile.TemporaryDirectory() as home:
        extra = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": home}
        extra["NO_COLOR"] = ""
        running = command("tui", url, *shot.flags)
        with PtyScreen(running, environment(extra), shot.size) as shown:
            shown.wait(lambda text: "quit" in text and "asking" not in text, "a picture")
            shown.settle(0.7, 3)
            for keys in shot.keys:
                shown.type(keys)
                shown.settle(0.7, 2)
            shown.settle(0.9, 3)
            text = "\n".join(line.rstrip() for line in shown.lines())
            (folder / f"{shot.name}.txt").write_text(text + "\n", encoding="utf-8")
            painter.picture(shown.screen, shot.light).save(folder / f"{shot.name}.png")


def main() -> int:
    """Takes the captures that are named, all of them unless told otherwise."""
    parser = argparse.ArgumentParser(prog="scripts/tui-shots", description=__doc__)
    parser.add_argument("names", nargs="*", help="captures to take (all)")
    parser.add_argument("--hub", metavar="URL", help="a running hub (else a demo is started)")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "tui", help="(docs/tui)")
    parser.add_argument("--wait", type=int, default=60, help="seconds that the demo runs first")
    args = parser.parse_args()
    wanted = [shot for shot in SHOTS if not args.names or shot.name in args.names]
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.hub:
        for shot in wanted:
            take(shot, args.hub, args.folder)
        return 0
    with tui.demo_fleet() as url:
        import time

        time.sleep(args.wait)
        for shot in wanted:
            take(shot, url, args.folder)
            print(shot.name)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TZ", "UTC")
    sys.exit(main())
