"""The state machine of one rule with one subject: the readable form.

``machines.py`` does the same for a whole fleet; tests hold both to the same transitions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpufleet.alerting.state import Kind, State

MAX_GAP_MS = 45_000
GAP_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a rule waits, in ms."""

    for_ms: int = 0
    for_inclusive: bool = False
    keep_firing_ms: int = 0
    max_gap_ms: int = MAX_GAP_MS
    interval_ms: int = 1000


@dataclass(frozen=True, slots=True)
class Observation:
    """What a sample says: the condition holds (``bad``), or it does not and, for a rule with
    ``clear``, that one holds too (``good``). Neither: between the two thresholds."""

    bad: bool
    good: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """Where a rule stands. Times are those of samples, in ms; 0 where there is none."""

    state: State = State.OK
    since_ms: int = 0
    """t0: the first bad sample."""
    fired_ms: int = 0
    good_since_ms: int = 0
    last_ms: int = 0
    """The last sample that counted; what is not after it, in the same epoch, is known already."""
    epoch: int = 0


OK = Alert()


def step(
    timing: Timing, alert: Alert, observation: Observation | None, now_ms: int, epoch: int = 0
) -> tuple[Alert, tuple[Kind, ...]]:
    """The alert after a sample at ``now_ms``, and what happened, in order.

    ``observation`` None: the sample has no value for the rule. It neither satisfies nor resets,
    but once there has been none for longer than max_gap, that is a gap.
    """
    if alert.last_ms:
        if epoch != alert.epoch and now_ms <= alert.last_ms:
            alert = _moved(alert, now_ms - timing.interval_ms - alert.last_ms)
        elif now_ms <= alert.last_ms:
            return alert, ()
    kinds: list[Kind] = []
    if alert.state is not State.OK and now_ms - alert.last_ms > timing.max_gap_ms:
        alert, happened = _gap(alert)
        kinds += happened
    if observation is None:
        return alert, tuple(kinds)
    alert, happened = _sample(timing, alert, observation, now_ms)
    return replace(alert, last_ms=now_ms, epoch=epoch), (*kinds, *happened)


def silence(alert: Alert) -> tuple[Alert, tuple[Kind, ...]]:
    """The alert once its subject has been silent for longer than max_gap.

    Pending stays: samples of the time may still come, late, and the next one tells the gap.
    """
    return _gap(alert) if alert.state not in (State.OK, State.PENDING) else (alert, ())


def _moved(alert: Alert, by_ms: int) -> Alert:
    """The node's clock was set back: durations stay."""
    return replace(
        alert,
        since_ms=alert.since_ms + by_ms,
        good_since_ms=alert.good_since_ms + by_ms,
        last_ms=alert.last_ms + by_ms,
    )


def _gap(alert: Alert) -> tuple[Alert, tuple[Kind, ...]]:
    if alert.state is State.PENDING:
        return replace(alert, state=State.OK, since_ms=0), (Kind.PENDING_LOST,)
    if alert.state is State.NO_DATA:
        return alert, ()
    return replace(alert, state=State.NO_DATA), (Kind.NO_DATA,)


def _sample(
    timing: Timing, alert: Alert, seen: Observation, now_ms: int
) -> tuple[Alert, tuple[Kind, ...]]:
    match alert.state:
        case State.OK | State.PENDING:
            return _before_firing(timing, alert, seen, now_ms)
        case State.FIRING if seen.good:
            return _better(timing, alert, now_ms)
        case State.FIRING:
            return alert, ()
        case State.NO_DATA if seen.good:
            return _better(timing, alert, now_ms)
        case State.NO_DATA:
            return replace(alert, state=State.FIRING), (Kind.RETURNED,)
        case State.RECOVERING if seen.bad:
            return replace(alert, state=State.FIRING), (Kind.RELAPSED,)
        case State.RECOVERING if not seen.good:
            return replace(alert, good_since_ms=now_ms), ()
        case _:
            if now_ms - alert.good_since_ms >= timing.keep_firing_ms:
                return replace(alert, state=State.OK), (Kind.RESOLVED,)
            return alert, ()


def _before_firing(
    timing: Timing, alert: Alert, seen: Observation, now_ms: int
) -> tuple[Alert, tuple[Kind, ...]]:
    pending = alert.state is State.PENDING
    if not seen.bad and pending:
        return replace(alert, state=State.OK, since_ms=0), (Kind.CLEARED,)
    if not seen.bad:
        return alert, ()
    since_ms = alert.since_ms if pending else now_ms
    held_ms = now_ms - since_ms
    long_enough = held_ms >= timing.for_ms if timing.for_inclusive else held_ms > timing.for_ms
    if long_enough or timing.for_ms == 0:
        fired = replace(alert, state=State.FIRING, since_ms=since_ms, fired_ms=now_ms)
        return fired, (Kind.FIRED,)
    if pending:
        return alert, ()
    return replace(alert, state=State.PENDING, since_ms=now_ms), (Kind.PENDING,)


def _better(timing: Timing, alert: Alert, now_ms: int) -> tuple[Alert, tuple[Kind, ...]]:
    if timing.keep_firing_ms <= 0:
        return replace(alert, state=State.OK, good_since_ms=now_ms), (Kind.RESOLVED,)
    return replace(alert, state=State.RECOVERING, good_since_ms=now_ms), (Kind.RECOVERING,)
