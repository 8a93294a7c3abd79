"""/metrics: the fleet's exposition, cached by version, and the hub's own numbers, always fresh."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from prometheus_client import generate_latest

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, Desk, node_named, sent, takes_gzip
from gpufleet.hub.api.bodies import Body
from gpufleet.hub.api.examples_live import DCGM, PROMETHEUS
from gpufleet.hub.api.exposition_text import CONTENT_TYPE
from gpufleet.hub.api.table import Table

router = APIRouter()

_PIECE_BYTES = 1 << 20
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@router.get(
    "/metrics",
    tags=["Prometheus"],
    responses=schemas.text("Prometheus text format.", PROMETHEUS, 404),
    response_class=Response,
)
async def metrics(request: Request, desk: AtDesk, node: parameters.Node = None) -> Response:
    """The whole fleet, or one node, in the Prometheus text format."""
    if node is not None:
        node_named(desk.table(), node)
    return await exposition(request, desk, node, gpus_only=False)


@router.get(
    "/metrics/dcgm",
    tags=["Prometheus"],
    responses=schemas.text("Prometheus text format.", DCGM, 404),
    response_class=Response,
)
async def dcgm(request: Request, desk: AtDesk, node: parameters.Node = None) -> Response:
    """The fleet's GPUs under dcgm-exporter's names, labels and units, for its dashboards."""
    if node is not None:
        node_named(desk.table(), node)
    table = desk.table()

    def make() -> Body:
        return Body(b"", deflated(desk.dcgm.parts(table, node)))

    return await _kept(request, desk, table, ("dcgm", node), make, b"")


async def exposition(
    request: Request, desk: Desk, node: str | None, *, gpus_only: bool
) -> Response:
    """The fleet's part from the cache; the hub's own behind it where all is asked for.

    Only the packed form is kept, and a client that takes no gzip gets it unpacked piece by piece:
    the 58 MB of 8,000 GPUs are never in memory at once (the hub's peak: 405 instead of 545 MiB).
    """
    table = desk.table()

    def make() -> Body:
        return Body(b"", deflated(desk.exposition.parts(table, node, gpus_only=gpus_only)))

    key = ("metrics", node, gpus_only)
    own = b"" if gpus_only or node is not None else generate_latest(desk.state.registry)
    return await _kept(request, desk, table, key, make, own)


async def _kept(
    request: Request,
    desk: Desk,
    table: Table,
    key: Hashable,
    make: Callable[[], Body],
    own: bytes,
) -> Response:
    """A deflated text from the cache with a tail behind it."""
    found = await desk.bodies.get(key, table.snapshot.version, make)
    assert found.packed is not None
    if takes_gzip(request):
        return sent(Body(b"", joined(found.packed, own)), CONTENT_TYPE)
    headers = {"Vary": "Accept-Encoding", "Cache-Control": "no-store"}
    return StreamingResponse(inflated(found.packed, own), headers=headers, media_type=CONTENT_TYPE)


def deflated(parts: Iterable[bytes]) -> bytes:
    """A text as an unfinished deflate stream at a byte boundary, its CRC and length before it."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = []
    crc = length = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
        length += len(part)
        stream.append(packer.compress(part))
    stream.append(packer.flush(zlib.Z_FULL_FLUSH))
    return struct.pack("<II", crc, length & 0xFFFFFFFF) + b"".join(stream)


def inflated(first: bytes, tail: bytes) -> Iterator[bytes]:
    """The text of ``deflated``, in pieces, and then a tail."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    rest: bytes = first[8:]
    while rest:
        yield inflater.decompress(rest, _PIECE_BYTES)
        rest = inflater.unconsumed_tail
    yield inflater.flush()
    yield tail


def joined(first: bytes, tail: bytes) -> bytes:
    """One gzip member of a ``deflated`` text and a tail, without packing the first again."""
    crc, length = struct.unpack_from("<II", first)
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    end = packer.compress(tail) + packer.flush(zlib.Z_FINISH)
    trailer = struct.pack("<II", zlib.crc32(tail, crc), (length + len(tail)) & 0xFFFFFFFF)
    return b"".join((_GZIP_HEADER, memoryview(first)[8:], end, trailer))
