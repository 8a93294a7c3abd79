"""What must be remembered of a GPU between samples to judge its health: one frozen value a GPU.

The caller keeps it, advances it with ``observe`` once per sample, tells it of faults and Xids, and
may drop it whenever it is not ``open``: a history made again by ``resumed`` goes on as if it had
been kept. Times are milliseconds of the node's sample clock unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gpufleet.alerting import health_limits as limits
from gpufleet.alerting import xid
from gpufleet.alerting.health_growth import NO_GROWTH, Growth, grown, set_back
from gpufleet.alerting.health_inputs import NO_EXTRAS, Extras, Facts, Values
from gpufleet.alerting.health_look import (
    at_slowdown,
    downshifted,
    memory_excess,
    operating_excess,
    slowdown_margin,
)

_KEPT_XID_TIMES = 16
_KEPT_SLOWDOWNS = 64
_GONE = frozenset({"lost", "reset_required"})
_CONTAINED = frozenset({94})
_UNCONTAINED = frozenset({95, 140})


@dataclass(frozen=True, slots=True)
class SeenXid:
    """Occurrences of one code that still count, oldest first."""

    code: int
    times_ms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HealthHistory:
    """The memory of one GPU. The default is a GPU of which nothing was seen."""

    last_tick_ms: int | None = None
    ever_read: bool = False
    over_operating: bool = False
    over_memory: bool = False
    near_slowdown: bool = False
    slowdown_since_ms: int | None = None
    downshift_since_ms: int | None = None
    thermal: tuple[tuple[int, int], ...] = ()
    """(start, end) of thermal slowdown within the window, oldest first, apart from each other."""
    hw_slow: bool = False
    hw_slowdowns: tuple[int, ...] = ()
    """Times of onsets, and of each further minute that a slowdown lasts."""
    pcie_replays: Growth = NO_GROWTH
    nvlink_errors: Growth = NO_GROWTH
    nvlink_crc: Growth = NO_GROWTH
    nvlink_recoveries: Growth = NO_GROWTH
    energy_joules: float | None = None
    links_up: frozenset[int] = frozenset()
    """NVLinks that were up at some time."""
    xids: tuple[SeenXid, ...] = ()
    contained: bool | None = None
    """Whether all memory errors since the last reset were contained; ``None``: no Xid said so."""
    fault: str | None = None
    fault_since_ms: int | None = None
    """By the clock of whoever calls ``note_fault``."""
    was_gone: bool = False
    """The GPU was lost or asked for a reset: its next sample means that it was reset."""
    reset_ms: int | None = None
    """The last reset: Xids of before it are over, however late they are told."""

    @property
    def open(self) -> bool:
        """Whether dropping it would forget anything but what ``resumed`` is given."""
        return bool(
            self.over_operating
            or self.over_memory
            or self.near_slowdown
            or self.slowdown_since_ms is not None
            or self.downshift_since_ms is not None
            or self.thermal
            or self.hw_slow
            or self.hw_slowdowns
            or self.pcie_replays.last_ms is not None
            or self.nvlink_errors.last_ms is not None
            or self.nvlink_crc.baseline is not None
            or self.nvlink_recoveries.baseline is not None
            or self.links_up
            or self.xids
            or self.contained is not None
            or self.fault is not None
            or self.was_gone
        )


def resumed(
    last_tick_ms: int | None,
    ever_read: bool,
    *,
    pcie_replays: float | None = None,
    nvlink_errors: float | None = None,
    energy_joules: float | None = None,
    reset_ms: int | None = None,
) -> HealthHistory:
    """The history of a GPU whose earlier one was dropped while nothing was open."""
    return HealthHistory(
        last_tick_ms,
        ever_read,
        pcie_replays=NO_GROWTH if pcie_replays is None else Growth(pcie_replays),
        nvlink_errors=NO_GROWTH if nvlink_errors is None else Growth(nvlink_errors),
        energy_joules=energy_joules,
        reset_ms=reset_ms,
    )


def note_fault(history: HealthHistory, fault: str | None, now_ms: int) -> HealthHistory:
    """The history after its GPU's fault is ``fault`` (``None``: it has none)."""
    if fault == history.fault:
        return history
    return replace(
        history,
        fault=fault,
        fault_since_ms=None if fault is None else now_ms,
        was_gone=history.was_gone or fault in _GONE,
    )


def note_xid(history: HealthHistory, code: int, time_ms: int) -> HealthHistory:
    """The history after an Xid. Lines of one burst are one occurrence."""
    if history.reset_ms is not None and time_ms <= history.reset_ms:
        return history
    contained = history.contained
    if code in _UNCONTAINED:
        contained = False
    elif code in _CONTAINED and contained is None:
        contained = True
    xids = history.xids
    if xid.describe(code).kind is not xid.XidClass.INFORMATION:
        times = next((seen.times_ms for seen in xids if seen.code == code), ())
        if all(abs(time_ms - other) >= xid.BURST_MS for other in times):
            times = tuple(sorted((*times, time_ms))[-_KEPT_XID_TIMES:])
            others = [seen for seen in xids if seen.code != code]
            xids = tuple(sorted((*others, SeenXid(code, times)), key=lambda seen: seen.code))
    return replace(history, xids=xids, contained=contained)


def acknowledge_xids(history: HealthHistory, until_ms: int) -> HealthHistory:
    """The history after an operator took note of every Xid up to ``until_ms``."""
    return replace(history, xids=_xids(history, lambda _, time_ms: time_ms > until_ms))


def note_reset(history: HealthHistory, time_ms: int) -> HealthHistory:
    """The history after a reset of the GPU or a load of its driver at ``time_ms``."""
    after = acknowledge_xids(history, time_ms)
    reset_ms = time_ms if history.reset_ms is None else max(time_ms, history.reset_ms)
    return replace(after, contained=None, was_gone=False, reset_ms=reset_ms)


def expired(history: HealthHistory, now_ms: int) -> HealthHistory:
    """The history without the Xids that no longer count at ``now_ms``."""
    xids = _xids(history, lambda code, time_ms: xid.counts(code, time_ms, now_ms))
    return history if xids == history.xids else replace(history, xids=xids)


def observe(
    history: HealthHistory | None,
    facts: Facts,
    values: Values,
    tick_ms: int,
    *,
    max_gap_ms: int = limits.MAX_GAP_MS,
    extras: Extras = NO_EXTRAS,
) -> HealthHistory:
    """The history after one more sample, taken at ``tick_ms``.

    A sample stands for the time since the one before, unless that is more than ``max_gap_ms``
    ago: time without samples is no evidence, and what must last begins anew. The same tick again
    changes nothing; an earlier one means that the node's clock was set back.
    """
    old = HealthHistory() if history is None else history
    last = old.last_tick_ms
    if tick_ms == last:
        return old
    if last is not None and tick_ms < last:
        old, last = _set_back(old, tick_ms), None
    energy = values.get("energy_joules_total", old.energy_joules)
    if _was_reset(old, energy):
        old = note_reset(old, tick_ms)
    step_ms = 0 if last is None else tick_ms - last
    held = 0 < step_ms <= max_gap_ms
    bits = values.get("throttle_reasons")
    reasons = None if bits is None else int(bits)

    def link(growth: Growth, value: float | None) -> Growth:
        kept_ms = limits.NVLINK_KEPT_MS
        return grown(growth, value, tick_ms, step_ms, kept_ms=kept_ms, born_counts=True)

    return HealthHistory(
        last_tick_ms=tick_ms,
        ever_read=old.ever_read or bool(values),
        over_operating=_over(old.over_operating, operating_excess(facts, values)),
        over_memory=_over(old.over_memory, memory_excess(facts, values)),
        near_slowdown=_near(old.near_slowdown, slowdown_margin(facts, values)),
        slowdown_since_ms=_since(old.slowdown_since_ms, at_slowdown(facts, values), held, tick_ms),
        downshift_since_ms=_since(
            old.downshift_since_ms, downshifted(facts, values), held, tick_ms
        ),
        thermal=_thermal(old, reasons, tick_ms, held),
        hw_slow=old.hw_slow if reasons is None else bool(reasons & limits.HW_SLOWDOWN),
        hw_slowdowns=_hw_slowdowns(old, reasons, tick_ms),
        pcie_replays=grown(
            old.pcie_replays,
            values.get("pcie_replay_total"),
            tick_ms,
            step_ms,
            kept_ms=limits.MINUTE_MS,
            born_counts=False,
        ),
        nvlink_errors=link(old.nvlink_errors, values.get("nvlink_errors_total")),
        nvlink_crc=link(old.nvlink_crc, extras.nvlink_crc_total),
        nvlink_recoveries=link(old.nvlink_recoveries, extras.nvlink_recovery_total),
        energy_joules=energy,
        links_up=_links_up(old, extras),
        xids=old.xids,
        contained=old.contained,
        fault=old.fault,
        fault_since_ms=old.fault_since_ms,
        was_gone=old.was_gone,
        reset_ms=old.reset_ms,
    )


def _was_reset(history: HealthHistory, energy_joules: float | None) -> bool:
    if history.was_gone and history.fault not in _GONE:
        return True
    before = history.energy_joules
    return before is not None and energy_joules is not None and energy_joules < before


def _over(latched: bool, excess: float | None) -> bool:
    if excess is None:
        return latched
    return excess > 0 or (latched and excess > -limits.HYSTERESIS_CELSIUS)


def _near(latched: bool, margin: float | None) -> bool:
    if margin is None:
        return latched
    return margin <= limits.MARGIN_CELSIUS or (latched and margin < limits.MARGIN_CLEARS_CELSIUS)


def _since(since_ms: int | None, now: bool, held: bool, tick_ms: int) -> int | None:
    if not now:
        return None
    return since_ms if held and since_ms is not None else tick_ms


def _thermal(
    old: HealthHistory, reasons: int | None, tick_ms: int, held: bool
) -> tuple[tuple[int, int], ...]:
    spans = old.thermal
    if reasons is not None and reasons & limits.THERMAL and held and old.last_tick_ms is not None:
        start = old.last_tick_ms
        if spans and spans[-1][1] == start:
            start = spans[-1][0]
            spans = spans[:-1]
        spans += ((start, tick_ms),)
    if spans and spans[0][1] <= tick_ms - limits.THERMAL_WINDOW_MS:
        spans = tuple(s for s in spans if s[1] > tick_ms - limits.THERMAL_WINDOW_MS)
    return spans


def _hw_slowdowns(old: HealthHistory, reasons: int | None, tick_ms: int) -> tuple[int, ...]:
    times = old.hw_slowdowns
    slow = reasons is not None and bool(reasons & limits.HW_SLOWDOWN)
    if slow and (not old.hw_slow or not times or tick_ms - times[-1] >= limits.MINUTE_MS):
        times = (*times, tick_ms)[-_KEPT_SLOWDOWNS:]
    if times and times[0] <= tick_ms - limits.SLOWDOWN_WINDOW_MS:
        times = tuple(t for t in times if t > tick_ms - limits.SLOWDOWN_WINDOW_MS)
    return times


def _links_up(old: HealthHistory, extras: Extras) -> frozenset[int]:
    if not extras.nvlinks_up:
        return old.links_up
    return old.links_up.union(link for link, up in extras.nvlinks_up.items() if up)


def _set_back(history: HealthHistory, tick_ms: int) -> HealthHistory:
    return replace(
        history,
        reset_ms=None,
        slowdown_since_ms=None,
        downshift_since_ms=None,
        thermal=(),
        hw_slowdowns=(),
        pcie_replays=set_back(history.pcie_replays, tick_ms),
        nvlink_errors=set_back(history.nvlink_errors, tick_ms),
        nvlink_crc=set_back(history.nvlink_crc, tick_ms),
        nvlink_recoveries=set_back(history.nvlink_recoveries, tick_ms),
    )


def _xids(history: HealthHistory, keep: Callable[[int, int], bool]) -> tuple[SeenXid, ...]:
    """The Xids with those occurrences (code, time) that ``keep`` keeps."""
    kept = (
        SeenXid(seen.code, tuple(t for t in seen.times_ms if keep(seen.code, t)))
        for seen in history.xids
    )
    return tuple(seen for seen in kept if seen.times_ms)
