"""REST of alerts and incidents: what is wrong now, what was, and who took note of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from gpufleet.alerting.incident import Incident
from gpufleet.hub.api import alert_schemas, parameters, schemas
from gpufleet.hub.api.alert_documents import (
    alert_document,
    emails_document,
    history_document,
    incident_document,
    mail_document,
    rules_document,
)
from gpufleet.hub.api.answer import AtDesk, now_ms
from gpufleet.hub.api.door import json_only
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.store.alerts import IncidentQuery
from gpufleet.hub.store.email import MailState
from gpufleet.hub.store.silences import StoredSilence

MAX_ROWS = 1000

router = APIRouter()

Severity = Annotated[
    Literal["info", "warning", "critical"] | None, Query(description="One severity only.")
]
AlertStates = Annotated[
    Literal["pending", "firing", "recovering", "no_data"] | None,
    Query(description="One state only."),
]
IncidentStates = Annotated[
    Literal["open", "resolved", "closed", "all"], Query(description="Which incidents.")
]
AlertName = Annotated[str | None, Query(max_length=64, description="One rule only.")]
Rows = Annotated[int, Query(ge=1, le=MAX_ROWS, description="Rows at most.")]
EmailId = Annotated[str, Path(max_length=128, description="Id of a mail.")]
IncidentId = Annotated[str, Path(max_length=32, description="Id of an incident.")]
MailStates = Annotated[MailState | None, Query(description="Mails in one state only.")]


@router.get("/alerts", tags=["Alerts"], responses=schemas.ok(alert_schemas.AlertPage, 400, 503))
async def alerts(
    request: Request,
    desk: AtDesk,
    state: AlertStates = None,
    severity: Severity = None,
    node: parameters.Node = None,
    alertname: AlertName = None,
    limit: Rows = 100,
    cursor: parameters.Cursor = "",
) -> Response:
    """Every alert that is not well now: the most severe first, then the newest."""
    alerting = desk.alerting
    wanted = [
        one
        for one in alerting.alerts()
        if (state is None or one.state.value == state)
        and (severity is None or one.severity.value == severity)
        and (node is None or one.node == node)
        and (alertname is None or one.alertname == alertname)
    ]
    wanted.sort(key=_order)
    first = _place_of(cursor, wanted)
    page = wanted[first : first + limit]
    more = first + limit < len(wanted)
    silences = await alerting.silences()
    return await desk.once(
        request,
        lambda: {
            "time": format_ms(now_ms()),
            "total": len(wanted),
            "alerts": [alert_document(one, alerting.muted_by(one, silences)) for one in page],
            "next_cursor": _cursor(page[-1]) if more else None,
        },
    )


def _order(incident: Incident) -> tuple[int, int, str, str]:
    since = incident.fired_ms or incident.since_ms
    return -incident.severity.rank, -since, incident.alertname, incident.subject_key


def _cursor(incident: Incident) -> str:
    rank, since, name, key = _order(incident)
    return f"a~{rank}~{since}~{name}~{key}"


def _place_of(cursor: str, ordered: Sequence[Incident]) -> int:
    """Where the page behind ``cursor`` begins."""
    if not cursor:
        return 0
    parts = cursor.split("~", 4)
    try:
        if parts[0] != "a":
            raise ValueError
        last = (int(parts[1]), int(parts[2]), parts[3], parts[4])
    except (IndexError, ValueError):
        raise _bad_cursor() from None
    return sum(_order(one) <= last for one in ordered)


def _bad_cursor() -> Problem:
    detail = "This cursor is not of this list: give next_cursor of the page before, or none."
    return Problem(400, detail, parameter="cursor")


@router.get(
    "/incidents", tags=["Alerts"], responses=schemas.ok(alert_schemas.IncidentPage, 400, 503)
)
async def incidents(
    request: Request,
    desk: AtDesk,
    state: IncidentStates = "open",
    severity: Severity = None,
    node: parameters.Node = None,
    alertname: AlertName = None,
    limit: Rows = 100,
    cursor: parameters.Cursor = "",
) -> Response:
    """Incidents, newest first: each firing of a rule for a subject, until it ended."""
    query = IncidentQuery(state, node, alertname, severity, _before(cursor), limit + 1)
    found = await desk.alerting.incidents(query)
    page, more = found[:limit], len(found) > limit
    silences = await desk.alerting.silences()
    return await desk.once(
        request,
        lambda: {
            "incidents": [_incident(desk, one, silences) for one in page],
            "next_cursor": f"i~{page[-1].fired_ms}~{page[-1].id}" if more else None,
        },
    )


def _before(cursor: str) -> tuple[int, str] | None:
    if not cursor:
        return None
    kind, _, rest = cursor.partition("~")
    at, _, key = rest.partition("~")
    if kind != "i" or not at.lstrip("-").isdigit() or len(at) > 15 or not key.isalnum():
        raise _bad_cursor()
    return int(at), key


def _incident(
    desk: AtDesk, incident: Incident, silences: Sequence[StoredSilence]
) -> dict[str, Any]:
    silenced = desk.alerting.muted_by(incident, silences) if incident.open else []
    return incident_document(incident, silenced)


@router.get(
    "/incidents/{incident}",
    tags=["Alerts"],
    responses=schemas.ok(alert_schemas.IncidentDetail, 400, 404, 503),
)
async def incident(request: Request, desk: AtDesk, incident: IncidentId) -> Response:
    """One incident with everything that happened to it, and what was mailed of it."""
    found = await desk.alerting.incident(incident)
    if found is None:
        raise _no_incident(incident)
    told, history, mails = found
    silences = await desk.alerting.silences()
    return await desk.once(
        request,
        lambda: {
            **_incident(desk, told, silences),
            "history": [history_document(notice) for notice in history],
            "mails": [mail_document(mail) for mail in mails],
        },
    )


@router.post(
    "/incidents/{incident}/ack",
    tags=["Alerts"],
    responses=schemas.ok(alert_schemas.Incident, 400, 404, 409, 415, 503),
    dependencies=[Depends(json_only)],
)
async def acknowledge(
    request: Request, desk: AtDesk, incident: IncidentId, signed: alert_schemas.Signed
) -> Response:
    """Take note of an open incident: it is mailed no more until it resolves."""
    changed = await desk.alerting.acknowledge(incident, signed.by, signed.comment)
    return await _changed(request, desk, incident, changed)


@router.post(
    "/incidents/{incident}/close",
    tags=["Alerts"],
    responses=schemas.ok(alert_schemas.Incident, 400, 404, 409, 415, 503),
    dependencies=[Depends(json_only)],
)
async def close(
    request: Request, desk: AtDesk, incident: IncidentId, signed: alert_schemas.Signed
) -> Response:
    """End an open incident by hand; a condition that still holds begins anew."""
    changed = await desk.alerting.close(incident, signed.by, signed.comment)
    return await _changed(request, desk, incident, changed)


async def _changed(
    request: Request, desk: AtDesk, wanted: str, changed: Incident | None
) -> Response:
    if changed is None:
        if await desk.alerting.incident(wanted) is None:
            raise _no_incident(wanted)
        raise Problem(409, f"Incident {wanted} has ended already.")
    told = changed
    silences = await desk.alerting.silences()
    return await desk.once(request, lambda: _incident(desk, told, silences))


def _no_incident(wanted: str) -> Problem:
    return Problem(404, f"There is no incident {wanted!r}; /api/v1/incidents?state=all lists them.")


@router.get("/rules", tags=["Alerts"], responses=schemas.ok(alert_schemas.RuleList, 503))
async def rules(request: Request, desk: AtDesk) -> Response:
    """The alert rules in force, and the mistakes of a file that could not replace them."""
    view = desk.alerting.rules()
    return await desk.once(request, lambda: rules_document(view))


@router.get("/emails", tags=["Alerts"], responses=schemas.ok(alert_schemas.EmailPage, 400, 503))
async def emails(
    request: Request, desk: AtDesk, state: MailStates = None, limit: Rows = 100
) -> Response:
    """The outbox: what waits, what was sent, and what was given up, with its reason."""
    view, mails = await desk.alerting.emails(state, limit)
    return await desk.once(request, lambda: emails_document(view, mails))


@router.post(
    "/emails/{email}/send",
    tags=["Alerts"],
    responses=schemas.ok(alert_schemas.EmailPage, 400, 404, 503),
)
async def send_again(request: Request, desk: AtDesk, email: EmailId) -> Response:
    """Send a mail after all that was given up; those that are still given up are the answer."""
    if not await desk.alerting.send_again(email):
        detail = f"No mail {email!r} was given up; /api/v1/emails?state=dead lists them."
        raise Problem(404, detail)
    return await emails(request, desk, MailState.DEAD)
