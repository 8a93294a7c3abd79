"""The outbox: claimed once, marked after the server took it, retried, given up, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from pathlib import Path

import pytest

from gpufleet.alerting.mail.letter import written
from gpufleet.alerting.mail.sample import samples
from gpufleet.alerting.smtp import Security, SmtpSettings
from gpufleet.hub.mail.outbox import (
    GIVE_UP_MS,
    LONGEST_WAIT_MS,
    FileTransport,
    Sender,
    SmtpTransport,
    wait_ms,
)
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.email import (
    Mail,
    MailState,
    claim_one,
    find_mail,
    list_mails,
    outbox_view,
    put_mails,
    queue_again,
    supersede,
)
from support.mail_incidents import T0
from support.mail_server import Behaviour, MailServer, mail_server
from support.mail_world import OPS

OTHER = "other@example.org"


@dataclass(slots=True)
class Post:
    """A database, a real server, and a sender between them with a clock."""

    database: Database
    server: MailServer
    behaviour: Behaviour
    timeout_seconds: float = 10.0
    now_ms: int = T0
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        settings = SmtpSettings(
            "127.0.0.1",
            "gpufleet@example.org",
            self.server.port,
            Security.NONE,
            timeout_seconds=self.timeout_seconds,
        )
        self.sender = Sender(
            self.database, SmtpTransport(settings), lambda: self.now_ms, lambda: 0.5
        )

    def put(self, name: str, recipient: str = OPS) -> Mail:
        mail = mail_of(name, recipient, self.now_ms)
        with self.database.writing() as connection:
            put_mails(connection, [mail])
        return mail

    def find(self, name: str) -> Mail:
        with self.database.reading() as connection:
            mail = find_mail(connection, name)
        assert mail is not None
        return mail

    def run(self) -> int:
        count = 0
        while self.sender.process_one():
            count += 1
        return count


def mail_of(name: str, recipient: str, now_ms: int) -> Mail:
    letter = samples(now_ms)["node_down"].letter
    made = written(letter, "gpufleet@example.org", recipient, name)
    return Mail(
        id=name,
        episode_id="e",
        recipient=recipient,
        severity=letter.severity,
        content=letter.content,
        subject=made.subject,
        message_id=made.message_id,
        message=made.message,
        state=MailState.QUEUED,
        created_ms=now_ms,
        first_ms=now_ms,
        next_ms=now_ms,
    )


@pytest.fixture
def post(database: Database) -> Iterator[Post]:
    behaviour = Behaviour()
    with mail_server(behaviour) as server:
        yield Post(database, server, behaviour)


def test_a_mail_is_sent_once_and_its_message_forgotten(post: Post) -> None:
    post.put("a")
    assert post.run() == 1
    mail = post.find("a")
    assert (mail.state, mail.attempts, mail.settled_ms) == (MailState.SENT, 1, T0)
    assert mail.message is None
    post.restart()
    assert post.run() == 0
    (taken,) = post.server.taken
    parsed = message_from_bytes(taken.data)
    assert parsed["Message-ID"] == "<a@example.org>"
    assert parsed["Auto-Submitted"] == "auto-generated"


def test_a_mail_put_off_is_tried_again_and_given_up_after_three_days(post: Post) -> None:
    post.behaviour.refuse[OPS] = "451 come back later"
    post.put("a")
    post.run()
    first = post.find("a")
    assert (first.state, first.next_ms - T0) == (MailState.QUEUED, 10_000)
    assert "451 come back later" in first.error
    assert post.run() == 0
    tries = 1
    while post.find("a").state is MailState.QUEUED:
        post.now_ms = post.find("a").next_ms
        tries += post.run()
    dead = post.find("a")
    assert dead.state is MailState.DEAD
    assert post.now_ms - T0 >= GIVE_UP_MS
    assert GIVE_UP_MS / LONGEST_WAIT_MS < tries < 1.1 * GIVE_UP_MS / LONGEST_WAIT_MS + 12


def test_a_mail_put_off_goes_when_the_server_takes_it(post: Post) -> None:
    post.behaviour.refuse[OPS] = "450 greylisted"
    post.put("a")
    post.run()
    post.behaviour.refuse.clear()
    post.now_ms += 10_000
    post.run()
    assert post.find("a").state is MailState.SENT
    assert post.find("a").attempts == 2


def test_a_refused_mail_is_dead_and_shown_and_can_be_queued_again(post: Post) -> None:
    post.behaviour.refuse[OPS] = "550 no such user"
    post.put("a")
    post.run()
    assert post.find("a").state is MailState.DEAD
    assert "550 no such user" in post.find("a").error
    with post.database.reading() as connection:
        assert outbox_view(connection).dead == 1
        (shown,) = list_mails(connection, MailState.DEAD)
    assert shown.id == "a"
    post.behaviour.refuse.clear()
    with post.database.writing() as connection:
        assert queue_again(connection, "a", post.now_ms)
        assert not queue_again(connection, "none", post.now_ms)
    post.run()
    assert post.find("a").state is MailState.SENT


def test_one_bad_recipient_does_not_stop_the_other(post: Post) -> None:
    post.behaviour.refuse[OPS] = "550 no such user"
    post.put("a")
    post.put("b", OTHER)
    post.run()
    assert post.find("a").state is MailState.DEAD
    assert post.find("b").state is MailState.SENT


def test_a_lost_answer_sends_the_same_message_id_again(post: Post) -> None:
    post.behaviour.lose_answers = 1
    post.put("a")
    post.run()
    assert post.find("a").state is MailState.QUEUED
    assert post.sender.trouble
    post.now_ms += 13_000
    post.run()
    ids = [message_from_bytes(one.data)["Message-ID"] for one in post.server.taken]
    assert ids == ["<a@example.org>"] * 2
    assert (post.find("a").state, post.sender.trouble) == (MailState.SENT, "")


def test_a_server_that_hangs_times_out_and_the_mail_is_kept(database: Database) -> None:
    behaviour = Behaviour(hang=asyncio.Event())
    with mail_server(behaviour) as server:
        post = Post(database, server, behaviour, timeout_seconds=0.3)
        post.put("a")
        post.run()
        assert post.find("a").state is MailState.QUEUED
        assert "did not answer" in post.sender.trouble


def test_while_no_server_answers_one_mail_at_a_time_is_tried(post: Post) -> None:
    settings = SmtpSettings("127.0.0.1", "gpufleet@example.org", 1, Security.NONE)
    post.sender = Sender(post.database, SmtpTransport(settings), lambda: post.now_ms, lambda: 0.5)
    for name in "abc":
        post.put(name)
    assert post.run() == 1
    post.now_ms += 9_999
    assert post.run() == 0
    post.now_ms += 1
    assert post.run() == 1
    post.now_ms += 19_999
    assert post.run() == 0
    with post.database.reading() as connection:
        assert outbox_view(connection).waiting == 3
        assert outbox_view(connection).oldest_ms == T0


def test_a_mail_whose_sender_died_is_sent_after_the_restart(post: Post) -> None:
    post.put("a")
    with post.database.writing() as connection:
        claimed = claim_one(connection, "a sender that died", post.now_ms)
    assert claimed is not None
    post.restart()
    post.run()
    assert post.find("a").state is MailState.SENT


def test_a_claimed_mail_is_nobody_elses(post: Post) -> None:
    mail = post.put("a")
    with post.database.writing() as connection:
        assert claim_one(connection, "one", post.now_ms) is not None
    with post.database.writing() as connection:
        assert claim_one(connection, "two", post.now_ms) is None
        assert not supersede(connection, [mail], post.now_ms)


def test_the_same_mail_is_in_the_outbox_once(post: Post) -> None:
    post.put("a")
    post.run()
    post.put("a")
    assert post.run() == 0
    assert len(post.server.taken) == 1


def test_a_superseded_mail_is_not_sent(post: Post) -> None:
    mail = post.put("a")
    with post.database.writing() as connection:
        assert supersede(connection, [mail], post.now_ms)
    assert post.run() == 0
    assert post.server.taken == []


def test_waits_double_up_to_half_an_hour() -> None:
    assert [wait_ms(one, 0.5) for one in (1, 2, 3, 9, 100)] == [
        10_000,
        20_000,
        40_000,
        LONGEST_WAIT_MS,
        LONGEST_WAIT_MS,
    ]
    assert wait_ms(1, 0.0) == 8_000
    assert wait_ms(1, 1.0) == 12_000


def test_a_folder_takes_mails_as_files(tmp_path: Path) -> None:
    transport = FileTransport(tmp_path / "mails")
    mail = mail_of("a/../b", OPS, T0)
    transport.send(mail)
    transport.send(mail)
    (file,) = (tmp_path / "mails").iterdir()
    assert file.suffix == ".eml"
    assert file.read_bytes() == mail.message
    transport.send(replace(mail, id="c"))
    assert len(list((tmp_path / "mails").iterdir())) == 2
