"""Xids in the hub: meaning added to events, counts for /metrics, over a restart too."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpufleet.hub.api.exposition import Exposition
from gpufleet.hub.api.table import Table
from gpufleet.hub.store.events import events_since
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.views import XidView
from gpufleet.hub.xids import MOST_CODES, XidCounts, described
from gpufleet.proto import telemetry_pb2 as pb
from support.fleet_builder import NOW_MS, FleetBuilder
from support.processes import wait_for
from support.raw_agent import raw_agent
from support.small_hub import small_hub

NOW = time.time_ns() // 1_000_000


def event(code: int, time_ms: int = 1000, subject_id: int = 7, **data: Any) -> EventRow:
    message = f"Xid {code} on GPU 3 (00000000:1A:00.0)."
    return EventRow(subject_id, time_ms, 1, 1, 1, 0, "xid", "warning", message, code, data)


def test_an_xid_is_told_with_what_it_means_and_what_to_do() -> None:
    told = described(event(79, count=1, pci="00000000:1A:00.0"))
    assert told.severity == "critical"
    assert told.message.startswith(
        "Xid 79 on GPU 3 (00000000:1A:00.0): GPU has fallen off the bus. Drain the node"
    )
    assert told.data["class"] == "gpu gone"
    assert told.data["advice"] in told.message
    assert told.data["pci"] == "00000000:1A:00.0"


def test_a_harmless_xid_is_no_warning_and_an_unknown_one_is_told_to_be_unknown() -> None:
    assert described(event(31)).severity == "info"
    assert described(event(99999)).data["title"] == "not in our table"


def test_an_agent_cannot_say_what_an_xid_means() -> None:
    told = described(event(79, **{"class": "information", "advice": "send money"}))
    assert told.data["class"] == "gpu gone"
    assert "money" not in told.message


def test_other_events_stay_as_they_are() -> None:
    other = replace(event(15), kind="gpu_lost")
    assert described(other) is other
    assert not XidCounts().note([other])


def test_each_code_is_counted_by_what_its_events_stand_for() -> None:
    counts = XidCounts()
    assert counts.note([event(31, 1000, count=4), event(31, 3000), event(79, 2000, count="many")])
    held = counts.view()
    assert held == {7: {31: XidView(5, 3000), 79: XidView(1, 2000)}}
    counts.note([event(31, 2500, count=2)])
    assert held[7][31] == XidView(5, 3000)
    assert counts.view()[7][31] == XidView(7, 3000)


def test_codes_without_end_make_no_series_without_end() -> None:
    counts = XidCounts()
    counts.note(event(code) for code in range(1, 1000))
    assert len(counts.view()[7]) == MOST_CODES


def exposed(xids: dict[int, dict[int, XidView]]) -> list[str]:
    builder = FleetBuilder()
    node = builder.node("a")
    builder.gpu(node, 0)
    snapshot = replace(builder.snapshot(), xids=xids)
    return [
        line.split("} ")[-1] + " " + line.split('code="')[1].split('"')[0]
        for line in Exposition().render(Table(snapshot)).decode().splitlines()
        if line.startswith("gpufleet_gpu_xid_")
    ]


def test_metrics_have_count_and_last_time_of_each_code() -> None:
    (gpu,) = (s for s in _snapshot_subjects() if s.kind == "gpu")
    xids = {gpu.subject_id: {79: XidView(2, NOW_MS), 31: XidView(5, NOW_MS - 500)}}
    assert exposed(xids) == [
        "5 31",
        "2 79",
        f"{(NOW_MS - 500) / 1000!r} 31",
        f"{NOW_MS / 1000!r} 79",
    ]
    assert exposed({}) == []


def _snapshot_subjects() -> list[Any]:
    builder = FleetBuilder()
    builder.gpu(builder.node("a"), 0)
    return [subject for subject in builder.snapshot().subjects if subject is not None]


def test_an_xid_of_an_agent_is_stored_counted_and_remembered_over_a_restart(
    tmp_path: Path,
) -> None:
    with small_hub(tmp_path) as hub, raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        sent = pb.Event(
            time_ms=NOW,
            kind="xid",
            subject_kind="gpu",
            subject_key="GPU-a",
            severity="warning",
            code=48,
            message="Xid 48 on GPU 0.",
            data_json=json.dumps({"count": 3}),
        )
        agent.say(epoch=1, seq=1, events=pb.Events(events=[sent]))
        agent.say(epoch=1, seq=1, events=pb.Events(events=[sent]))
        wait_for(lambda: hub.core.fleet.xids, what="the Xid")
        hub.call(hub.core.pulse)
        snapshot = hub.call(hub.core.snapshot)
        subject = snapshot.subjects[snapshot.slots["GPU-a"]]
        assert subject is not None
        assert snapshot.xids[subject.subject_id] == {48: XidView(3, NOW)}
        assert subject.health.level == 3
        assert hub.flush()
        with hub.database.reading() as connection:
            (row,) = events_since(connection, "xid", NOW - 1000)
            assert events_since(connection, "xid", NOW + 1) == []
            assert events_since(connection, "gpu_lost", 0) == []
    assert row.severity == "critical"
    assert row.data["class"] == "needs reset"
    counts = XidCounts()
    counts.note([row])
    assert counts.view()[row.subject_id] == {48: XidView(3, NOW)}
