"""The HTTP application over a hub's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.params import Depends as Dependency

from gpufleet.hub.api import (
    alert_routes,
    docs_routes,
    event_routes,
    export_routes,
    fleet_routes,
    history_routes,
    metrics_routes,
    mission_routes,
    now_routes,
    probe_routes,
    problem,
    silence_routes,
    stream,
    top_routes,
    usage_routes,
)
from gpufleet.hub.api.alert_state import AlertState
from gpufleet.hub.api.answer import MAX_STREAMS, Desk
from gpufleet.hub.api.door import known_parameters
from gpufleet.hub.api.head import HeadAsGet
from gpufleet.hub.api.state import HubState

DESCRIPTION = (
    "The whole fleet of GPUs: what is now, what was, and as it changes. Times go in as RFC 3339,"
    " Unix seconds or relative (-1h), and come out as RFC 3339 UTC. Null means absent. Errors are"
    " application/problem+json."
)


class _App(FastAPI):
    """FastAPI with the documents' schema as docs_routes completes it."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = docs_routes.describe(self)
        return self.openapi_schema


def create_app(
    state: HubState,
    *,
    dependencies: Sequence[Dependency] = (),
    max_streams: int = MAX_STREAMS,
    alerts: AlertState | None = None,
) -> FastAPI:
    """The application. ``dependencies`` guard all but the probes (who may ask)."""
    app = _App(
        title="gpufleet",
        version=str(state.info().get("version", "")),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.add_middleware(HeadAsGet)
    app.state.desk = Desk(state, max_streams, alerts)
    problem.install(app)
    guarded = [*dependencies, Depends(known_parameters)]
    for part in (
        fleet_routes,
        now_routes,
        history_routes,
        top_routes,
        usage_routes,
        export_routes,
        event_routes,
        alert_routes,
        silence_routes,
        stream,
        docs_routes,
    ):
        app.include_router(part.router, prefix="/api/v1", dependencies=guarded)
    for router in (mission_routes.router, metrics_routes.router, docs_routes.short_router):
        app.include_router(router, dependencies=guarded)
    app.include_router(probe_routes.router)
    return app
