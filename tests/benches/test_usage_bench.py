"""The usage bench counts every GPU-second of its load, once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"


@pytest.mark.parametrize("storm", [False, True])
def test_what_is_held_is_what_is_stored(storm: bool) -> None:
    flags = ["--nodes", "3", "--minutes", "2", *(["--storm"] if storm else [])]
    done = subprocess.run(
        [BENCH, "usage", *flags], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "0.8 GPU-hours stored of 0.8" in done.stdout
