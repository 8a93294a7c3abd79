"""What a request must pass before anything is done for it."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from gpufleet.client.nearest import hint
from gpufleet.hub.api.problem import Problem

MAX_QUERY = 8000
"""Bytes of a query string."""


async def known_parameters(request: Request) -> None:
    """Refuse a misspelt parameter instead of answering another question than was asked."""
    if len(request.scope["query_string"]) > MAX_QUERY:
        raise Problem(414, f"The query is longer than {MAX_QUERY} bytes; ask for less at once.")
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = sorted(_query_names(route.dependant))
    for name in request.query_params:
        if name not in known:
            what = ", ".join(known) if known else "none"
            near = hint(name, known)
            detail = f"There is no parameter {name[:60]!r} here{near or f' (known: {what}).'}"
            raise Problem(422, detail, parameter=name[:60])


def _query_names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        yield parameter.alias
    for inner in dependant.dependencies:
        yield from _query_names(inner)
