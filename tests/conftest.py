"""What holds for every test: how hypothesis runs, and that CI skips nothing."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from support import skips

settings.register_profile(
    "gpufleet", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a busy machine is no defect of the code
settings.load_profile("gpufleet")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("GPUFLEET_NO_SKIPS"):
        config.pluginmanager.register(skips, "gpufleet-no-skips")
