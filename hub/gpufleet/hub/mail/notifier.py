"""From notices to mails in the outbox: asks the pure decisions, renders, writes in one transaction.

A step reads everything, decides one mail at most, and writes the episodes, the mails and that the
notices are dealt with together. If a mail that this one replaces was claimed meanwhile, nothing is
written and the step is taken again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.mail.letter import History, illustrated, written
from gpufleet.alerting.mail.message import digest_id, mail_id, message_id, thread_of
from gpufleet.alerting.mail.view import Letter, view_of
from gpufleet.alerting.notify.absorb import Told, absorb
from gpufleet.alerting.notify.content import Content
from gpufleet.alerting.notify.due import Sight, Verdict, due, explains_silence
from gpufleet.alerting.notify.episode import Episode
from gpufleet.alerting.notify.limits import Recent, digest_due, digest_of, placed
from gpufleet.alerting.notify.muting import Silence, muted
from gpufleet.alerting.notify.routing import recipients_of
from gpufleet.alerting.state import Severity
from gpufleet.hub.mail.config import MailConfig
from gpufleet.hub.store.alerts import (
    find_incidents,
    load_open_incidents,
    mark_handled,
    unhandled_notices,
)
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.email import (
    Mail,
    MailState,
    held_mails,
    load_told,
    put_mails,
    recent_mails,
    supersede,
    unsent_of,
    write_told,
)
from gpufleet.hub.store.silences import list_silences

NOTICES = 2000
"""Notices of one step."""
LOOK_MS = 5_000
"""Without notices, episodes are looked at this often."""
OLD_MS = 72 * 3_600_000
"""Nobody is mailed of what ended so long ago: there was no mail then."""

_log = logging.getLogger(__name__)


class _Overtaken(Exception):
    """A mail that was to be replaced is being sent."""


@dataclass(slots=True)
class _World:
    """What one step knows."""

    now_ms: int
    notices: list[Notice]
    told: Told
    incidents: dict[str, Incident]
    silences: list[Silence]
    down: frozenset[str]
    unsent: list[Mail]
    held: list[Mail]


@dataclass(slots=True)
class _Outgoing:
    """What one step writes of mails."""

    mails: list[Mail]
    replaced: list[Mail]


class Notifier:
    """For one thread. ``now`` gives Unix ms; ``live`` open incidents by id with their newest values
    (called from this thread)."""

    def __init__(
        self,
        database: Database,
        config: MailConfig,
        now: Callable[[], int],
        history: History,
        live: Callable[[], Mapping[str, Incident]] = dict,
    ) -> None:
        self._database = database
        self._config = config
        self._now = now
        self._history = history
        self._live = live
        self._look_ms = 0

    def process_one(self) -> bool:
        """One step; whether there may be more to do at once. StoreError: try again later."""
        world = self._read()
        if world is None:
            return False
        now_ms = world.now_ms
        self._absorb(world)
        outgoing = self._one_mail(world) or self._one_digest(world)
        try:
            self._write(world, outgoing or _Outgoing([], []))
        except _Overtaken:
            _log.info("a mail was sent while its successor was written: deciding anew")
            return True
        if outgoing is not None or len(world.notices) == NOTICES:
            return True
        self._look_ms = now_ms + LOOK_MS
        return False

    # Reading

    def _read(self) -> _World | None:
        """What there is to decide on; ``None``: nothing yet."""
        now_ms = self._now()
        with self._database.reading() as connection:
            notices = unhandled_notices(connection, NOTICES)
            if not notices and now_ms < self._look_ms:
                return None
            told = load_told(connection, now_ms)
            held = held_mails(connection)
            if not notices and not told.episodes and not held:
                self._look_ms = now_ms + LOOK_MS
                return None
            wanted = {one.incident_id for one in notices}
            wanted |= {one for episode in told.episodes.values() for one in episode.members}
            wanted |= {one for mail in held for one in mail.content.ids()}
            unsent = unsent_of(connection, told.episodes)
            wanted |= {one for mail in unsent for one in mail.content.ids()}
            incidents = find_incidents(connection, wanted)
            open_now = load_open_incidents(connection)
            silences = [one.silence for one in list_silences(connection, now_ms)]
        for incident_id, live in self._live().items():
            stored = incidents.get(incident_id)
            if stored is not None and stored.open and live.open:
                incidents[incident_id] = live
        down = frozenset(one.node for one in open_now if explains_silence(one))
        return _World(now_ms, notices, told, incidents, silences, down, unsent, held)

    def _muted(self, world: _World, incident: Incident, at_ms: int) -> bool:
        return muted(incident, world.silences, at_ms, self._config.zone) is not None

    # Deciding

    def _absorb(self, world: _World) -> None:
        old_ms = world.now_ms - OLD_MS

        def recipients(incident: Incident) -> tuple[str, ...]:
            ended = incident.resolved_ms or incident.closed_ms
            if ended is not None and ended < old_ms:
                return ()
            return recipients_of(incident, self._config.routes)

        absorb(
            world.told,
            world.notices,
            world.incidents,
            recipients,
            lambda incident, at_ms: self._muted(world, incident, at_ms),
        )

    def _one_mail(self, world: _World) -> _Outgoing | None:
        """The first episode that has something to tell, as mails to its recipients."""
        sending = {one.episode_id for one in world.unsent if one.state is MailState.SENDING}
        for episode in list(world.told.episodes.values()):
            if episode.id in sending or episode.closed_ms is not None:
                continue
            verdict = due(episode, self._sight(world, episode))
            if verdict.episode is not episode:
                world.told.put(verdict.episode)
            for flap in verdict.flaps:
                world.told.put_flap(flap)
            if verdict.content is not None:
                return self._mails(world, verdict, verdict.content)
        return None

    def _sight(self, world: _World, episode: Episode) -> Sight:
        silent = {
            member.node
            for other in world.told.episodes.values()
            if other.key.recipients == episode.key.recipients
            for member in other.members.values()
            if member.open and member.no_data_ms is not None and member.no_data_told
        }
        return Sight(
            world.now_ms,
            world.incidents,
            lambda incident: self._muted(world, incident, world.now_ms),
            world.told.flaps,
            world.down,
            frozenset(silent),
            self._config.wait_ms,
        )

    def _mails(self, world: _World, verdict: Verdict, content: Content) -> _Outgoing:
        episode, key = verdict.episode, verdict.episode.key
        with self._database.reading() as connection:
            recents = recent_mails(connection, key.recipients, world.now_ms)
        out = _Outgoing([], [])
        charts: dict[Content, bytes | None] = {}
        number = max(episode.mails, 1)
        for recipient in key.recipients:
            before = [
                one
                for one in world.unsent
                if one.episode_id == episode.id and one.recipient == recipient
            ]
            place = placed(
                content,
                key.severity,
                recents.get(recipient, Recent()),
                [one.content for one in before],
                any(one.state is MailState.HELD for one in before),
                world.now_ms,
            )
            letter = self._letter(world, place.content, key.severity, key.model)
            if letter is None:
                continue
            name = mail_id(episode.id, recipient, number)
            if place.held:
                name = digest_id(recipient, [name, str(world.now_ms)])
            chart = None
            if not place.held:
                if place.content not in charts:
                    charts[place.content] = illustrated(letter, self._history)
                chart = charts[place.content]
            thread = thread_of(episode.id, recipient, number, self._config.sender)
            out.mails.append(
                self._mail(
                    letter, name, recipient, episode.id, thread, chart, before, held=place.held
                )
            )
            out.replaced += before
        _log.info(
            "mail decided reason=%s severity=%s model=%r recipients=%d alerts=%d",
            content.reason.value,
            key.severity.value,
            key.model,
            len(key.recipients),
            len(content.ids()),
        )
        return out

    def _one_digest(self, world: _World) -> _Outgoing | None:
        """What is held for the first recipient whose digest is due."""
        by_recipient: dict[str, list[Mail]] = {}
        for mail in world.held:
            by_recipient.setdefault(mail.recipient, []).append(mail)
        if not by_recipient:
            return None
        with self._database.reading() as connection:
            recents = recent_mails(connection, by_recipient, world.now_ms)
        for recipient, held in by_recipient.items():
            if not digest_due(recents.get(recipient, Recent()), world.now_ms):
                continue
            content = digest_of([one.content for one in held])
            severity = max((one.severity for one in held), key=lambda one: one.rank)
            letter = self._letter(world, content, severity, "")
            if letter is None:
                return _Outgoing([], held)
            name = digest_id(recipient, [one.id for one in held])
            mail = self._mail(letter, name, recipient, "", (), None, held, held=False)
            return _Outgoing([mail], held)
        return None

    # Writing

    def _letter(
        self, world: _World, content: Content, severity: Severity, model: str
    ) -> Letter | None:
        incidents = {one: world.incidents[one] for one in content.ids() if one in world.incidents}
        if not incidents:
            return None
        moves = {
            key: flap.count(world.now_ms)
            for key, flap in world.told.flaps.items()
            if flap.flapping(world.now_ms)
        }
        config = self._config
        return Letter(
            content, incidents, world.now_ms, severity, model, config.zone, config.places, moves
        )

    def _mail(
        self,
        letter: Letter,
        name: str,
        recipient: str,
        episode_id: str,
        thread: tuple[str, ...],
        chart: bytes | None,
        before: Sequence[Mail],
        *,
        held: bool,
    ) -> Mail:
        sender = self._config.sender
        if held:
            subject, own_id, message = view_of(letter).subject, message_id(name, sender), None
        else:
            made = written(letter, sender, recipient, name, thread, chart)
            subject, own_id, message = made.subject, made.message_id, made.message
        return Mail(
            id=name,
            episode_id=episode_id,
            recipient=recipient,
            severity=letter.severity,
            content=letter.content,
            subject=subject,
            message_id=own_id,
            message=message,
            state=MailState.HELD if held else MailState.QUEUED,
            created_ms=letter.now_ms,
            first_ms=min((one.first_ms for one in before), default=letter.now_ms),
            next_ms=max((one.next_ms for one in before if one.attempts), default=letter.now_ms),
            attempts=max((one.attempts for one in before), default=0),
            deferred_ms=min(
                (one.deferred_ms for one in before if one.deferred_ms is not None), default=None
            ),
        )

    def _write(self, world: _World, outgoing: _Outgoing) -> None:
        told = world.told
        if not (world.notices or told.changed or told.moved or outgoing.replaced):
            return
        with self._database.writing() as connection:
            if not supersede(connection, outgoing.replaced, world.now_ms):
                raise _Overtaken
            put_mails(connection, outgoing.mails)
            write_told(
                connection,
                [told.episodes[one] for one in told.changed],
                [told.flaps[one] for one in told.moved],
                world.now_ms,
            )
            mark_handled(connection, [one.id for one in world.notices], world.now_ms)
