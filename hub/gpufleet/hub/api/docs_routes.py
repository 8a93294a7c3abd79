"""/openapi.json and /docs: a page of our own that lists the endpoints, with no script from afar."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from gpufleet.hub.api.jsonbody import encoded_line
from gpufleet.hub.api.schemas import ProblemDocument

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_FILES = {
    "docs.html": "text/html; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
}

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The description of this API."""
    app = request.app
    assert isinstance(app, FastAPI)
    return Response(encoded_line(app.openapi()), media_type="application/json")


@router.get("/docs")
async def docs() -> Response:
    """The page for people."""
    return _file("docs.html")


@router.get("/docs.js")
async def script() -> Response:
    """The page's script."""
    return _file("docs.js")


@router.get("/docs.css")
async def style() -> Response:
    """The page's style."""
    return _file("docs.css")


short_router = APIRouter(include_in_schema=False)


@short_router.get("/")
@short_router.get("/docs")
async def to_docs() -> Response:
    """Where people look first."""
    return RedirectResponse("/api/v1/docs")


@short_router.get("/openapi.json")
async def to_openapi() -> Response:
    """Where programs look first."""
    return RedirectResponse("/api/v1/openapi.json")


def _file(name: str) -> Response:
    headers = {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    return Response(_read(name), headers=headers, media_type=_FILES[name])


@cache
def _read(name: str) -> bytes:
    return (files("gpufleet.hub.api") / "static" / name).read_bytes()


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document with the schema of problems, which no route returns by itself."""
    document = FastAPI.openapi(app)
    schema = ProblemDocument.model_json_schema()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["ProblemDocument"] = schema
    for path in document["paths"].values():
        for operation in path.values():
            invalid = operation["responses"].get("422")
            if invalid is not None:
                reference = {"$ref": "#/components/schemas/ProblemDocument"}
                invalid["content"] = {"application/problem+json": {"schema": reference}}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document
