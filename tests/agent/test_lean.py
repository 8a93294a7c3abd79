"""An agent's process without OpenSSL still does everything that it has to."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"from gpufleet.agent import lean\nlean.load()\n{code}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.skipif(find_spec("_md5") is None, reason="this Python's hashes are OpenSSL's")
def test_nothing_of_an_agent_loads_openssl() -> None:
    found = run(
        "import sys, gpufleet.agent.runtime, gpufleet.agent.nvml.collector\n"
        "print(*sorted({'ssl', '_ssl', '_hashlib'} & {*sys.modules}))"
    )
    assert found == ""


def test_ssl_and_hashes_can_still_be_had() -> None:
    found = run(
        "import hashlib, ssl\n"
        "ssl.create_default_context()\n"
        "print(hashlib.sha256(b'').hexdigest()[:8], hashlib.blake2b(b'').hexdigest()[:8])"
    )
    assert found == "e3b0c442 786a02f7"
