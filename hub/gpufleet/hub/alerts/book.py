"""The book of incidents: transitions become incidents with everything that people want to know."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gpufleet.alerting import xid
from gpufleet.alerting.engine.running import Standing, Transition
from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.rules.rule import Rule
from gpufleet.alerting.rules.template import filled
from gpufleet.alerting.rules.tree import Xid, parts
from gpufleet.alerting.state import SILENT_KINDS, Kind, Scope, State
from gpufleet.alerting.wording import duration, quantity
from gpufleet.hub.alert_names import alert_schema
from gpufleet.hub.fleet import Fleet
from gpufleet.hub.views import SubjectView, allocation_of

MAX_PROCESSES = 12

Key = tuple[str, int]
"""(rule, subject id)."""


def incident_id(rule: str, subject_id: int, fired_ms: int) -> str:
    """The same for the same firing, however often it is evaluated."""
    text = f"{rule}|{subject_id}|{fired_ms}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Book:
    """Open incidents, and what of all of them waits to be written."""

    def __init__(self, fleet: Fleet, open_incidents: Sequence[Incident]) -> None:
        self._fleet = fleet
        self.open: dict[Key, Incident] = {
            (one.alertname, one.subject_id): one for one in open_incidents
        }
        self.changed: dict[str, Incident] = {}
        """Incidents to write, by id."""
        self.notices: list[Notice] = []
        """Notices to write."""

    def note(self, transition: Transition, now_ms: int, *, by: str = "", comment: str = "") -> None:
        """Take a transition; one without an incident changes nothing here."""
        if transition.kind in SILENT_KINDS:
            return
        subject = self._fleet.subjects[transition.slot]
        if subject is None:
            return
        key = (transition.rule.name, subject.subject_id)
        if transition.kind is Kind.FIRED:
            incident = self._fired(transition, subject)
        else:
            before = self.open.get(key)
            if before is None:
                return
            incident = self._moved(before, transition, now_ms)
        if transition.kind is Kind.CLOSED:
            incident = replace(
                incident, closed_ms=now_ms, closed_by=by, closed_comment=comment, state=State.OK
            )
        self._keep(key, incident)
        text = comment or _sentence(transition.kind, incident)
        self._tell(incident, transition.kind, transition.time_ms, now_ms, text, by)

    def close(self, key: Key, now_ms: int, by: str, comment: str) -> None:
        """End an incident whose alert is gone: its rule was removed, its subject left."""
        incident = self.open.get(key)
        if incident is None:
            return
        closed = replace(
            incident, state=State.OK, closed_ms=now_ms, closed_by=by, closed_comment=comment
        )
        self._keep(key, closed)
        self._tell(closed, Kind.CLOSED, now_ms, now_ms, comment, by)

    def acknowledge(self, incident: Incident, now_ms: int, by: str, comment: str) -> Incident:
        """A person took note of an open incident."""
        known = replace(
            incident, acknowledged_by=by, acknowledged_ms=now_ms, acknowledged_comment=comment
        )
        self._keep((incident.alertname, incident.subject_id), known)
        self._tell(known, Kind.ACKNOWLEDGED, now_ms, now_ms, comment, by)
        return known

    def refresh(self, rule: Rule, slot: int, value: float | None, peak: float | None) -> None:
        """An open alert's newest value, for what is shown; it is written with its next change."""
        subject = self._fleet.subjects[slot]
        if subject is not None:
            key = (rule.name, subject.subject_id)
            incident = self.open.get(key)
            if incident is not None:
                tick = int(self._fleet.tick_ms[slot]) or incident.last_sample_ms
                self.open[key] = replace(incident, value=value, peak=peak, last_sample_ms=tick)

    def pending(self, rule: Rule, slot: int, standing: Standing) -> Incident | None:
        """A pending alert, told as the incident that it may become."""
        subject = self._fleet.subjects[slot]
        if subject is None:
            return None
        transition = Transition(rule, slot, Kind.PENDING, standing.alert.since_ms, standing)
        told = self._fired(transition, subject)
        return replace(told, id="", state=State.PENDING, fired_ms=None)

    def _keep(self, key: Key, incident: Incident) -> None:
        if incident.open:
            self.open[key] = incident
        else:
            self.open.pop(key, None)
        self.changed[incident.id] = incident

    def _tell(
        self, incident: Incident, kind: Kind, time_ms: int, now_ms: int, text: str, by: str
    ) -> None:
        self.notices.append(
            Notice(0, incident.id, kind, time_ms, now_ms, text[:2000], by, incident.value)
        )

    def _fired(self, transition: Transition, subject: SubjectView) -> Incident:
        rule, standing = transition.rule, transition.standing
        node = self._fleet.nodes[subject.node]
        comparison, told = rule.compared(), rule.told()
        gpu = rule.scope is not Scope.NODE
        processes, users = self._processes(subject) if gpu else ((), ())
        incident = Incident(
            id=incident_id(rule.name, subject.subject_id, transition.time_ms),
            alertname=rule.name,
            group=rule.group,
            severity=rule.severity,
            scope=rule.scope,
            state=State.FIRING,
            node=subject.node,
            subject_key=subject.key,
            gpu_index=subject.index if gpu else None,
            gpu_name=subject.name if gpu else "",
            labels={**node.labels, **rule.labels},
            since_ms=standing.alert.since_ms,
            fired_ms=transition.time_ms,
            last_sample_ms=transition.time_ms,
            value=standing.value,
            peak=standing.peak,
            threshold=standing.threshold,
            comparison=comparison.op if comparison is not None else "",
            metric="" if told is None else told.metric(alert_schema()),
            unit="" if told is None else told.unit(alert_schema()),
            advice=rule.advice,
            reasons=subject.health.reasons,
            processes=processes,
            users=users,
            for_ms=rule.for_ms,
            repeat=rule.repeat,
            subject_id=subject.subject_id,
        )
        return self._worded(self._with_xids(incident, rule), rule)

    def _moved(self, before: Incident, transition: Transition, now_ms: int) -> Incident:
        standing = transition.standing
        subject = self._fleet.subjects[transition.slot]
        resolved = transition.kind is Kind.RESOLVED
        incident = replace(
            before,
            state=State.OK if resolved else standing.alert.state,
            resolved_ms=transition.time_ms if resolved else None,
            last_sample_ms=transition.time_ms,
            value=standing.value if standing.value is not None else before.value,
            peak=standing.peak if standing.peak is not None else before.peak,
            reasons=subject.health.reasons if subject is not None else before.reasons,
            count=standing.count,
        )
        if transition.kind is Kind.REPEATED:
            incident = replace(incident, last_seen_ms=transition.time_ms)
            incident = self._worded(self._with_xids(incident, transition.rule), transition.rule)
        return incident

    def _with_xids(self, incident: Incident, rule: Rule) -> Incident:
        """The Xids behind it, with their meaning and advice in place of the rule's."""
        wanted = [part for part in parts(rule.condition) if isinstance(part, Xid)]
        if not wanted:
            return incident
        seen = self._fleet.xids.get(incident.subject_id, {})
        codes = {code for part in wanted for code in part.codes}
        found = {code: view for code, view in seen.items() if not codes or code in codes}
        if not found:
            return incident
        reasons = []
        advice = []
        for code, view in sorted(found.items()):
            meaning = xid.describe(code)
            times = f"{view.count} times" if view.count > 1 else "once"
            reasons.append(f"Xid {code} ({meaning.title}), {times}.")
            if meaning.advice not in advice:
                advice.append(meaning.advice)
        last = max(view.last_seen_ms for view in found.values())
        return replace(
            incident,
            reasons=tuple(reasons) + incident.reasons,
            advice=" ".join(advice),
            first_seen_ms=incident.first_seen_ms or incident.since_ms,
            last_seen_ms=max(last, incident.last_seen_ms or 0),
        )

    def _worded(self, incident: Incident, rule: Rule) -> Incident:
        values = fields_of(incident)
        return replace(
            incident,
            summary=filled(rule.summary or rule.name, values),
            description=filled(rule.description, values),
            advice=filled(incident.advice, values),
        )

    def _processes(self, subject: SubjectView) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Lines of who runs on it, and the users."""
        here = [p for p in self._fleet.processes.get(subject.node, ()) if p.gpu == subject.key]
        here.sort(key=lambda process: -(process.memory_bytes or 0))
        lines = []
        for process in here[:MAX_PROCESSES]:
            memory = process.memory_bytes
            texts = [process.user or "?", process.program or f"pid {process.pid}"]
            if memory is not None:
                texts.append(quantity(memory, "bytes"))
            if process.job:
                texts.append(f"job {process.job}")
            lines.append(" ".join(texts))
        if len(here) > MAX_PROCESSES:
            lines.append(f"and {len(here) - MAX_PROCESSES} more")
        users = {process.user for process in here if process.user}
        given = allocation_of(self._fleet.details.get(subject.slot))
        if given is not None:
            owner = f" of {given.user}" if given.user else ""
            lines.append(f"given to job {given.job}{owner}")
            users |= {given.user} if given.user else set()
        return tuple(lines), tuple(sorted(users))


def fields_of(incident: Incident) -> Mapping[str, str]:
    """What the fields of a rule's texts stand for (gpufleet.alerting.rules.template)."""
    labels = {f"label.{name}": value for name, value in incident.labels.items()}
    return {
        **labels,
        "alertname": incident.alertname,
        "severity": incident.severity.value,
        "node": incident.node,
        "gpu": "" if incident.gpu_index is None else str(incident.gpu_index),
        "model": incident.gpu_name,
        "uuid": incident.subject_key,
        "value": quantity(incident.value, incident.unit),
        "peak": quantity(incident.peak, incident.unit),
        "threshold": quantity(incident.threshold, incident.unit),
        "metric": incident.metric,
        "duration": duration((incident.fired_ms or incident.since_ms) - incident.since_ms),
        "for": duration(incident.for_ms),
        "users": ", ".join(incident.users) or "nobody that the node tells of",
        "count": str(incident.count),
    }


_SENTENCES = {
    Kind.RECOVERING: "It is well again, for how long is being watched.",
    Kind.RELAPSED: "It is bad again.",
    Kind.NO_DATA: "No samples come any more: nothing is known, and nothing is resolved.",
    Kind.RETURNED: "Samples come again, and they are bad.",
    Kind.RESOLVED: "It is well again.",
}


def _sentence(kind: Kind, incident: Incident) -> str:
    if kind is Kind.FIRED:
        return incident.summary
    if kind is Kind.REPEATED:
        return f"It came again: {incident.count} times by now."
    return _SENTENCES.get(kind, "")
