"""/openapi.json and /docs: complete, sound, and with nothing from elsewhere."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import Depends, HTTPException

from gpufleet.hub.api import alert_examples, alert_schemas, examples, examples_live, schemas
from gpufleet.hub.api.app import create_app
from gpufleet.hub.api.docs_routes import CONTENT_SECURITY_POLICY
from support.fleet_builder import FleetBuilder, PublishedHub
from support.http_client import ask, document


def hub() -> PublishedHub:
    return PublishedHub(FleetBuilder().snapshot())


def references(node: Any) -> set[str]:
    """Every $ref below a node."""
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()


def test_every_endpoint_is_described_with_a_sentence_and_a_schema() -> None:
    found = document(hub(), "/api/v1/openapi.json")
    assert set(found["paths"]) == {
        "/api/v1/fleet",
        "/api/v1/nodes",
        "/api/v1/nodes/{node}",
        "/api/v1/nodes/{node}/history",
        "/api/v1/gpus",
        "/api/v1/gpus/{uuid}",
        "/api/v1/groups",
        "/api/v1/sparklines",
        "/api/v1/gpus/{uuid}/processes",
        "/api/v1/gpus/{uuid}/history",
        "/api/v1/history",
        "/api/v1/top",
        "/api/v1/export",
        "/api/v1/usage",
        "/api/v1/gpus/{uuid}/events",
        "/api/v1/events",
        "/api/v1/alerts",
        "/api/v1/incidents",
        "/api/v1/incidents/{incident}",
        "/api/v1/incidents/{incident}/ack",
        "/api/v1/incidents/{incident}/close",
        "/api/v1/silences",
        "/api/v1/silences/{silence}",
        "/api/v1/rules",
        "/api/v1/emails",
        "/api/v1/emails/{email}/send",
        "/api/v1/metrics-catalog",
        "/api/v1/info",
        "/api/v1/stream",
        "/gpu/list",
        "/gpu/metric",
        "/gpu/{uuid}",
        "/gpu/{uuid}/static",
        "/gpu/{uuid}/{key_path}",
        "/metrics",
        "/metrics/dcgm",
        "/healthz",
        "/readyz",
    }
    written = {}
    for path, operations in found["paths"].items():
        written[path] = set(operations) - {"get"}
        for operation in operations.values():
            assert operation["description"]
            queries = [p for p in operation.get("parameters", []) if p["in"] == "query"]
            assert all(parameter["description"] for parameter in queries)
            assert "content" in operation["responses"]["200"]
    assert {path: methods for path, methods in written.items() if methods} == {
        "/api/v1/emails/{email}/send": {"post"},
        "/api/v1/incidents/{incident}/ack": {"post"},
        "/api/v1/incidents/{incident}/close": {"post"},
        "/api/v1/nodes/{node}": {"delete"},
        "/api/v1/silences": {"post"},
        "/api/v1/silences/{silence}": {"delete"},
    }


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/fleet", "GET"),
        ("/api/v1/nodes/n1", "DELETE, GET"),
        ("/api/v1/silences", "GET, POST"),
    ],
)
def test_a_method_that_is_not_possible_is_told_what_is(path: str, allowed: str) -> None:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(hub()))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            return await client.put(path)

    response = asyncio.run(run())
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert response.json()["detail"] == f"PUT is not possible here, only {allowed}."


def test_every_reference_of_the_description_leads_somewhere() -> None:
    found = document(hub(), "/api/v1/openapi.json")
    schemas = found["components"]["schemas"]
    assert references(found) <= {f"#/components/schemas/{name}" for name in schemas}
    assert "#/$defs" not in str(references(found))
    assert "HTTPValidationError" not in schemas


ALERT_EXAMPLES = {
    "ALERTS": alert_schemas.AlertPage,
    "INCIDENTS": alert_schemas.IncidentPage,
    "INCIDENT_DETAIL": alert_schemas.IncidentDetail,
    "EMAILS": alert_schemas.EmailPage,
    "SILENCE": alert_schemas.SilenceDocument,
    "SILENCES": alert_schemas.SilenceList,
    "NEW_SILENCE": alert_schemas.NewSilence,
    "SIGNED": alert_schemas.Signed,
    "RULES": alert_schemas.RuleList,
}


@pytest.mark.parametrize("name", ALERT_EXAMPLES)
def test_an_example_of_alerting_is_what_its_model_says(name: str) -> None:
    ALERT_EXAMPLES[name].model_validate(getattr(alert_examples, name), strict=True)


EXAMPLES = {
    "HISTORY": schemas.History,
    "NODE_HISTORY": schemas.NodeHistory,
    "HISTORIES": schemas.Histories,
    "GROUP_HISTORY": schemas.GroupHistory,
    "TOP": schemas.TopList,
    "USAGE": schemas.UsageList,
    "EVENTS": schemas.EventPage,
    "GPUS": schemas.GpuPage,
    "GPU_LIST": schemas.MissionList,
    "GROUPS": schemas.GroupPage,
    "SPARKLINES": schemas.Sparklines,
    "PROCESSES": schemas.ProcessList,
    "FLEET": schemas.Fleet,
    "READY": schemas.Probe,
    "PROBLEM": schemas.ProblemDocument,
}


LIVE_EXAMPLES = {
    "FACTS": schemas.Facts,
    "GPU": schemas.GpuDocument,
    "NODE": schemas.NodeDocument,
    "NODES": schemas.NodePage,
    "FORGOTTEN": schemas.ForgottenNode,
    "CATALOG": schemas.Catalog,
    "INFO": schemas.Info,
}


def test_every_example_is_what_its_model_says_and_is_told() -> None:
    told = document(hub(), "/api/v1/openapi.json")["components"]["schemas"]
    for module, models in ((examples, EXAMPLES), (examples_live, LIVE_EXAMPLES)):
        named = {name for name, v in vars(module).items() if name.isupper() and name[0] != "_"}
        assert {name for name in named if isinstance(getattr(module, name), dict)} == set(models)
        for name, model in models.items():
            model.model_validate(getattr(module, name), strict=True)
            assert told[model.__name__]["examples"] == [getattr(module, name)]


def has_example(part: Any, schemas: Mapping[str, Any]) -> bool:
    """Whether a content or a schema shows one, perhaps in the schema that it refers to."""
    if "example" in part or "examples" in part:
        return True
    if "$ref" in part:
        return has_example(schemas[part["$ref"].rpartition("/")[2]], schemas)
    nested = [part["schema"]] if "schema" in part else part.get("anyOf", [])
    return any(has_example(one, schemas) for one in nested)


def test_every_answer_has_an_example_and_only_the_types_that_it_comes_in() -> None:
    found = document(hub(), "/api/v1/openapi.json")
    types = {}
    for path, operations in found["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                for content in response.get("content", {}).values():
                    assert has_example(content, found["components"]["schemas"]), (path, status)
            types[path] = set(operation["responses"]["200"]["content"])
    assert {path: of for path, of in types.items() if of != {"application/json"}} == {
        "/api/v1/export": {"text/csv", "application/jsonl"},
        "/api/v1/stream": {"text/event-stream"},
        "/gpu/metric": {"text/plain"},
        "/metrics": {"text/plain"},
        "/metrics/dcgm": {"text/plain"},
    }


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
def test_short_paths_lead_to_the_documents(path: str) -> None:
    response = ask(hub(), path)
    assert response.status_code == 307
    assert response.headers["location"].startswith("/api/v1/")


def test_the_page_brings_all_that_it_needs_and_allows_nothing_else() -> None:
    page, script, style = ask(hub(), "/api/v1/docs", "/api/v1/docs.js", "/api/v1/docs.css")
    assert [r.headers["content-type"].partition(";")[0] for r in (page, script, style)] == [
        "text/html",
        "text/javascript",
        "text/css",
    ]
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert not re.search(r"https?://|<style|\son\w+=|style=|<script>", page.text)
    assert not re.search(r"innerHTML|https?://|eval\(", script.text)
    assert re.findall(r'(?:src|href)="([^"]+)"', page.text) == [
        "docs.css",
        "docs.js",
        "openapi.json",
        "openapi.json",
    ]


PATHS = (
    "/",
    "/docs",
    "/api/v1/docs",
    "/api/v1/openapi.json",
    "/api/v1/fleet",
    "/api/v1/gpus",
    "/api/v1/stream",
    "/api/v1/events",
    "/gpu/list",
    "/gpu/x",
    "/metrics",
    "/healthz",
    "/readyz",
)


def test_a_guard_covers_everything_but_the_probes() -> None:
    def refuse() -> None:
        raise HTTPException(401, "Show a token.")

    async def run() -> dict[str, int]:
        transport = httpx.ASGITransport(create_app(hub(), dependencies=[Depends(refuse)]))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            return {path: (await client.get(path)).status_code for path in PATHS}

    found = asyncio.run(run())
    assert {path for path, status in found.items() if status != 401} == {"/healthz", "/readyz"}
