"""REST of what is now: fleet, nodes, GPUs, processes, the catalogue."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, node_named, subject_of
from gpufleet.hub.api.catalog_document import catalog_document
from gpufleet.hub.api.documents import (
    node_document,
    node_row,
    process_document,
    subject_document,
)
from gpufleet.hub.api.gpu_list import GpuQuery, page, plan
from gpufleet.hub.api.natural import natural_key
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.state import CannotForget
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.api.totals import fleet_document
from gpufleet.hub.store.errors import NO_CURSOR

router = APIRouter()


@router.get("/fleet", tags=["Fleet"], responses=schemas.ok(schemas.Fleet))
async def fleet(request: Request, desk: AtDesk) -> Response:
    """Totals of the whole fleet."""
    return await desk.shared(request, "fleet", fleet_document)


@router.get("/nodes", tags=["Fleet"], responses=schemas.ok(schemas.NodePage, 400))
async def nodes(
    request: Request,
    desk: AtDesk,
    limit: parameters.Limit = parameters.DEFAULT_LIMIT,
    cursor: parameters.Cursor = "",
) -> Response:
    """Every node with its agent, by name."""
    key = ("nodes", limit, cursor)
    return await desk.shared(request, key, lambda table: _node_page(table, limit, cursor))


def _node_page(table: Table, limit: int, cursor: str) -> dict[str, Any]:
    if cursor and cursor not in table.snapshot.nodes:
        raise Problem(400, NO_CURSOR, parameter="cursor")
    views = sorted(table.snapshot.nodes.values(), key=lambda node: natural_key(node.name))
    after = natural_key(cursor)
    rest = [node for node in views if natural_key(node.name) > after] if cursor else views
    shown = rest[:limit]
    return {
        "time": format_ms(table.snapshot.time_ms),
        "version": table.snapshot.version,
        "total": len(views),
        "next_cursor": shown[-1].name if len(rest) > limit else None,
        "nodes": [node_row(table, node) for node in shown],
    }


@router.get("/nodes/{node}", tags=["Fleet"], responses=schemas.ok(schemas.NodeDocument, 404))
async def node(request: Request, desk: AtDesk, node: parameters.NodeName) -> Response:
    """One node with its facts and GPUs."""
    table = desk.table()
    view = node_named(table, node)
    return await desk.once(request, lambda: node_document(table, view))


@router.delete(
    "/nodes/{node}", tags=["Fleet"], responses=schemas.ok(schemas.ForgottenNode, 404, 409, 503)
)
async def forget_node(request: Request, desk: AtDesk, node: parameters.NodeName) -> Response:
    """Show a node that is down no more; its history stays, and its agent may come back."""
    view = node_named(desk.table(), node)
    try:
        gpus = await desk.state.forget(view.name)
    except CannotForget as error:
        raise Problem(409, str(error)) from None
    if gpus is None:
        raise Problem(404, f"Node {node!r} is forgotten already.")
    return await desk.once(request, lambda: {"name": view.name, "gpus": gpus})


@router.get("/gpus", tags=["GPUs"], responses=schemas.ok(schemas.GpuPage, 400))
async def gpus(
    request: Request,
    desk: AtDesk,
    filter: parameters.Filter = "",
    sort: parameters.Sort = "",
    fields: parameters.FieldNames = "",
    limit: parameters.Limit = parameters.DEFAULT_LIMIT,
    cursor: parameters.Cursor = "",
    offset: parameters.Offset = 0,
) -> Response:
    """GPUs that pass a filter, in order, with the fields that are asked for.

    Values of a GPU that is not heard from are null and `stale` is true. A page goes on by `cursor`,
    which keeps its place while the list changes, or shows a part of the order now by `offset`.
    """
    if cursor and offset:
        detail = "A page goes on by cursor or by offset, not by both."
        raise Problem(400, detail, parameter="offset")
    query = GpuQuery(filter, sort, fields)
    asked = plan(query)
    return await desk.shared(
        request,
        ("gpus", query, limit, cursor, offset),
        lambda table: page(table, asked, limit, cursor, offset),
    )


@router.get("/gpus/{uuid}", tags=["GPUs"], responses=schemas.ok(schemas.GpuDocument, 404))
async def gpu(request: Request, desk: AtDesk, uuid: parameters.Uuid) -> Response:
    """One GPU or MIG device, in the schema of `gpufleet snapshot`."""
    table = desk.table()
    subject = subject_of(table, uuid)
    return await desk.once(request, lambda: subject_document(table, subject))


@router.get("/gpus/{uuid}/processes", tags=["GPUs"], responses=schemas.ok(schemas.ProcessList, 404))
async def processes(request: Request, desk: AtDesk, uuid: parameters.Uuid) -> Response:
    """Processes on one GPU or MIG device, as its node last said."""
    table = desk.table()
    subject = subject_of(table, uuid)
    stale = bool(table.snapshot.stale[subject.slot])
    moment = table.snapshot.processes_time_ms.get(subject.node)
    return await desk.once(
        request,
        lambda: {
            "uuid": subject.key,
            "node": subject.node,
            "stale": stale,
            "processes_time": format_ms(moment),
            "processes": []
            if stale
            else [process_document(process) for process in table.processes_of(subject.key)],
        },
    )


@router.get("/metrics-catalog", tags=["Hub"], responses=schemas.ok(schemas.Catalog))
async def metrics_catalog(request: Request, desk: AtDesk) -> Response:
    """Every metric: name, unit, kind, resolution, what it means."""
    return await desk.once(request, catalog_document)


@router.get("/info", tags=["Hub"], responses=schemas.ok(schemas.Info))
async def info(request: Request, desk: AtDesk) -> Response:
    """Facts of the hub itself."""
    ready, sentence = desk.state.ready()
    snapshot = desk.state.snapshot()
    document = {
        "time": format_ms(snapshot.time_ms),
        "ready": ready,
        "sentence": sentence,
        "http_streams": desk.streams,
        "limits": {
            "limit": parameters.MAX_LIMIT,
            "streams": desk.max_streams,
        },
        **desk.state.info(),
    }
    return await desk.once(request, lambda: document)
