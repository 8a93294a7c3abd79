"""The agent put together: one loop over ticks, and everything that it feeds."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping

from gpufleet.agent import host, selfmeasure
from gpufleet.agent.bell import Bell
from gpufleet.agent.clock import Clock
from gpufleet.agent.collectors import Simulation, methods_on_demand
from gpufleet.agent.config import Settings
from gpufleet.agent.faults.kmsg import Kmsg
from gpufleet.agent.faults.watch import FaultWatch
from gpufleet.agent.keeping.backlog import Backlog
from gpufleet.agent.keeping.journal import Journal
from gpufleet.agent.keeping.recorder import Recorder
from gpufleet.agent.keeping.spool import SpoolError, open_spool
from gpufleet.agent.keeping.statedir import StateDir
from gpufleet.agent.log import Log
from gpufleet.agent.model import Collector, Json, Subject
from gpufleet.agent.processes.attribution import prolog_files
from gpufleet.agent.records import Event, Position, TickRecord
from gpufleet.agent.sampler import Collection, Sampler
from gpufleet.agent.selfmeasure import SLOW_STRETCH, Budget, Cost, Shed
from gpufleet.agent.sending.board import Board
from gpufleet.agent.sending.ondemand import collect
from gpufleet.agent.sending.orders import Orders
from gpufleet.agent.sending.push import Pusher
from gpufleet.agent.sim.backfill import past
from gpufleet.agent.ticks import Tick, Ticker
from gpufleet.agent.wire.messages import (
    compact_json,
    details_message,
    inventory_message,
    position_message,
    processes_message,
    status_message,
)
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.version import PROTOCOL_MINOR

LOOK_AT_CLOCK_MS = 5_000
"""No wait is longer, so that a stepped clock or an Xid is noticed at any interval."""

DROPPED_EVENT_EVERY_MS = 600_000
STOP_SECONDS = 3.0

RESTART_AFTER_SECONDS = 3.0
"""An agent that started just now is not restarted: what ails it would ail the next one too."""


class Agent:
    """One node's agent. ``run`` returns when it was told to stop, with nothing left undone."""

    def __init__(
        self,
        settings: Settings,
        collector: Collector,
        *,
        version: str,
        clock: Clock,
        log: Log,
        machine: host.Host,
        rng: random.Random,
    ) -> None:
        """StateDirInUse if another agent has the state folder, OSError if the journal can't be
        opened."""
        self._settings = settings
        self._version = version
        self._clock = clock
        self._log = log
        self._host = machine
        self._method = collector.method
        self._interval_ms = settings.interval_ms
        self._notes: dict[str, str] = {}
        self._state = StateDir(settings.state_dir)
        self._bell = Bell()
        journal = Journal(settings.journal, settings.node) if settings.journal else None
        self._backlog = Backlog(
            lambda: open_spool(
                settings.state_dir / "spool.sqlite",
                settings.spool_max_bytes,
                settings.spool_max_age_ms,
                lambda sentence: self._note("spool file", sentence),
            ),
            clock,
            self._bell,
            lambda sentence: self._note("spool", sentence),
        )
        self._recorder = Recorder(
            self._backlog, journal, lambda sentence: self._note("journal", sentence)
        )
        real = collector.method != "sim"  # what this machine says is not of a sim's GPUs
        self._sampler = Sampler(
            collector,
            clock,
            rng,
            self._backlog.recall("driver"),
            prolog_files(collector.method, settings.prolog_dir),
        )
        self._fault_watch = FaultWatch(
            collector,
            self._kmsg() if real else None,
            clock,
            lambda place: self._backlog.remember("kernel log", place),
        )
        self._board = Board(self._bell)
        self._budget = Budget(settings.cpu_budget_ratio)
        self._simulation = Simulation(
            node=settings.node,
            gpus=settings.gpus,
            seed=settings.seed,
            scenario=settings.scenario,
            slow_seconds=settings.slow_interval_ms / 1000,
            reveal=settings.reveal,
        )
        self._pusher = Pusher(
            settings.hubs,
            backlog=self._backlog,
            board=self._board,
            bell=self._bell,
            orders=Orders(self._collect, self._set_interval),
            hello=self._hello,
            on_known=self._on_known,
            clock=clock,
            log=log,
            rng=rng,
        )
        self._facts = machine.facts()
        self._stopping = False
        self._faulty_said: frozenset[str] = frozenset()
        self._missed = 0
        self._dropped_said = 0
        self._dropped_event_ms: int | None = None
        self._shown_version = -1
        self._shown_details: Mapping[str, Mapping[str, Json]] = {}
        self._shown_status: pb.CollectorStatus | None = None
        self._processes_at = 0

    def run(self, stop: threading.Event) -> bool:
        """Collect and push until ``stop`` is set; True where a new process has to go on at once."""
        try:
            self._begin()
            self._collect_until(stop)
        finally:  # after a defect too: what is in memory goes to disk
            self._end()
        return self._sampler.session.outlived and not stop.is_set()

    def _collect_until(self, stop: threading.Event) -> None:
        begun = self._clock.monotonic()
        ticker = Ticker(self._interval_ms)
        while not stop.is_set():
            if ticker.interval_ms != self._interval_ms:
                ticker.interval_ms = self._interval_ms
            delay_ms = ticker.delay_ms(self._clock.wall_ms())
            if self._clock.wait(stop, min(delay_ms, LOOK_AT_CLOCK_MS) / 1000):
                break
            self._look_for_faults()
            if delay_ms > LOOK_AT_CLOCK_MS:
                continue
            tick = ticker.take(self._clock.wall_ms(), self._clock.monotonic())
            if tick is not None:
                self._tick(tick)
            old = self._clock.monotonic() - begun >= RESTART_AFTER_SECONDS
            if old and self._sampler.session.outlived:
                break

    def _begin(self) -> None:
        now_ms = self._clock.wall_ms()
        if self._state.sentence:
            self._note("state folder", self._state.sentence)
        past_epoch = self._recorder.begin_epoch(now_ms) if self._settings.backfill_hours else None
        self._begin_epoch(now_ms)
        data = compact_json(
            {
                "version": self._version,
                "method": self._method,
                "interval_ms": self._interval_ms,
            }
        )
        sentence = f"The agent {self._version} started with method {self._method}."
        self._recorder.event(Event(now_ms, "agent_started", "info", sentence, data_json=data))
        self._sampler.session.advance()  # so that the driver is open by the first tick
        self._show_inventory()
        self._show_status()
        self._log.info(
            "agent started",
            node=self._settings.node,
            version=self._version,
            method=self._method,
            interval_ms=self._interval_ms,
            epoch=self._recorder.position.epoch,
        )
        if past_epoch is None:
            self._pusher.start()
        else:
            # The past goes first, so nothing is sent before it is in the spool.
            threading.Thread(
                target=self._backfill, args=(past_epoch, now_ms), name="backfill", daemon=True
            ).start()

    def _end(self) -> None:
        self._stopping = True
        self._fault_watch.close(self._sampler.subjects, self._recorder.event)
        self._pusher.stop(STOP_SECONDS)
        kept = self._backlog.counts().ticks
        lost = self._backlog.close()
        if lost:
            self._log.warning("records could not be kept", reason=lost)
        self._recorder.close()
        self._sampler.close()
        self._state.release()
        self._log.info("agent stopped", unacknowledged_ticks=kept)

    def _tick(self, tick: Tick) -> None:
        if tick.new_epoch:
            self._begin_epoch(self._clock.wall_ms())
            self._log.warning("clock stepped back", epoch=self._recorder.position.epoch)
        if tick.missed:
            self._missed += tick.missed
            self._log.changed("missed", "ticks missed")
        shed = self._budget.observe(
            self._clock.monotonic(), selfmeasure.cpu_seconds(), draining=self._pusher.draining
        )
        self._note_shed(shed)
        slow_ms = self._settings.slow_interval_ms
        if shed >= Shed.SLOW_TIER:
            slow_ms *= SLOW_STRETCH
        collection = self._sampler.collect(tick.time_ms, self._interval_ms, slow_ms)
        self._show_inventory()
        for event in (*collection.events, *self._dropped_events()):
            self._recorder.event(event)
        self._record(collection)
        self._show_status()
        self._show_details(collection)
        if shed < Shed.PROCESSES and tick.time_ms >= self._processes_at:
            self._processes_at = tick.time_ms + self._settings.process_interval_ms
            listed = self._sampler.list_processes(self._interval_ms)
            if listed is not None:
                self._board.show_processes(processes_message(tick.time_ms, listed))

    def _record(self, collection: Collection) -> None:
        counts = self._backlog.counts()
        cost = Cost(
            cpu_seconds=selfmeasure.cpu_seconds(),
            resident_bytes=selfmeasure.resident_bytes(),
            collect_seconds=collection.took_seconds,
            sent_bytes=self._pusher.sent_bytes,
            spool_bytes=counts.spooled_bytes,
            unacknowledged_ticks=counts.ticks,
            dropped_ticks=counts.dropped_ticks,
            missed_ticks=self._missed,
        )
        values = {
            key: reading.values
            for key, reading in collection.readings.items()
            if reading.values is not None
        }
        values[self._settings.node] = {**self._host.metrics(), **selfmeasure.values(cost)}
        subjects = (self._node(), *self._sampler.subjects)
        self._recorder.tick(collection.tick_ms, subjects, values)

    def _node(self) -> Subject:
        columns = (*host.COLUMNS, *selfmeasure.COLUMNS)
        return Subject("node", self._settings.node, 0, self._settings.node, columns)

    def _kmsg(self) -> Kmsg:
        place = self._backlog.recall("kernel log")
        return Kmsg(self._settings.kernel_log, self._clock, self._host.boot_id(), place)

    def _look_for_faults(self) -> None:
        self._fault_watch.look(self._sampler.subjects, self._recorder.event)
        if self._fault_watch.sentence:
            self._log.changed(
                "kernel log", "kernel log cannot be read", reason=self._fault_watch.sentence
            )

    def _begin_epoch(self, now_ms: int) -> None:
        self._board.begin(self._recorder.begin_epoch(now_ms), self._interval_ms)

    def _show_inventory(self) -> None:
        session = self._sampler.session
        if self._shown_version == session.version:
            return
        self._shown_version = session.version
        facts: Mapping[str, Json] = {**self._facts, **session.facts}
        node = Subject("node", self._settings.node, 0, self._settings.node, (), facts=facts)
        self._board.show_inventory(facts, inventory_message((node, *session.subjects)))
        driver = session.facts.get("driver_version")
        if driver is not None:
            self._backlog.remember("driver", str(driver))

    def _show_status(self) -> None:
        trouble = self._sampler.trouble
        counts = self._backlog.counts()
        sentences = [trouble.sentence, *(note for note in self._notes.values() if note)]
        status = status_message(
            self._sampler.standing(),
            trouble.hung_since_ms,
            " ".join(sentence for sentence in sentences if sentence),
            counts.dropped_ticks,
            counts.spooled_bytes,
        )
        shown = self._shown_status
        if shown is not None:
            # The spool's size alone is no news.
            shown.spooled_bytes = status.spooled_bytes
        if shown == status:
            return
        self._shown_status = pb.CollectorStatus.FromString(status.SerializeToString())
        self._board.show_status(status)
        self._log_trouble()

    def _show_details(self, collection: Collection) -> None:
        details = {
            key: reading.detail or {}
            for key, reading in collection.readings.items()
            if reading.detail is not None
        }
        if details != self._shown_details:
            self._shown_details = details
            kinds = {subject.key: subject.kind for subject in self._sampler.subjects}
            self._board.show_details(details_message(kinds, details))

    def _log_trouble(self) -> None:
        trouble = self._sampler.trouble
        if trouble.sentence:
            self._log.changed("collector", "collector cannot be used", reason=trouble.sentence)
        else:
            self._log.settled("collector", "collector works again")
        standing = {f"{s.subject_kind}/{s.subject_key}": s.fault for s in self._sampler.standing()}
        for subject, fault in standing.items():
            self._log.changed(
                subject, "fault", subject=subject, state=fault.state.value, reason=fault.sentence
            )
        for subject in self._faulty_said - standing.keys():
            self._log.settled(subject, "fault is over", subject=subject)
        self._faulty_said = frozenset(standing)

    def _dropped_events(self) -> list[Event]:
        dropped = self._backlog.counts().dropped_ticks
        now_ms = self._clock.wall_ms()
        last = self._dropped_event_ms
        recent = last is not None and 0 <= now_ms - last < DROPPED_EVENT_EVERY_MS
        if dropped == self._dropped_said or recent:
            return []
        new, self._dropped_said = dropped - self._dropped_said, dropped
        self._dropped_event_ms = now_ms
        sentence = f"{new} ticks that the hub had not acknowledged were dropped for want of space."
        data = json.dumps({"ticks": new, "total": dropped})
        return [Event(now_ms, "ticks_dropped", "warning", sentence, data_json=data)]

    def _note_shed(self, shed: Shed) -> None:
        if shed is Shed.NOTHING:
            self._note("budget", "")
            return
        given_up = "processes are not listed"
        if shed >= Shed.SLOW_TIER:
            given_up += f" and slow fields are read {SLOW_STRETCH} times as rarely"
        limit = f"{self._settings.cpu_budget_ratio:.1%}"
        self._note("budget", f"The agent used more than {limit} of a core: {given_up}.")

    def _note(self, topic: str, sentence: str) -> None:
        """A trouble of the agent's own for status and log; "" ends it."""
        self._notes[topic] = sentence
        if sentence:
            self._log.changed(topic, "trouble", topic=topic, reason=sentence)
        else:
            self._log.settled(topic, "trouble is over", topic=topic)

    def _hello(self, oldest: Position | None) -> pb.Hello:
        current = self._board.current
        return pb.Hello(
            node=self._settings.node,
            labels=dict(self._settings.labels),
            machine_id=self._host.machine_id(),
            boot_id=self._host.boot_id(),
            agent_version=self._version,
            protocol_minor=PROTOCOL_MINOR,
            epoch=current.epoch,
            method=self._method,
            interval_ms=current.interval_ms,
            facts_json=compact_json(current.facts or {}),
            clock_ms=self._clock.wall_ms(),
            oldest=None if oldest is None else position_message(oldest),
            methods=methods_on_demand(self._method),
        )

    def _on_known(self, known: Position) -> bool:
        if not self._recorder.outrun(known, self._clock.wall_ms()):
            return False
        epoch = self._recorder.position.epoch
        self._log.warning("the hub knows a later epoch; a new one begins", epoch=epoch)
        self._board.begin(epoch, self._interval_ms)
        return True

    def _collect(self, method: str, subject_key: str) -> str:
        return collect(
            method,
            subject_key,
            running=self._method,
            sampler=self._sampler,
            simulation=self._simulation,
            prolog_dir=self._settings.prolog_dir,
            clock=self._clock,
        )

    def _set_interval(self, interval_ms: int) -> None:
        self._log.info("interval set by the hub", interval_ms=interval_ms)
        self._interval_ms = interval_ms
        self._board.begin(self._recorder.position.epoch, interval_ms)

    def _backfill(self, epoch: int, now_ms: int) -> None:
        interval_ms = self._settings.backfill_interval_ms
        start_ms = now_ms - round(self._settings.backfill_hours * 3_600_000)
        batch: list[TickRecord] = []
        ticks = 0
        try:
            for record in past(self._simulation, epoch, start_ms, now_ms, interval_ms):
                if self._stopping:
                    return
                batch.append(record)
                ticks += 1
                if len(batch) >= 600:
                    self._backlog.store_past(batch)
                    batch = []
            self._backlog.store_past(batch)
        except SpoolError as error:
            self._note("backfill", f"The simulated past cannot be sent: {error}")
        self._log.info("simulated past is ready", ticks=ticks)
        self._pusher.start()
