"""What a request must pass before anything is done for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from gpufleet.client.nearest import hint
from gpufleet.hub.api.problem import Problem

MAX_QUERY = 8000
"""Bytes of a query string."""


async def known_parameters(request: Request) -> None:
    """Refuse a misspelt or doubled parameter: another question would be answered than was asked."""
    if len(request.scope["query_string"]) > MAX_QUERY:
        raise Problem(414, f"The query is longer than {MAX_QUERY} bytes; ask for less at once.")
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    repeatable = dict(_query_parameters(route.dependant))
    known = sorted(repeatable)
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            what = ", ".join(known) if known else "none"
            near = hint(name, known)
            detail = f"There is no parameter {name[:60]!r} here{near or f' (known: {what}).'}"
            raise Problem(422, detail, parameter=name[:60])
        if count > 1 and not repeatable[name]:
            raise Problem(422, f"{name} is given {count} times; give it once.", parameter=name)


async def json_only(request: Request) -> None:
    """Refuse bodies that are not said to be JSON: a foreign page could send those unasked."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "Send JSON, with the header Content-Type: application/json.")


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Names of an endpoint's query parameters, and whether they may be repeated."""
    for parameter in dependant.query_params:
        yield parameter.alias, _is_list(parameter.field_info.annotation)
    for inner in dependant.dependencies:
        yield from _query_parameters(inner)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(map(_is_list, get_args(annotation)))
