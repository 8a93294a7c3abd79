"""The rows of the health table that only time decides, with their sentences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from gpufleet.alerting import health_limits as limits
from gpufleet.alerting import xid
from gpufleet.alerting.health_growth import Growth
from gpufleet.alerting.health_history import HealthHistory, SeenXid
from gpufleet.alerting.health_inputs import Facts
from gpufleet.alerting.health_rows import Finding


def trend_rows(history: HealthHistory, facts: Facts, now_ms: int) -> Iterator[Finding]:
    """Slowdowns, replays, NVLink errors and Xids over their windows."""
    if history.thermal and history.last_tick_ms is not None:
        yield from _thermal(history.thermal, history.last_tick_ms)
    slowdowns = len(history.hw_slowdowns)
    window_minutes = limits.SLOWDOWN_WINDOW_MS // limits.MINUTE_MS
    if slowdowns >= limits.SLOWDOWNS_A_MINUTE * window_minutes:
        yield 2, f"{slowdowns} hardware slowdowns in the last {window_minutes} min"
    if history.pcie_replays.recent:
        replays = history.pcie_replays.last_minute()
        most = limits.replays_a_minute(facts)
        if replays > most:
            yield 2, f"{replays:.0f} PCIe replays in the last minute, above {most}"
    if history.nvlink_errors.last_ms is not None:
        yield _nvlink(history.nvlink_errors, "NVLink errors", 1)
    if history.nvlink_recoveries.last_ms is not None:
        growth = history.nvlink_recoveries
        yield 2, _since(growth, "NVLink replays and recoveries")
    if history.nvlink_crc.last_ms is not None:
        yield _nvlink(history.nvlink_crc, "NVLink CRC errors", 1)
    for seen in history.xids:
        level = xid.level(seen.code, seen.times_ms, now_ms)
        if level:
            yield level, _xid(seen, now_ms)


def _thermal(spans: tuple[tuple[int, int], ...], last_tick_ms: int) -> Iterator[Finding]:
    begin = last_tick_ms - limits.THERMAL_WINDOW_MS
    active_ms = sum(end - max(start, begin) for start, end in spans if end > begin)
    share = active_ms / limits.THERMAL_WINDOW_MS
    if share >= limits.THERMAL_SHARE:
        yield 2, f"Thermal slowdown for {active_ms // 1000} s of the last 5 min ({share:.0%})"


def _nvlink(growth: Growth, what: str, level: int) -> Finding:
    rate = growth.last_minute() * 1000 / limits.MINUTE_MS
    if rate >= limits.NVLINK_CRC_A_SECOND:
        return 3, f"{rate:.0f} {what} a second over the last minute"
    return level, _since(growth, what)


def _since(growth: Growth, what: str) -> str:
    return f"{growth.total:.0f} {what}, the last at {_utc(growth.last_ms or 0)}"


def _xid(seen: SeenXid, now_ms: int) -> str:
    known = xid.describe(seen.code)
    times = [t for t in seen.times_ms if xid.counts(seen.code, t, now_ms)]
    often = "" if len(times) == 1 else f"{len(times)} times, the last "
    return f"Xid {seen.code} ({known.title}) {often}at {_utc(times[-1])}: {known.advice}"


def _utc(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
