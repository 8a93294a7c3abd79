"""The HTTP port: what every connection through it inherits."""

from __future__ import annotations

import socket
from pathlib import Path

from gpufleet.hub.app import _listen
from gpufleet.hub.config import HubConfig


def test_no_answer_waits_for_the_client_s_delayed_acknowledgement(tmp_path: Path) -> None:
    config = HubConfig(tmp_path, http_port=0)
    with (
        _listen(config) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
