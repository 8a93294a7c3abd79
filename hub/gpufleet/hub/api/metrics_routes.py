"""/metrics: the fleet's exposition, cached by version, and the hub's own numbers, always fresh."""

from __future__ import annotations

import struct
import zlib

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import generate_latest

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, Desk, node_named, sent, takes_gzip
from gpufleet.hub.api.bodies import Body
from gpufleet.hub.api.exposition_text import CONTENT_TYPE

router = APIRouter()

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@router.get("/metrics", tags=["prometheus"], responses=schemas.text("Prometheus text format.", 404))
async def metrics(request: Request, desk: AtDesk, node: parameters.Node = None) -> Response:
    """The whole fleet, or one node, in the Prometheus text format."""
    if node is not None:
        node_named(desk.table(), node)
    return await exposition(request, desk, node, gpus_only=False)


async def exposition(
    request: Request, desk: Desk, node: str | None, *, gpus_only: bool
) -> Response:
    """The fleet's part from the cache; the hub's own behind it where all is asked for."""
    table = desk.table()
    packed = takes_gzip(request)

    def make() -> Body:
        text = desk.exposition.render(table, node, gpus_only=gpus_only)
        return Body(b"", deflated(text)) if packed else Body(text)

    key = ("metrics", node, gpus_only, packed)
    found = await desk.bodies.get(key, table.snapshot.version, make)
    own = b"" if gpus_only or node is not None else generate_latest(desk.state.registry)
    if found.packed is None:
        return sent(Body(found.plain + own), CONTENT_TYPE)
    return sent(Body(b"", joined(found.packed, own)), CONTENT_TYPE)


def deflated(text: bytes) -> bytes:
    """A text as an unfinished deflate stream at a byte boundary, its CRC and length before it."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)
    return struct.pack("<II", zlib.crc32(text), len(text) & 0xFFFFFFFF) + stream


def joined(first: bytes, tail: bytes) -> bytes:
    """One gzip member of a ``deflated`` text and a tail, without packing the first again."""
    crc, length = struct.unpack_from("<II", first)
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    end = packer.compress(tail) + packer.flush(zlib.Z_FINISH)
    trailer = struct.pack("<II", zlib.crc32(tail, crc), (length + len(tail)) & 0xFFFFFFFF)
    return b"".join((_GZIP_HEADER, memoryview(first)[8:], end, trailer))
