"""The client's documents are the hub's: held against the hub's own models and examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gpufleet.client import alert_documents as alerting
from gpufleet.client import documents as now
from gpufleet.client import history_documents as past
from gpufleet.client.decode import read
from gpufleet.client.errors import Broken
from gpufleet.hub.api import alert_examples, alert_schemas, examples, schemas

MODELS: Mapping[Any, type[BaseModel]] = {
    now.Fleet: schemas.Fleet,
    now.AlertCounts: schemas.AlertCounts,
    now.SeverityCounts: schemas.SeverityCounts,
    now.HealthCounts: schemas.HealthCounts,
    now.NodeCounts: schemas.NodeCounts,
    now.GpuCounts: schemas.GpuCounts,
    now.Spread: schemas.Spread,
    now.Total: schemas.Sum,
    now.Node: schemas.NodeRow,
    now.NodePage: schemas.NodePage,
    now.NodeGpu: schemas.NodeGpu,
    now.NodeDetail: schemas.NodeDocument,
    now.Process: schemas.Process,
    now.ProcessList: schemas.ProcessList,
    now.Verdict: schemas.Health,
    now.Fault: schemas.Fault,
    now.Mig: schemas.MigDocument,
    now.Gpu: schemas.GpuDocument,
    now.Names: schemas.Names,
    now.Group: schemas.GroupRow,
    now.GroupPage: schemas.GroupPage,
    now.Sparkline: schemas.Sparkline,
    now.Sparklines: schemas.Sparklines,
    now.EventSubject: schemas.EventSubject,
    now.Event: schemas.Event,
    now.EventPage: schemas.EventPage,
    now.Metric: schemas.CatalogMetric,
    now.Catalog: schemas.Catalog,
    past.History: schemas.History,
    past.GpuHistory: schemas.GpuHistory,
    past.Histories: schemas.Histories,
    past.GroupSeries: schemas.Group,
    past.GroupHistory: schemas.GroupHistory,
    alerting.Alert: alert_schemas.Incident,
    alerting.AlertPage: alert_schemas.AlertPage,
    alerting.IncidentPage: alert_schemas.IncidentPage,
    alerting.Happening: alert_schemas.Happening,
    alerting.Matcher: alert_schemas.MatcherDocument,
    alerting.Silence: alert_schemas.SilenceDocument,
    alerting.SilenceList: alert_schemas.SilenceList,
    alerting.Rule: alert_schemas.RuleRow,
    alerting.RuleProblem: alert_schemas.RuleProblem,
    alerting.RuleList: alert_schemas.RuleList,
    alerting.Signature: alert_schemas.Signature,
}


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_every_field_is_one_that_the_hub_tells(kind: Any) -> None:
    told = set(MODELS[kind].model_fields)
    assert {field.name for field in dataclasses.fields(kind)} <= told


EXAMPLES = [
    (now.Fleet, examples.FLEET),
    (now.GroupPage, examples.GROUPS),
    (now.Sparklines, examples.SPARKLINES),
    (now.ProcessList, examples.PROCESSES),
    (now.EventPage, examples.EVENTS),
    (past.History, examples.HISTORY),
    (past.Histories, examples.HISTORIES),
    (past.GroupHistory, examples.GROUP_HISTORY),
    (alerting.AlertPage, alert_examples.ALERTS),
    (alerting.Alert, alert_examples.INCIDENT),
    (alerting.IncidentPage, alert_examples.INCIDENTS),
    (alerting.IncidentHistory, alert_examples.INCIDENT_DETAIL),
    (alerting.SilenceList, alert_examples.SILENCES),
    (alerting.RuleList, alert_examples.RULES),
]


@pytest.mark.parametrize(
    ("kind", "example"), EXAMPLES, ids=lambda one: getattr(one, "__name__", "")
)
def test_the_hubs_examples_are_understood(kind: Any, example: Any) -> None:
    found = read(kind, example)
    assert isinstance(found, kind)


def test_numbers_lists_and_absent_values_keep_what_they_are() -> None:
    found = read(now.ProcessList, examples.PROCESSES)
    (process,) = found.processes
    assert (process.pid, process.memory_bytes, process.container) == (4242, 76235669504, None)
    history = read(past.History, examples.HISTORY)
    series = history.series["power_watts"]
    assert series.avg == (612.40312, 598.77104)
    assert series.increase is None


def test_what_a_newer_hub_adds_is_passed_over() -> None:
    assert read(now.NodeCounts, {"total": 1, "up": 1, "down": 0, "asleep": 4}).total == 1


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ([], "the answer is []"),
        (None, "the answer is None"),
        ({"total": 1, "up": 1}, "the answer has no down"),
        ({"total": "1", "up": 1, "down": 0}, "total is '1'"),
        ({"total": True, "up": 1, "down": 0}, "total is True"),
        ({"total": 1, "up": None, "down": 0}, "up is None"),
        ({"total": ["x" * 100], "up": 1, "down": 0}, "..."),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(document: Any, part: str) -> None:
    with pytest.raises(Broken) as caught:
        read(now.NodeCounts, document)
    assert part in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(EXAMPLES), st.data())
def test_a_document_with_anything_wrong_is_one_all_the_same_or_broken(
    pair: tuple[Any, Any], data: st.DataObject
) -> None:
    kind, example = pair
    name = data.draw(st.sampled_from(sorted(example)))
    with suppress(Broken):
        assert isinstance(read(kind, {**example, name: data.draw(JSON)}), kind)
