"""Turns skipped tests into failures where everything that they want must be there (CI).

Loaded by conftest.py when GPUFLEET_NO_SKIPS is set. Only tests marked ``hardware`` may be skipped
then: they need a real GPU, which no package brings.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest
from pluggy import Result


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    return str(longrepr[2] if isinstance(longrepr, tuple) else longrepr).removeprefix("Skipped: ")


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.longrepr = f"GPUFLEET_NO_SKIPS is set, and this was skipped: {_reason(report)}"
    report.outcome = "failed"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, Result[pytest.TestReport], None]:
    """A test that skips itself, or is marked to be skipped, fails."""
    report = (yield).get_result()
    if (
        report.skipped
        and not hasattr(report, "wasxfail")
        and not item.get_closest_marker("hardware")
    ):
        _fail(report)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, Result[pytest.CollectReport], None]:
    """A module that skips itself as a whole fails."""
    report = (yield).get_result()
    if report.skipped:
        _fail(report)
