"""What a chunk is wrapped in: magic, format version, checksum and zstd."""

from __future__ import annotations

import struct
import threading
import zlib

import zstandard

MAGIC = b"GFC"
VERSION = 1
LEVEL = 3
MAX_RAW_BYTES = 64 * 1024 * 1024
"""No chunk is larger before compression; a blob that says otherwise is damaged."""

_OUTER = struct.Struct("<3sBI")


class CodecError(Exception):
    """A blob that is no chunk, is damaged, or is of a newer format than this program knows."""


class _Zstd(threading.local):
    """zstd contexts are not for two threads at once, and making one costs more than a chunk."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def pack(raw: bytes) -> bytes:
    """The blob of some contents."""
    if len(raw) > MAX_RAW_BYTES:
        raise ValueError(f"{len(raw)} bytes are too many for a chunk")
    frame = _zstd.compressor.compress(raw)
    return _OUTER.pack(MAGIC, VERSION, zlib.crc32(frame)) + frame


def unpack(data: bytes) -> bytes:
    """The contents of a blob, or CodecError."""
    if len(data) < _OUTER.size:
        raise CodecError("the blob is too short to be a chunk")
    magic, version, crc = _OUTER.unpack_from(data)
    if magic != MAGIC:
        raise CodecError("the blob is no chunk: it does not begin with GFC")
    if version != VERSION:
        raise CodecError(f"the chunk has format {version}, which this gpufleet does not know")
    frame = data[_OUTER.size :]
    if zlib.crc32(frame) != crc:
        raise CodecError("the chunk is damaged: its checksum does not match")
    try:
        size = zstandard.get_frame_parameters(frame).content_size
        if not 0 < size <= MAX_RAW_BYTES:
            raise CodecError(f"the chunk claims {size} bytes, which no chunk has")
        return _zstd.decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CodecError(f"the chunk cannot be decompressed ({error})") from error
