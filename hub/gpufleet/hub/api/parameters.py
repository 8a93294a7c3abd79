"""Parameters that several endpoints take, with their bounds and their texts for /docs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from gpufleet.client.filter_tokens import MAX_LENGTH

DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000
MAX_GPUS = 256

Filter = Annotated[
    str,
    Query(
        max_length=MAX_LENGTH,
        description="A filter such as `temp>85 & node~=dgx` (docs/api.md has the language).",
        examples=["temp>85 & node~=dgx"],
    ),
]
Sort = Annotated[
    str,
    Query(
        max_length=500,
        description="Fields to sort by, `-` for the greatest first: `-temperature_celsius,node`.",
        examples=["-temperature_celsius,node"],
    ),
]
FieldNames = Annotated[
    str,
    Query(
        max_length=6000,
        description="Fields of a row, comma-separated; all when empty. `uuid` is always there.",
        examples=["node,index,temp,power,users"],
    ),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows at most.")]
MAX_OFFSET = 1_000_000
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="Rows that are passed over first.")]
Cursor = Annotated[
    str, Query(max_length=2000, description="`next_cursor` of the page before this one.")
]
Node = Annotated[str | None, Query(max_length=255, description="One node only.")]
Gpus = Annotated[
    list[str] | None,
    Query(
        max_length=MAX_GPUS,
        description="UUIDs of GPUs or MIG devices, repeated or comma-separated.",
    ),
]
Uuid = Annotated[
    str, Path(max_length=255, description="UUID of a GPU or MIG device, as /gpu/list has it.")
]
NodeName = Annotated[str, Path(max_length=255, description="Name of a node.")]
Start = Annotated[
    str,
    Query(
        max_length=60,
        description="RFC 3339, Unix seconds, or relative to now such as `-1h`.",
        examples=["-6h"],
    ),
]
End = Annotated[
    str, Query(max_length=60, description="As `start`; not included.", examples=["now"])
]
