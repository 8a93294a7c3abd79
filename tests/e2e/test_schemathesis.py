"""schemathesis over /openapi.json of a live hub: whatever it asks, the answer is as described."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.fleet_processes import FleetProcesses
from support.processes import wait_for

PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
SCHEMATHESIS = shutil.which("schemathesis", path=PLACES)
SETTINGS = Path(__file__).with_name("schemathesis.toml")

pytestmark = pytest.mark.skipif(
    SCHEMATHESIS is None, reason="schemathesis is not installed (pip install schemathesis)"
)


def test_every_answer_is_as_the_description_says(tmp_path: Path) -> None:
    assert SCHEMATHESIS is not None
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        fleet.start_agent("n-1", "--method", "sim", "--gpus", "2")
        wait_for(lambda: len(fleet.gpus("n-1")) == 2, 30)
        done = subprocess.run(
            [
                *(SCHEMATHESIS, "--config-file", str(SETTINGS), "run"),
                f"http://127.0.0.1:{fleet.http_port}/openapi.json",
                *("--exclude-path", "/api/v1/stream"),  # it never ends
                *("--phases", "examples,coverage,fuzzing", "--max-examples", "3"),
                *("--seed", "1", "--max-time", "25", "--request-timeout", "20"),
                *("--warnings", "off", "--no-shrink"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={key: v for key, v in os.environ.items() if key != "PYTHONPATH"},
        )
        assert fleet.hub is not None
        assert fleet.hub.poll() is None
        log = (tmp_path / "hub.log").read_text()
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Traceback" not in log
    print(done.stdout[-600:])
