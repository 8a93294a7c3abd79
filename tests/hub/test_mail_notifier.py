"""From notices to the outbox, on both databases: restarts, a silent server, muting, limits."""

from __future__ import annotations

import pytest

from gpufleet.alerting.notify.content import Reason
from gpufleet.alerting.notify.muting import Matcher, Silence
from gpufleet.alerting.state import Kind
from gpufleet.hub.mail.outbox import Sender
from gpufleet.hub.store.alerts import unhandled_notices
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.email import Mail, MailState, claim_one
from gpufleet.hub.store.silences import StoredSilence, add_silence
from support.mail_world import OPS, World

HOUR = 3600


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def reasons(mails: list[Mail]) -> list[Reason]:
    return [one.content.reason for one in mails]


def test_restarts_at_every_step_mail_a_firing_once(world: World) -> None:
    world.fire("a")
    for _ in range(40):
        world.restart()
        world.after(5)
    (mail,) = world.mails()
    assert (mail.recipient, mail.content.fired) == (OPS, ("a",))
    assert b"Message-ID: <" + mail.id.encode() in world.message(mail)
    with world.database.reading() as connection:
        assert unhandled_notices(connection) == []


def test_a_server_that_is_down_all_the_while_gets_one_mail(world: World) -> None:
    one = world.fire("a")
    world.after(31)
    world.after(9 * 60)
    world.move(one, Kind.RESOLVED)
    world.after(30)
    world.after(31)
    (queued,) = world.mails(MailState.QUEUED)
    assert queued.content.reason is Reason.FIRED_AND_RESOLVED
    assert "fired and resolved" in queued.subject
    assert len(world.mails(MailState.SUPERSEDED)) == 1


def test_what_was_sent_is_followed_by_its_end_in_the_same_thread(world: World) -> None:
    one = world.fire("a")
    (first,) = world.after(31)
    world.sent()
    world.move(one, Kind.RESOLVED)
    (second,) = world.after(61)
    assert second.content.reason is Reason.RESOLVED
    assert b"In-Reply-To: " + first.message_id.encode() in world.message(second)


def test_a_mail_that_is_being_sent_is_not_replaced(world: World) -> None:
    one = world.fire("a")
    world.after(31)
    with world.database.writing() as connection:
        assert claim_one(connection, "sender", world.now_ms) is not None
    world.move(one, Kind.RESOLVED)
    assert world.after(61) == []
    world.sent()
    assert len(world.mails()) == 1


def test_silences_mute_mails_and_their_end_brings_a_digest(world: World) -> None:
    silence = Silence("s", (Matcher("node", "=", "n1"),), world.now_ms, world.now_ms + HOUR * 1000)
    with world.database.writing() as connection:
        add_silence(connection, StoredSilence(silence, "silence", world.now_ms))
    one = world.fire("a")
    other = world.fire("b", node="n2")
    (mail,) = world.after(31)
    assert mail.content.fired == (other.id,)
    world.sent()
    world.move(one, Kind.RESOLVED)
    assert world.after(120) == []
    made = world.after(HOUR)
    digest = [mail for mail in made if mail.content.reason is Reason.DIGEST]
    assert [mail.content.muted for mail in digest] == [("a",)]
    assert digest[0].state is MailState.QUEUED


def test_what_is_over_the_limit_is_held_and_becomes_one_digest(world: World) -> None:
    for number in range(23):
        world.fire(f"g{number}", gpu_name=f"Model {number}")
    world.after(31)
    assert len(world.mails(MailState.QUEUED)) == 20
    assert len(world.mails(MailState.HELD)) == 3
    (digest,) = world.after(HOUR)
    assert digest.content.reason is Reason.DIGEST
    assert len(digest.content.fired) == 3
    assert world.mails(MailState.HELD) == []


def test_the_sender_sends_what_the_notifier_wrote(world: World) -> None:
    taken: list[Mail] = []

    class Post:
        def send(self, mail: Mail) -> None:
            taken.append(mail)

    world.fire("a")
    world.after(31)
    sender = Sender(world.database, Post(), lambda: world.now_ms)
    while sender.process_one():
        pass
    assert [mail.recipient for mail in taken] == [OPS]
    assert world.mails()[0].state is MailState.SENT
