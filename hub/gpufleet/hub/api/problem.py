"""Errors as problem+json (RFC 9457): one sentence that says what and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from gpufleet.hub.api.jsonbody import encoded_line
from gpufleet.hub.store.errors import HistoryError, StoreError

SHOULD_BE = "Input should be "
"""How pydantic begins what it says of a value that is out of bounds or of another type."""


class Problem(Exception):
    """A request that cannot be answered; ``more`` goes into the document beside the sentence."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more


def problem_response(problem: Problem) -> Response:
    """The response that tells a problem."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **problem.more,
    }
    return Response(
        encoded_line(document),
        problem.status,
        {**problem.headers, "Cache-Control": "no-store"},
        media_type="application/problem+json",
    )


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(HistoryError, _history)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(Exception, _unexpected)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first.get("loc") else "request"
    text = str(first["msg"])
    if text.startswith(SHOULD_BE):
        wanted = text.removeprefix(SHOULD_BE)
        if first["type"] not in ("enum", "literal_error"):  # whose commas are between choices
            wanted = wanted.partition(",")[0]
        detail = f"{name} must be {wanted}, not {str(first['input'])[:60]!r}."
    else:
        detail = f"{name}: {text[:1].lower()}{text[1:]}."
    return problem_response(Problem(422, detail, parameter=name))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path[:200]}; see /docs for what there is."
    elif error.status_code == 405:
        allowed = ", ".join(_methods(request))
        detail = f"{request.method[:20]} is not possible here, only {allowed}."
        return problem_response(Problem(405, detail, headers={"Allow": allowed}))
    else:
        detail = str(error.detail)
    return problem_response(Problem(error.status_code, detail, headers=error.headers))


def _methods(request: Request) -> list[str]:
    """Methods that this path takes; Starlette itself would name those of one of its routes."""

    def takes(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in ("DELETE", "GET", "POST") if takes(method)]


async def _history(request: Request, error: Exception) -> Response:
    return problem_response(Problem(400, str(error)))


async def _store(request: Request, error: Exception) -> Response:
    return problem_response(Problem(503, str(error), headers={"Retry-After": "5"}))


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server logs the error itself: Starlette raises it again after this answer.
    detail = "The hub failed to answer; its log says why."
    return problem_response(Problem(500, detail))
