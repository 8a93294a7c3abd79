"""What holds for every test: how hypothesis runs, and that CI skips nothing."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from support import skips
from support.places import on_postgresql

settings.register_profile(
    "gpufleet", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a busy machine is no defect of the code
settings.load_profile("gpufleet")

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell's background job begins with SIGINT ignored, and would hand that on to what is tested."""


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("GPUFLEET_NO_SKIPS"):
        config.pluginmanager.register(skips, "gpufleet-no-skips")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The run on PostgreSQL leaves out what is about one kind of database, or ran on both."""
    if not on_postgresql():
        return
    left_out = [item for item in items if item.get_closest_marker("own_database")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("own_database")]
