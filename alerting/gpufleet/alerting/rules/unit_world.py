"""What the series of a rule's unit test are about: subjects with their values, facts and flags.

The name of a series is a metric's or a fact's name in the rules' language, or as Prometheus has it
(``gpufleet_gpu_…``); its labels say which GPU and node. What only a hub knows has series as well:
``missing``, ``collector_hung``, ``nvlink_down`` of 0 and 1, and ``xid`` with codes as they came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.rules.schema import Schema, nearest
from gpufleet.alerting.rules.series import SeriesError, values_of
from gpufleet.alerting.rules.tree import SAMPLED_FLAGS, FlagName
from gpufleet.alerting.state import Scope

XID = "xid"
FLAGS = {flag.value: flag for flag in FlagName if flag not in SAMPLED_FLAGS}

_SERIES = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\{(.*)\})?\s*", re.DOTALL)
_LABEL = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*"([^"]*)"\s*(?:,|$)')
_PREFIX = re.compile(r"gpufleet_(gpu|mig|node)_")

Values = Sequence[float | None]


class TestFileError(ValueError):
    """A test file that cannot be used; one sentence."""

    __test__ = False


@dataclass(slots=True)
class _Series:
    name: str
    scope: Scope
    labels: Mapping[str, str]
    values: Values


@dataclass(slots=True)
class World:
    """All that one test's series say."""

    schema: Schema
    subjects: dict[tuple[Scope, str], int] = field(default_factory=dict)
    labels: dict[int, Mapping[str, str]] = field(default_factory=dict)
    values: dict[int, dict[str, Values]] = field(default_factory=dict)
    _facts: dict[str, dict[int, Values]] = field(default_factory=dict)
    _flags: dict[FlagName, dict[int, Values]] = field(default_factory=dict)
    _xids: dict[int, Values] = field(default_factory=dict)

    def add(self, series: Mapping[str, Any], test: str) -> None:
        """One entry of ``input_series``; TestFileError for what cannot be understood."""
        one = self._parsed(series, test)
        node = one.labels.get("node", "node")
        gpu = one.labels.get("gpu", "0")
        key = node if one.scope is Scope.NODE else one.labels.get("uuid", f"{node}/{gpu}")
        slot = self._slot(one.scope, key, {**one.labels, "node": node, "gpu": gpu})
        self._slot(Scope.NODE, node, {**one.labels, "node": node, "gpu": gpu})
        if one.name == XID:
            self._xids[slot] = one.values
        elif one.name in FLAGS:
            self._flags.setdefault(FLAGS[one.name], {})[slot] = one.values
        elif one.name in self.schema.facts:
            self._facts.setdefault(one.name, {})[slot] = one.values
        else:
            self.values.setdefault(slot, {})[one.name] = one.values

    def _slot(self, scope: Scope, key: str, labels: Mapping[str, str]) -> int:
        slot = self.subjects.setdefault((scope, key), len(self.subjects))
        self.labels.setdefault(slot, labels)
        return slot

    def _parsed(self, series: Mapping[str, Any], test: str) -> _Series:
        text = str(series.get("series", ""))
        match = _SERIES.fullmatch(text)
        if match is None:
            raise TestFileError(f'{test}: {text[:80]!r} is no series: NAME{{label="…"}}.')
        labels = dict(_LABEL.findall(match[2] or ""))
        if _LABEL.sub("", match[2] or "").strip():
            raise TestFileError(f'{test}: labels of {text[:80]!r} are not NAME="VALUE", ….')
        prefix = _PREFIX.match(match[1])
        name = match[1][prefix.end() :] if prefix else match[1]
        metric = self.schema.metrics.get(name)
        scope = Scope(prefix[1]) if prefix else Scope.GPU
        if metric is not None and scope not in metric.scopes:
            scope = sorted(metric.scopes, key=lambda s: s.value)[0]
        if name in FLAGS and "gpu" not in labels and "uuid" not in labels:
            scope = Scope.NODE
        known = [*self.schema.metrics, *self.schema.facts, *FLAGS, XID]
        if name not in known:
            raise TestFileError(f"{test}: there is no metric {name!r}.{nearest(name, known)}")
        try:
            return _Series(name, scope, labels, values_of(str(series.get("values", ""))))
        except SeriesError as error:
            raise TestFileError(f"{test}: {text}: {error}") from None

    def facts(self, step: int, capacity: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Facts as they are at a step: the newest value that was told."""
        for name, of_slot in self._facts.items():
            found = np.full(capacity, np.nan)
            for slot, values in of_slot.items():
                told = [value for value in values[: step + 1] if value is not None]
                found[slot] = told[-1] if told else np.nan
            yield name, found

    def flags(self, step: int, capacity: int) -> Iterator[tuple[FlagName, NDArray[np.float64]]]:
        """What the hub knows at a step, for every slot."""
        for name, of_slot in self._flags.items():
            found = np.full(capacity, np.nan)
            for slot, values in of_slot.items():
                value = _at(values, step)
                found[slot] = np.nan if value is None else value
            yield name, found

    def xids(self, step: int) -> Iterator[tuple[int, int]]:
        """(slot, code) of the Xids that come at a step."""
        for slot, values in self._xids.items():
            code = _at(values, step)
            if code is not None:
                yield slot, int(code)

    def sample(self, step: int, values: NDArray[np.float64]) -> list[int]:
        """Write the values of a step into (rows, capacity); the slots that have one."""
        here = []
        for slot, series in self.values.items():
            any_value = False
            for name, column in series.items():
                value = _at(column, step)
                values[self.schema.metrics[name].row, slot] = np.nan if value is None else value
                any_value = any_value or value is not None
            if any_value:
                here.append(slot)
        return here


def _at(values: Values, step: int) -> float | None:
    return values[step] if step < len(values) else None
