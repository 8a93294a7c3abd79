"""test-email and the heartbeat, against real servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from gpufleet.cli.main import main
from gpufleet.hub.mail.heartbeat import Heartbeat
from support.mail_server import Behaviour, mail_server


def config(folder: Path, port: int) -> str:
    file = folder / "hub.toml"
    file.write_text(
        f'[smtp]\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\n'
        'from = "gpufleet@example.org"\n'
        '[[route]]\nrecipients = ["a@example.org", "b@example.org"]\n'
    )
    return str(file)


def test_the_sample_mail_goes_to_everybody_and_failures_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behaviour = Behaviour(refuse={"a@example.org": "550 no such user"})
    with mail_server(behaviour) as server:
        status = main(["hub", "test-email", "--config", config(tmp_path, server.port)])
        (taken,) = server.taken
    said = capsys.readouterr()
    assert status == 1
    assert "b@example.org: the mail server took the sample mail." in said.out
    assert "a@example.org: 127.0.0.1" in said.err
    assert "550 no such user" in said.err
    mail = message_from_bytes(taken.data)
    assert mail["To"] == "b@example.org"
    assert mail["Subject"].startswith("[TEST] [CRITICAL]")


def test_without_smtp_it_says_what_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("")
    assert main(["hub", "test-email", "--config", str(file)]) == 2
    assert "hub.toml has no [smtp]" in capsys.readouterr().err


@contextmanager
def web(status: int) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ping"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_heartbeat_says_whether_it_was_heard() -> None:
    with web(200) as url:
        assert Heartbeat(url).beat()
    heartbeat = Heartbeat(url)
    assert not heartbeat.beat()
    assert "refused" in heartbeat.trouble
    with web(500) as url:
        heartbeat = Heartbeat(url)
        assert not heartbeat.beat()
        assert heartbeat.trouble == "it answered 500"
