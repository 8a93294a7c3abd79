"""The mission's own endpoints: /gpu/list, /gpu/metric and /gpu/{uuid}/…, fleet-wide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from gpufleet.client.nearest import hint
from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, Desk, node_named, subject_of
from gpufleet.hub.api.collected import collected_gpu, collected_list, collected_metrics
from gpufleet.hub.api.documents import subject_document
from gpufleet.hub.api.examples_live import PROMETHEUS
from gpufleet.hub.api.exposition_text import CONTENT_TYPE
from gpufleet.hub.api.metrics_routes import exposition
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.state import CannotCollect
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms

router = APIRouter(prefix="/gpu", tags=["GPUs by path"])

METHODS = ("nvml", "bash", "sim")

Method = Annotated[
    str | None,
    Query(
        max_length=20,
        description="How to collect: nvml, bash or sim. Without it: the newest streamed values.",
        json_schema_extra={"enum": list(METHODS)},
    ),
]


async def _asked(
    desk: Desk, table: Table, node: str | None, method: str | None
) -> Mapping[str, Any] | None:
    """What a node collects now with ``method``; ``None``: the newest streamed values answer.

    A method is answered from the stream where the agents use it.
    """
    if method is None:
        return None
    if method not in METHODS:
        near = hint(method, METHODS)
        detail = f"There is no method {method!r}; it is nvml, bash or sim{near or '.'}"
        raise Problem(422, detail, parameter="method")
    names = table.snapshot.nodes if node is None else [node]
    if all(table.snapshot.nodes[name].method == method for name in names):
        return None
    if node is None:
        detail = f"Not every node streams with {method}: name one with ?node= to ask its agent."
        raise Problem(400, detail, parameter="node")
    try:
        return await desk.state.collect(node, method)
    except CannotCollect as error:
        raise Problem(504 if error.timed_out else 409, str(error)) from None


@router.get("/list", responses=schemas.ok(schemas.MissionList, 400, 404, 409, 504))
async def gpu_list(
    request: Request, desk: AtDesk, node: parameters.Node = None, method: Method = None
) -> Response:
    """Every GPU: where it is and what it is called."""
    table = _scope(desk, node)
    asked = await _asked(desk, table, node, method)
    if asked is not None:
        return await desk.once(request, lambda: collected_list(asked))
    return await desk.shared(request, ("gpu/list", node), lambda table: _list(table, node))


def _scope(desk: Desk, node: str | None) -> Table:
    table = desk.table()
    if node is not None:
        node_named(table, node)
    return table


def _list(table: Table, node: str | None) -> dict[str, Any]:
    group = table.gpus if node is None else table.gpus.of_node(node)
    return {
        "time": format_ms(table.snapshot.time_ms),
        "gpus": [
            {"uuid": gpu.key, "index": gpu.index, "name": gpu.name, "node": gpu.node}
            for gpu in group.subjects
        ],
    }


@router.get(
    "/metric",
    responses=schemas.text("The GPUs' part of /metrics.", PROMETHEUS, 400, 404, 409, 504),
    response_class=Response,
)
async def gpu_metric(
    request: Request, desk: AtDesk, node: parameters.Node = None, method: Method = None
) -> Response:
    """The GPUs' part of /metrics, for Prometheus."""
    asked = await _asked(desk, _scope(desk, node), node, method)
    if asked is not None:
        return Response(collected_metrics(asked), media_type=CONTENT_TYPE)
    return await exposition(request, desk, node, gpus_only=True)


@router.get("/{uuid}", responses=schemas.ok(schemas.GpuDocument, 404, 409, 504))
async def one_gpu(
    request: Request, desk: AtDesk, uuid: parameters.Uuid, method: Method = None
) -> Response:
    """One GPU, in the schema of `gpufleet snapshot`."""
    return await _part(request, desk, uuid, "", method)


@router.get("/{uuid}/static", responses=schemas.ok(schemas.Facts, 404, 409, 504))
async def static(
    request: Request, desk: AtDesk, uuid: parameters.Uuid, method: Method = None
) -> Response:
    """The static facts of one GPU."""
    return await _part(request, desk, uuid, "static", method)


@router.get("/{uuid}/{key_path:path}", responses=schemas.anything(404, 409, 504))
async def nested(
    request: Request,
    desk: AtDesk,
    uuid: parameters.Uuid,
    key_path: Annotated[
        str, Path(max_length=500, description="Keys from the outside in: `health/level`.")
    ],
    method: Method = None,
) -> Response:
    """Any part of one GPU's document by its keys, for example `dynamic/temperature_celsius`."""
    return await _part(request, desk, uuid, key_path, method)


async def _part(
    request: Request, desk: Desk, uuid: str, key_path: str, method: str | None
) -> Response:
    table = desk.table()
    subject = subject_of(table, uuid)
    asked = await _asked(desk, table, subject.node, method)
    path = key_path.strip("/")
    if asked is None:
        return await desk.once(request, lambda: walk(subject_document(table, subject), path))
    document = collected_gpu(asked, uuid)
    if document is None:
        raise Problem(409, f"Node {subject.node} has no GPU {uuid} that method {method} sees.")
    return await desk.once(request, lambda: walk(document, path))


def walk(document: Any, key_path: str) -> Any:
    """The part of a document at ``a/b/0/c``; a Problem names the nearest key."""
    value = document
    for key in key_path.split("/") if key_path else ():
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isascii() and key.isdigit() and len(key) < 6:
            if int(key) >= len(value):
                raise Problem(404, f"There is no entry {key} in a list of {len(value)}.")
            value = value[int(key)]
        else:
            known = list(value) if isinstance(value, dict) else []
            near = hint(key, known)
            what = f" (known: {', '.join(map(str, known[:20]))})." if known else "."
            raise Problem(404, f"There is no key {key[:60]!r} here{near or what}")
    return value
