"""States of an alert and what moves it between them, with a sentence each."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where one rule stands with one subject. Values are the words of REST, SQL and Prometheus."""

    OK = "ok"
    """The condition does not hold, or nothing is known yet."""
    PENDING = "pending"
    """It holds, but not for long enough."""
    FIRING = "firing"
    """It has held for longer than ``for``: there is an open incident."""
    RECOVERING = "recovering"
    """It fired and holds no more, but not for ``keep_firing_for`` yet: still the same incident."""
    NO_DATA = "no_data"
    """It fired, then samples stopped: silence never resolves, so the incident stays open."""


OPEN = frozenset({State.FIRING, State.RECOVERING, State.NO_DATA})
"""States with an open incident."""


class Kind(Enum):
    """What happened to an alert: the kinds of its transitions."""

    PENDING = "pending"
    """OK → PENDING: the first bad sample."""
    CLEARED = "cleared"
    """PENDING → OK: a good sample before it fired; nobody is told."""
    PENDING_LOST = "pending_lost"
    """PENDING → OK: a gap longer than max_gap; nobody is told."""
    FIRED = "fired"
    """PENDING or OK → FIRING: a new incident."""
    RECOVERING = "recovering"
    """FIRING → RECOVERING: the first good sample."""
    RELAPSED = "relapsed"
    """RECOVERING → FIRING: a bad sample again; same incident."""
    NO_DATA = "no_data"
    """FIRING or RECOVERING → NO_DATA: a gap, or silence as long."""
    RETURNED = "returned"
    """NO_DATA → FIRING: samples again, and they are bad; same incident."""
    RESOLVED = "resolved"
    """An open incident ended with good samples."""
    CLOSED = "closed"
    """An operator ended it, or its subject was decommissioned or its rule removed."""
    REPEATED = "repeated"
    """An event (an Xid) came again to an open incident: its count grew."""
    ACKNOWLEDGED = "acknowledged"
    """A person took note: no more repeats."""


SILENT_KINDS = frozenset({Kind.PENDING, Kind.CLEARED, Kind.PENDING_LOST})
"""Kinds without an incident: nothing is written of them."""


class Severity(Enum):
    """How much an alert matters; ordered by ``rank``."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for critical."""
        return ("info", "warning", "critical").index(self.value)


class Scope(Enum):
    """What a rule is about: the kind of its subjects."""

    GPU = "gpu"
    MIG = "mig"
    NODE = "node"
