"""The hub of the terminal client's bench: the real HTTP application over a fleet that changes.

It publishes new values each second, says when it first answered for the list, and is slow while a
file lies there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from support.fleet_builder import large_fleet, vary
from support.tui_hub import TuiHub

SLOW_SECONDS = 20.0


def main() -> int:
    """PORT NODES FOLDER: serves until it is ended."""
    port, nodes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    snapshot = large_fleet(nodes)
    hub = TuiHub(snapshot)
    hub.port = port
    said = False
    with hub:
        turn = 0
        while True:
            for _ in range(20):
                time.sleep(0.05)
                hub.delay = SLOW_SECONDS if (folder / "slow").exists() else 0.0
                if not said and hub.answered:
                    (folder / "answered").write_text(repr(hub.answered[0]))
                    said = True
            turn += 1
            snapshot = vary(snapshot, turn)
            hub.publish(snapshot)


if __name__ == "__main__":
    sys.exit(main())
