"""A hub and agents as processes of their own, as a user runs them, in a temporary folder."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from support.places import url_in
from support.processes import free_port, get, start, wait_for


class FleetProcesses:
    """Start what a test needs; everything ends with the ``with`` block."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = url_in(self.home / "hub")
        self.http_port, self.grpc_port = free_port(), free_port()
        self.hub: subprocess.Popen[bytes] | None = None
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.config: Path | None = None
        """Settings of the hub, where the usual ones will not do."""

    def start_hub(self) -> None:
        """Start the hub and wait until it is ready."""
        (self.home / "hub").mkdir(exist_ok=True)
        self.hub = start(
            *("hub", "serve", "--database", self.database),
            *("--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port)),
            *(() if self.config is None else ("--config", str(self.config))),
            log=self.home / "hub.log",
        )
        wait_for(lambda: get(self.http_port, "/readyz")[0] == 200, 60, "the hub is ready")

    def start_agent(
        self, node: str, *flags: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start ``gpufleet agent run`` for a node."""
        self.agents[node] = start(
            *("agent", "run", "--node", node, "--hub", f"127.0.0.1:{self.grpc_port}"),
            *("--state-dir", str(self.home / node), *flags),
            log=self.home / f"{node}.log",
            extra=extra,
        )
        return self.agents[node]

    def get(self, path: str) -> Any:
        """The body of a GET that must succeed."""
        status, body = get(self.http_port, path)
        assert status == 200, (status, body)
        return body

    def gpus(self, node: str) -> dict[int, dict[str, Any]]:
        """Rows of ``/api/v1/gpus`` of a node, by index."""
        rows = self.get("/api/v1/gpus")["gpus"]
        return {row["index"]: row for row in rows if row["node"] == node}

    def events(self) -> list[dict[str, Any]]:
        """The newest events of the fleet."""
        events: list[dict[str, Any]] = self.get("/api/v1/events")["events"]
        return events

    def stop_hub(self) -> None:
        """SIGTERM, and wait for a clean end."""
        assert self.hub is not None
        self.hub.send_signal(signal.SIGTERM)
        assert self.hub.wait(60) == 0

    def __enter__(self) -> FleetProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for process in (*self.agents.values(), self.hub):
            if process is None:
                continue
            if process.poll() is None:
                process.kill()
            process.wait(10)
        if error is not None:
            for log in sorted(self.home.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
