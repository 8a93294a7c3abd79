"""/healthz and /readyz: for those who watch over the hub; they need no credential."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from gpufleet.hub.api import schemas
from gpufleet.hub.api.answer import AtDesk
from gpufleet.hub.api.jsonbody import encoded_line

router = APIRouter(tags=["Probes"])


@router.get("/healthz", responses=schemas.ok(schemas.Probe))
async def healthz(desk: AtDesk) -> Response:
    """200 while the hub's loop turns, whatever else is wrong."""
    ready, sentence = desk.state.ready()
    return probe(200, ready, sentence)


@router.get("/readyz", responses=schemas.ok(schemas.Probe, 503))
async def readyz(desk: AtDesk) -> Response:
    """200 when the hub takes samples and answers, else 503 with a sentence."""
    ready, sentence = desk.state.ready()
    return probe(200 if ready else 503, ready, sentence)


def probe(status: int, ready: bool, sentence: str) -> Response:
    """The answer of a probe."""
    body = encoded_line({"ready": ready, "sentence": sentence})
    headers = {"Cache-Control": "no-store"}
    return Response(body, status, headers, media_type="application/json")
