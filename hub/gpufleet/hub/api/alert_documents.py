"""Alerts, incidents, silences, rules and mails as JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.hub.api.alert_state import RulesView
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.store.email import Mail, OutboxView
from gpufleet.hub.store.silences import StoredSilence


def alert_document(incident: Incident, silenced: Sequence[str]) -> dict[str, Any]:
    """One alert; ``incident`` is null while it is pending. A closed one has the state ``ok``."""
    acknowledged = None
    if incident.acknowledged_ms is not None:
        acknowledged = {
            "by": incident.acknowledged_by,
            "at": format_ms(incident.acknowledged_ms),
            "comment": incident.acknowledged_comment,
        }
    gpu = incident.gpu_index is not None
    return {
        "incident": incident.id or None,
        "alertname": incident.alertname,
        "group": incident.group,
        "severity": incident.severity.value,
        "state": incident.state.value,
        "scope": incident.scope.value,
        "node": incident.node,
        "gpu_uuid": incident.subject_key if gpu else None,
        "gpu_index": incident.gpu_index,
        "gpu_name": incident.gpu_name or None,
        "labels": dict(incident.labels),
        "since": format_ms(incident.since_ms),
        "fired_at": format_ms(incident.fired_ms),
        "last_sample_time": format_ms(incident.last_sample_ms),
        "value": incident.value,
        "peak": incident.peak,
        "threshold": incident.threshold,
        "comparison": incident.comparison or None,
        "metric": incident.metric or None,
        "unit": incident.unit or None,
        "for_seconds": incident.for_ms / 1000,
        "summary": incident.summary,
        "description": incident.description,
        "advice": incident.advice,
        "reasons": list(incident.reasons),
        "processes": list(incident.processes),
        "users": list(incident.users),
        "acknowledged": acknowledged,
        "silenced": list(silenced),
        "count": incident.count,
        "first_seen": format_ms(incident.first_seen_ms),
        "last_seen": format_ms(incident.last_seen_ms),
    }


def incident_document(incident: Incident, silenced: Sequence[str]) -> dict[str, Any]:
    """An incident, ended or not."""
    closed = None
    if incident.closed_ms is not None:
        closed = {
            "by": incident.closed_by,
            "at": format_ms(incident.closed_ms),
            "comment": incident.closed_comment,
        }
    return {
        **alert_document(incident, silenced),
        "resolved_at": format_ms(incident.resolved_ms),
        "closed": closed,
    }


def history_document(notice: Notice) -> dict[str, Any]:
    """Something that happened to an incident."""
    return {
        "time": format_ms(notice.time_ms),
        "noted": format_ms(notice.noted_ms),
        "kind": notice.kind.value,
        "text": notice.text,
        "by": notice.by or None,
        "value": notice.value,
    }


def mail_document(mail: Mail) -> dict[str, Any]:
    """One mail to one recipient, without its text."""
    return {
        "id": mail.id,
        "recipient": mail.recipient,
        "subject": mail.subject,
        "reason": mail.content.reason.value,
        "severity": mail.severity.value,
        "state": mail.state.value,
        "message_id": mail.message_id,
        "created": format_ms(mail.created_ms),
        "next_try": format_ms(mail.next_ms) if mail.settled_ms is None else None,
        "settled": format_ms(mail.settled_ms),
        "attempts": mail.attempts,
        "error": mail.error or None,
    }


def emails_document(view: OutboxView, mails: Sequence[Mail]) -> dict[str, Any]:
    """The outbox."""
    return {
        "waiting": view.waiting,
        "oldest_waiting": format_ms(view.oldest_ms),
        "held": view.held,
        "dead": view.dead,
        "sent": view.sent,
        "emails": [mail_document(mail) for mail in mails],
    }


def silence_document(stored: StoredSilence, active: bool) -> dict[str, Any]:
    """A silence or maintenance window."""
    silence = stored.silence
    return {
        "id": silence.id,
        "kind": stored.kind,
        "matchers": [
            {"name": one.name, "op": one.op, "value": one.value} for one in silence.matchers
        ],
        "starts": format_ms(silence.starts_ms),
        "ends": format_ms(silence.ends_ms),
        "repeat": silence.repeat.value or None,
        "author": silence.author,
        "comment": silence.comment,
        "created": format_ms(stored.created_ms),
        "active": active,
    }


def rules_document(view: RulesView) -> dict[str, Any]:
    """The rules in force, and what is wrong with a file that could not replace them."""
    return {
        "file": view.source,
        "loaded_at": format_ms(view.loaded_ms),
        "problems": [
            {
                "line": problem.line,
                "column": problem.column,
                "field": problem.field or None,
                "sentence": problem.sentence,
            }
            for problem in view.problems
        ],
        "rules": [
            {
                "alertname": one.rule.name,
                "group": one.rule.group,
                "expr": one.rule.text,
                "for_seconds": one.rule.for_ms / 1000,
                "keep_firing_for_seconds": one.rule.keep_firing_ms / 1000,
                "clear": one.rule.clear_text or None,
                "severity": one.rule.severity.value,
                "scope": one.rule.scope.value,
                "match": [f"{m.name} {m.op} {m.value}" for m in one.rule.match],
                "enabled": one.rule.enabled,
                "pending": one.pending,
                "firing": one.firing,
            }
            for one in view.rules
        ],
    }
