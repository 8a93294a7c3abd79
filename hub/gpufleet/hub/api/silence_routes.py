"""REST of silences and maintenance windows: they mute mail, never states."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from gpufleet.alerting.notify.muting import (
    Matcher,
    MatcherError,
    Repeat,
    Silence,
    parse_matcher,
)
from gpufleet.hub.api import alert_schemas, schemas
from gpufleet.hub.api.alert_documents import silence_document
from gpufleet.hub.api.answer import AtDesk, now_ms
from gpufleet.hub.api.asked import time_at
from gpufleet.hub.api.door import json_only
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.times import format_ms

MAX_SILENCE_MS = 366 * 86_400_000
DAY_MS = 86_400_000

router = APIRouter()

SilenceId = Annotated[str, Path(max_length=32, description="Id of a silence.")]


@router.get("/silences", tags=["Alerts"], responses=schemas.ok(alert_schemas.SilenceList, 503))
async def silences(request: Request, desk: AtDesk) -> Response:
    """Silences and maintenance windows that have not ended, the newest first."""
    found = await desk.alerting.silences()
    return await desk.once(
        request,
        lambda: {"silences": [silence_document(s, desk.alerting.active(s.silence)) for s in found]},
    )


@router.post(
    "/silences",
    tags=["Alerts"],
    responses=schemas.ok(alert_schemas.SilenceDocument, 400, 415, 503),
    dependencies=[Depends(json_only)],
)
async def add_silence(request: Request, desk: AtDesk, wanted: alert_schemas.NewSilence) -> Response:
    """Mute mail about incidents that every matcher fits, from `starts` to `ends`.

    With `repeat` the same hours come again each day or week, in the hub's timezone.
    """
    now = now_ms()
    starts_ms = time_at(wanted.starts, "starts", now)
    ends_ms = time_at(wanted.ends, "ends", now)
    if not starts_ms < ends_ms <= starts_ms + MAX_SILENCE_MS:
        detail = (
            f"ends ({format_ms(ends_ms)}) must lie after starts ({format_ms(starts_ms)}),"
            " by a year at most."
        )
        raise Problem(400, detail, parameter="ends")
    if ends_ms <= now and wanted.repeat is None:
        raise Problem(400, f"ends ({format_ms(ends_ms)}) is past.", parameter="ends")
    if wanted.repeat is not None:
        longest = DAY_MS if wanted.repeat == "day" else 7 * DAY_MS
        if ends_ms - starts_ms > longest:
            detail = f"A window of each {wanted.repeat} is at most one {wanted.repeat} long."
            raise Problem(400, detail, parameter="ends")
    silence = Silence(
        secrets.token_hex(8),
        tuple(_matcher(one) for one in wanted.matchers),
        starts_ms,
        ends_ms,
        Repeat(wanted.repeat or ""),
        wanted.author,
        wanted.comment,
    )
    stored = await desk.alerting.add_silence(silence, wanted.kind)
    active = desk.alerting.active(silence)
    return await desk.once(request, lambda: silence_document(stored, active))


def _matcher(asked: alert_schemas.MatcherDocument) -> Matcher:
    matcher = Matcher(asked.name, asked.op, asked.value)
    try:
        if parse_matcher(str(matcher)) != matcher:
            raise MatcherError("A matcher's value neither begins nor ends with spaces or quotes.")
    except MatcherError as error:
        raise Problem(400, str(error), parameter="matchers") from None
    return matcher


@router.delete(
    "/silences/{silence}",
    tags=["Alerts"],
    responses=schemas.ok(alert_schemas.SilenceList, 400, 404, 503),
)
async def end_silence(request: Request, desk: AtDesk, silence: SilenceId) -> Response:
    """End a silence now; what is left of them is the answer."""
    if not await desk.alerting.end_silence(silence):
        detail = f"There is no silence {silence!r} that has not ended; /api/v1/silences lists them."
        raise Problem(404, detail)
    return await silences(request, desk)
