"""Every question of the client against a hub and an agent as a user runs them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from gpufleet.client import api
from gpufleet.client.alert_documents import Matcher
from gpufleet.client.errors import Refused
from gpufleet.client.filter import parse
from gpufleet.client.hub import Hub
from gpufleet.client.query import ListQuery, only, quoted
from gpufleet.client.row_filter import matches
from support.fleet_builder import FleetBuilder
from support.fleet_processes import FleetProcesses
from support.odd_server import OddServer, http, says
from support.processes import wait_for
from support.served_hub import ServedHub


def all_heard(fleet: FleetProcesses) -> bool:
    """Whether each of the node's three GPUs has sent a sample."""
    rows = fleet.gpus("n-1").values()
    return len(rows) == 3 and all(row["temperature_celsius"] is not None for row in rows)


def test_every_question_is_answered_by_a_real_hub(tmp_path: Path) -> None:
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        fleet.start_agent("n-1", "--method", "sim", "--gpus", "3")
        wait_for(lambda: all_heard(fleet), 30)
        with closing(Hub(f"http://127.0.0.1:{fleet.http_port}")) as hub:
            totals = api.fleet(hub)
            assert (totals.gpus.total, totals.nodes.up) == (3, 1)
            assert api.info(hub).ready
            assert [node.name for node in api.nodes(hub).nodes] == ["n-1"]
            uuids = [gpu.uuid for gpu in api.node(hub, "n-1").gpu_list]
            assert len(uuids) == 3
            page = api.gpus(hub, ListQuery(filter=only(uuids[1]), fields=("temp",)))
            assert [row["uuid"] for row in page.rows] == [uuids[1]]
            gpu = api.gpu(hub, uuids[0])
            assert gpu.dynamic["temperature_celsius"] > 0
            assert api.processes(hub, uuids[0]).uuid == uuids[0]
            (group,) = api.groups(hub, "node", sort="-free", points=3).groups
            assert (group.group, group.gpus, len(group.load or ())) == ("n-1", 3, 3)
            lines = api.sparklines(hub, uuids[:2], points=5).sparklines
            assert [line.uuid for line in lines] == uuids[:2]
            part = api.sparklines(hub, query=ListQuery(sort="-temp", limit=1, fields=("node",)))
            assert len(part.sparklines) == 1
            fields = api.fields(hub)
            assert matches(parse("temp>0 & node=" + quoted("n-1"), fields), {
                "temperature_celsius": 40, "node": "n-1",
            })  # fmt: skip
            metric = ("temperature_celsius",)
            assert api.history(hub, uuids[0], metric).series["temperature_celsius"].time
            assert len(api.histories(hub, metric, uuids=uuids).gpus) == 3
            assert api.group_history(hub, "fleet", metric).group_by == "fleet"
            wait_for(lambda: api.events(hub, limit=5).events, 30)
            assert isinstance(api.events(hub, uuid=uuids[0]).events, tuple)
            assert any(m.name == "power_watts" for m in api.catalog(hub).metrics)
            _alerting(hub)


def _alerting(hub: Hub) -> None:
    alerts = api.alerts(hub)
    assert alerts is not None
    assert alerts.total == len(alerts.alerts)
    incidents = api.incidents(hub, state="all")
    assert incidents is not None
    rules = api.rules(hub)
    assert rules is not None
    assert any(rule.enabled for rule in rules.rules)
    kept = api.silence(
        hub, [Matcher("node", "=", "n-1")], ends="+2h", author="alice", comment="Work on it."
    )
    assert kept.matchers == (Matcher("node", "=", "n-1"),)
    silences = api.silences(hub)
    assert silences is not None
    assert [silence.id for silence in silences.silences] == [kept.id]
    api.unsilence(hub, kept.id)
    with pytest.raises(Refused, match="no incident"):
        api.incident(hub, "none")
    with pytest.raises(Refused):
        api.acknowledge(hub, "none", "alice", "I look at it.")
    with pytest.raises(Refused):
        api.close(hub, "none", "alice")


def test_a_hub_without_alerts_has_none() -> None:
    with OddServer(says(http("404 Not Found", b"{}"))) as server, closing(Hub(server.url)) as hub:
        assert api.alerts(hub) is None
        assert api.incidents(hub) is None
        assert api.silences(hub) is None
        assert api.rules(hub) is None


def test_another_refusal_is_still_one() -> None:
    with (
        OddServer(says(http("503 No", b'{"detail": "It starts."}'))) as server,
        closing(Hub(server.url)) as hub,
        pytest.raises(Refused, match="It starts"),
    ):
        api.alerts(hub)


def test_names_are_told_to_the_hub_whatever_is_in_them() -> None:
    builder = FleetBuilder()
    name = 'a/b "c" \\ ü?#%'
    builder.node(name)
    builder.gpu(name, 0, uuid="GPU/1 ?#")
    with ServedHub(builder.snapshot()) as served, closing(Hub(served.url)) as hub:
        query = ListQuery(filter=f"node={quoted(name)} and {only('GPU/1 ?#')}")
        assert api.gpus(hub, query).total == 1
