"""What the detailed view tells of a GPU beside its charts."""

from __future__ import annotations

from typing import Any

import pytest

from gpufleet.tui import facts
from support.tui_rows import gpu, row, styles


def told(detail: dict[str, Any]) -> dict[str, str]:
    found = facts.of(gpu(row(), detail=detail), styles())
    return {label: value for label, value, _ in found}


@pytest.mark.parametrize(
    ("allocation", "text"),
    [
        ({"job": "4711", "user": "alice"}, "job 4711 of alice"),
        ({"job": "4711_3", "user": None}, "job 4711_3"),
        (None, None),
    ],
)
def test_the_job_that_a_gpu_was_given_to_is_told(
    allocation: dict[str, Any] | None, text: str | None
) -> None:
    assert told({"allocation": allocation}).get("given to") == text
    assert "given to" not in told({})
