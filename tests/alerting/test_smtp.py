"""Delivery to a real SMTP server: what protects it, what its failures say, how long it waits."""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gpufleet.alerting.smtp import Blame, Security, SendFailed, SmtpSettings, loopback, send
from support.mail_server import LOGIN, Behaviour, authority, mail_server

MESSAGE = b"Subject: hot\r\n\r\nIt is hot.\r\n.a line that begins with a dot\r\n"
TO = "ops@example.org"


def plain_settings(port: int) -> SmtpSettings:
    return SmtpSettings("127.0.0.1", "gpufleet@example.org", port, Security.NONE)


def test_a_mail_goes_through_starttls_with_a_login(tmp_path: Path) -> None:
    ca_file, context = authority(tmp_path)
    user, password = LOGIN
    with mail_server(Behaviour(), context, login=True) as server:
        settings = SmtpSettings(
            "localhost",
            "gpufleet@example.org",
            server.port,
            username=user,
            password=password,
            ca_file=ca_file,
        )
        send(settings, TO, MESSAGE)
        (taken,) = server.taken
    assert taken.encrypted
    assert (taken.sender, taken.recipient) == ("gpufleet@example.org", TO)
    assert b"\r\n.a line that begins with a dot\r\n" in taken.data


def test_a_mail_goes_through_tls_from_the_first_byte(tmp_path: Path) -> None:
    ca_file, context = authority(tmp_path)
    with mail_server(Behaviour(), context, tls_at_once=True) as server:
        settings = replace(
            plain_settings(server.port), host="localhost", security=Security.TLS, ca_file=ca_file
        )
        send(settings, TO, MESSAGE)
        assert len(server.taken) == 1


def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    _, context = authority(tmp_path)
    with mail_server(Behaviour(), context) as server:
        settings = SmtpSettings("localhost", "gpufleet@example.org", server.port)
        with pytest.raises(SendFailed, match=r"not trusted.*ca_file") as failed:
            send(settings, TO, MESSAGE)
        assert failed.value.blame is Blame.SERVER
        assert server.taken == []


def test_a_server_without_starttls_gets_nothing() -> None:
    with mail_server(Behaviour()) as server:
        settings = replace(plain_settings(server.port), security=Security.STARTTLS)
        with pytest.raises(SendFailed, match="offers no STARTTLS") as failed:
            send(settings, TO, MESSAGE)
        assert failed.value.blame is Blame.SERVER
        assert server.taken == []


def test_a_wrong_password_is_the_servers_trouble_and_no_mails(tmp_path: Path) -> None:
    ca_file, context = authority(tmp_path)
    with mail_server(Behaviour(), context, login=True) as server:
        settings = SmtpSettings(
            "localhost",
            "gpufleet@example.org",
            server.port,
            username="mailer",
            password="wrong",
            ca_file=ca_file,
        )
        with pytest.raises(SendFailed, match="refuses the login of mailer") as failed:
            send(settings, TO, MESSAGE)
    assert failed.value.blame is Blame.SERVER
    assert failed.value.code == 535
    assert "wrong" not in str(failed.value)


@pytest.mark.parametrize(
    ("answer", "blame", "code"),
    [
        ("450 greylisted, come again", Blame.TEMPORARY, 450),
        ("550 no such user", Blame.PERMANENT, 550),
    ],
)
def test_a_refused_recipient_says_whether_a_retry_helps(
    answer: str, blame: Blame, code: int
) -> None:
    with (
        mail_server(Behaviour(refuse={TO: answer})) as server,
        pytest.raises(SendFailed, match=answer[4:10]) as failed,
    ):
        send(plain_settings(server.port), TO, MESSAGE)
    assert (failed.value.blame, failed.value.code) == (blame, code)


def test_a_refused_content_says_whether_a_retry_helps() -> None:
    behaviour = Behaviour(data_answer="552 too large")
    with (
        mail_server(behaviour) as server,
        pytest.raises(SendFailed, match="too large") as failed,
    ):
        send(plain_settings(server.port), TO, MESSAGE)
    assert failed.value.blame is Blame.PERMANENT


def test_a_lost_answer_is_the_servers_trouble() -> None:
    behaviour = Behaviour(lose_answers=1)
    with mail_server(behaviour) as server:
        with pytest.raises(SendFailed) as failed:
            send(plain_settings(server.port), TO, MESSAGE)
        assert failed.value.blame is Blame.SERVER
        assert len(server.taken) == 1


def test_a_server_that_hangs_after_the_data_times_out() -> None:
    behaviour = Behaviour(hang=asyncio.Event())
    with mail_server(behaviour) as server:
        settings = replace(plain_settings(server.port), timeout_seconds=0.3)
        with pytest.raises(SendFailed, match=r"did not answer within 0\.3 s") as failed:
            send(settings, TO, MESSAGE)
        assert failed.value.blame is Blame.SERVER


def test_a_server_that_never_greets_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = replace(plain_settings(silent.getsockname()[1]), timeout_seconds=0.2)
        with pytest.raises(SendFailed, match="Cannot connect to"):
            send(settings, TO, MESSAGE)


def test_a_server_that_draws_its_answer_out_byte_by_byte_is_cut_off() -> None:
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            try:
                connection.sendall(b"220 ready\r\n")
                while not over.wait(0.05):
                    connection.sendall(b"2")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,), daemon=True)
        thread.start()
        settings = replace(plain_settings(listening.getsockname()[1]), timeout_seconds=0.2)
        try:
            with pytest.raises(SendFailed):
                send(settings, TO, MESSAGE)
        finally:
            over.set()
            thread.join(10)


def test_a_server_that_is_not_there_is_told_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SendFailed, match=f"127.0.0.1:{port}: Connection refused"):
        send(plain_settings(port), TO, MESSAGE)


def test_a_ca_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = SmtpSettings("localhost", "a@b.c", 1, ca_file=tmp_path / "none.pem")
    with pytest.raises(SendFailed, match=r"none\.pem cannot be used: No such file"):
        send(settings, TO, MESSAGE)


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("mx", False)],
)
def test_only_this_machine_is_loopback(host: str, local: bool) -> None:
    assert loopback(host) is local
