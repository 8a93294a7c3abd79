"""What is asked of the hub and when, with a hub that a test scripts, and with a real one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from gpufleet.alerting.state import State
from gpufleet.client import group_rows
from gpufleet.client.address import Query
from gpufleet.client.errors import HubError, Refused
from gpufleet.client.hub import Hub
from gpufleet.tui import alerts_asking, asking
from gpufleet.tui.asking import Wants
from gpufleet.tui.board import Board
from gpufleet.tui.detail_asker import DetailAsker
from gpufleet.tui.feed import Feed
from gpufleet.tui.list_asker import ListAsker
from gpufleet.tui.picture import Alert
from gpufleet.tui.side_asker import SideAsker
from gpufleet.tui.state import Acknowledge, Silence
from support.published_alerts import incident
from support.tui_hub import TuiHub, calm
from support.tui_rows import NOW_MS, fleet, row, rows


class Scripted:
    """Answers by path; an exception is raised. Keeps what was asked."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def get(self, path: str, query: Query | None = None) -> Any:
        self.asked.append((path, dict(query or {})))
        return self._answer(path)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        self.asked.append((path, dict(body)))
        return self._answer(path)

    def close(self) -> None:
        self.asked.append(("closed", {}))

    def _answer(self, path: str) -> Any:
        found = self.answers.get(path, Refused(404, f"There is nothing at {path}."))
        if isinstance(found, Exception):
            raise found
        return found

    def queries(self, path: str) -> list[dict[str, Any]]:
        return [query for asked, query in self.asked if asked == path]


def board() -> Board:
    return Board(lambda: None)


def answers(count: int) -> dict[str, Any]:
    found = rows(count)
    return {
        "/api/v1/fleet": fleet(count),
        "/api/v1/gpus": {"gpus": found, "total": count},
    }


def lister(hub: Scripted, of: Board, interval: float = 1.0) -> ListAsker:
    return ListAsker(hub, of, interval, lambda: NOW_MS)


def test_a_small_fleet_is_asked_for_with_all_its_fields_each_time() -> None:
    hub, of = Scripted(answers(8)), board()
    asker = lister(hub, of)
    asker.step()
    asker.step()
    fields = [query["fields"] for query in hub.queries("/api/v1/gpus")]
    assert len(fields) == 2
    assert "clock_sm_hertz" in fields[0]
    known = of.known()
    assert (len(known.rows), known.taken_ms, known.list_version) == (8, NOW_MS, 2)


def test_a_large_fleet_is_asked_for_sparsely_and_only_what_is_seen_is_fresh() -> None:
    hub, of = Scripted(answers(1000)), board()
    asker = lister(hub, of)
    of.want(Wants(visible=("GPU-node-1-0", 'GPU "odd"')))
    asker.step()
    asker.step()
    whole, fresh, again = hub.queries("/api/v1/gpus")
    assert "clock_sm_hertz" not in whole["fields"]
    assert whole["filter"] == ""
    assert fresh["filter"] == again["filter"] == 'uuid=GPU-node-1-0 or uuid="GPU \\"odd\\""'
    assert "clock_sm_hertz" in fresh["fields"]


def test_folded_nodes_that_are_seen_are_summed_up_by_the_hub() -> None:
    hub, of = Scripted(answers(1000)), board()
    spread = {"gpus": 8, "mean": 0.5, "min": 0.1, "max": 61}
    total = {"gpus": 8, "sum": 640}
    group = {
        "group": "node 7", "gpus": 8, "stale": 1, "processes": 5,
        "by_health": {"healthy": 6, "caution": 1, "warning": 0, "critical": 0, "unknown": 1},
        **dict.fromkeys(("utilization_ratio", "temperature_celsius", "fan_speed_ratio"), spread),
        **dict.fromkeys(("memory_used_bytes", "memory_total_bytes", "power_watts",
                         "power_limit_watts"), total),
    }  # fmt: skip
    hub.answers["/api/v1/groups"] = {"groups": [group]}
    asker = lister(hub, of)
    wants = Wants(filter="temp>1", folded=("node 7", "node-8"))
    of.want(wants)
    asker.step()
    (query,) = hub.queries("/api/v1/groups")
    assert query["filter"] == '(temp>1) and (node="node 7" or node=node-8)'
    row_of = of.known().fresh["node:node 7"]
    assert (row_of["health"], row_of["levels"], row_of["temperature_celsius"]) == (
        1,
        (6, 1, 0, 0),
        61,
    )
    assert (row_of["memory_used_ratio"], row_of["stale"], row_of["count"]) == (1.0, False, 8)
    assert not asker.hurry(wants)  # though nobody told of node-8


def test_another_filter_is_reason_to_hurry_and_is_asked_for_at_once() -> None:
    hub, of = Scripted(answers(1000)), board()
    asker = lister(hub, of)
    asker.step()
    assert not asker.hurry(Wants())
    wants = Wants(filter="temp>85")
    assert asker.hurry(wants)
    of.want(wants)
    asker.step()
    assert hub.queries("/api/v1/gpus")[-1]["filter"] == "temp>85"
    assert not asker.hurry(wants)


def test_many_nodes_are_asked_for_in_several_filters() -> None:
    nodes = [f"node-{'x' * 50}-{i}" for i in range(120)]
    found = group_rows.filters("temp>1", nodes)
    assert len(found) > 3
    assert all(len(text) < 2000 for text in found)
    assert sum(text.count("node=") for text in found) == 120
    assert group_rows.filters("", []) == []


def test_a_gpu_that_scrolls_into_sight_is_reason_to_hurry() -> None:
    hub, of = Scripted(answers(1000)), board()
    asker = lister(hub, of)
    asker.step()
    assert asker.hurry(Wants(visible=("GPU-node-1-0",)))


def test_a_hub_that_does_not_answer_keeps_the_last_rows_and_their_time() -> None:
    hub, of = Scripted(answers(3)), board()
    asker = lister(hub, of)
    asker.step()
    hub.answers["/api/v1/fleet"] = HubError("The hub does not answer.")
    asker.step()
    known = of.known()
    assert (known.trouble, len(known.rows)) == ("The hub does not answer.", 3)
    hub.answers["/api/v1/fleet"] = fleet(3)
    asker.step()
    assert of.known().trouble == ""


def test_a_filter_that_the_hub_refuses_is_told_as_such() -> None:
    hub, of = Scripted(answers(3)), board()
    hub.answers["/api/v1/gpus"] = Refused(400, "Filter, character 1: no.")
    of.want(Wants(filter="x"))
    asker = lister(hub, of)
    asker.step()
    known = of.known()
    assert (known.filter_trouble, known.trouble) == ("Filter, character 1: no.", "")
    assert not asker.hurry(Wants(filter="x"))


def detail_hub() -> Scripted:
    series = {
        "unit": "ratio",
        "kind": "gauge",
        "time": ["2026-05-28T20:00:00Z"],
        "n": [1],
        "avg": [0.5],
        "min": [0.1],
        "max": [0.9],
    }
    history = {"step_seconds": 5.0, "source": "samples", "series": {"utilization_ratio": series}}
    return Scripted(
        {
            "/api/v1/gpus/GPU-1": {"uuid": "GPU-1"},
            "/api/v1/gpus/GPU-1/history": history,
            "/api/v1/gpus/GPU-1/events": {"events": [{"message": "Xid 79"}]},
        }
    )


def test_detail_asks_for_the_gpu_its_past_and_its_events() -> None:
    hub, of = detail_hub(), board()
    asker = DetailAsker(hub, of, lambda: NOW_MS)
    assert asker.step() == 3600.0
    assert hub.asked == []
    wants = Wants(detail="GPU-1", end_ms=900_000, columns=200)
    assert asker.hurry(wants)
    of.want(wants)
    asker.step()
    known = of.known()
    assert known.gpu == {"uuid": "GPU-1"}
    assert known.past is not None
    assert (known.past.start_ms, known.past.end_ms) == (NOW_MS - 900_000, NOW_MS)
    point = known.past.series["utilization_ratio"][0]
    assert (point.time_ms, point.mean, point.low, point.high) == (1_779_998_400_000, 0.5, 0.1, 0.9)
    assert known.events == [{"message": "Xid 79"}]
    assert not asker.hurry(wants)
    asker.step()
    assert len(hub.queries("/api/v1/gpus/GPU-1/history")) == 1
    assert len(hub.queries("/api/v1/gpus/GPU-1")) == 2


def test_another_time_is_asked_for_at_once() -> None:
    hub, of = detail_hub(), board()
    asker = DetailAsker(hub, of, lambda: NOW_MS)
    of.want(Wants(detail="GPU-1", end_ms=900_000, columns=200))
    asker.step()
    wants = Wants(detail="GPU-1", start_ms=1000, end_ms=901_000, live=False, columns=200)
    assert asker.hurry(wants)
    of.want(wants)
    asker.step()
    query = hub.queries("/api/v1/gpus/GPU-1/history")[-1]
    assert (query["start"], query["end"]) == ("1.000", "901.000")


def test_a_gpu_that_is_not_there_is_told_without_asking_on_and_on() -> None:
    hub, of = Scripted({}), board()
    asker = DetailAsker(hub, of, lambda: NOW_MS)
    wants = Wants(detail="GPU-9", end_ms=900_000)
    of.want(wants)
    assert asker.step() > 1
    assert "GPU-9" in of.known().gpu_trouble
    assert not asker.hurry(wants)


def alert(key: str, incident: str | None) -> Alert:
    return Alert(key, "Hot", "critical", "firing", "n / GPU 3", incident, "GPU-1", "n")


def test_orders_are_carried_and_what_became_of_them_is_told() -> None:
    hub, of = Scripted({"/api/v1/incidents/a%2Fb/ack": {}, "/api/v1/silences": {}}), board()
    of.learn(alerts=[alert("a/b", "a/b"), alert("Hot GPU-1", None)])
    asker = SideAsker(hub, of, lambda: NOW_MS, 5.0)
    of.order(Acknowledge("a/b", "on it"))
    asker.step()
    (told,) = hub.queries("/api/v1/incidents/a%2Fb/ack")
    assert told["comment"] == "on it"
    assert told["by"]
    assert "Acknowledged" in of.known().note


@pytest.mark.parametrize(
    ("key", "word"), [("Hot GPU-1", "pending yet"), ("gone", "ended meanwhile")]
)
def test_what_cannot_be_acknowledged_is_said(key: str, word: str) -> None:
    hub, of = Scripted({}), board()
    of.learn(alerts=[alert("Hot GPU-1", None)])
    of.order(Acknowledge(key, ""))
    SideAsker(hub, of, lambda: NOW_MS, 5.0).step()
    assert word in of.known().note


def test_a_refused_order_is_told_in_the_hubs_words() -> None:
    hub, of = Scripted({"/api/v1/silences": Refused(403, "Only operators may.")}), board()
    of.learn(alerts=[alert("7", "7")])
    of.order(Silence("7", 3600, "repair"))
    SideAsker(hub, of, lambda: NOW_MS, 5.0).step()
    assert of.known().note == "Only operators may."
    (body,) = hub.queries("/api/v1/silences")
    assert body["ends"] == "+3600s"
    assert [m["name"] for m in body["matchers"]] == ["alertname", "node", "gpu"]


def test_a_hub_without_alerts_is_no_trouble() -> None:
    hub, of = Scripted({}), board()
    SideAsker(hub, of, lambda: NOW_MS, 5.0).step()
    known = of.known()
    assert known.alerts is None
    assert "nothing at /api/v1/alerts" in known.alerts_trouble


def test_rest_of_a_real_hub_is_read_over_one_connection() -> None:
    with TuiHub(calm(8)) as hub:
        rest = Hub(hub.url)
        found, total = asking.rows(rest, "node=node-1 & util>1", ("uuid", "node"), 3)
        assert (len(found), total) == (3, 8)
        only = asking.rows_of(rest, ["GPU-node-1-7", "GPU-gone"], ("uuid", "index"))
        assert only == {"GPU-node-1-7": {"uuid": "GPU-node-1-7", "index": 7}}
        with pytest.raises(Refused, match="did you mean 'temp'"):
            asking.rows(rest, "tmp>1", ("uuid",), 1)
        hub.stop()
        with pytest.raises(HubError, match="does not answer"):
            rest.get("/api/v1/fleet")
        hub.start()
        assert rest.get("/api/v1/fleet")["gpus"]["total"] == 8
        rest.close()


def test_the_threads_bring_news_and_end_with_their_context() -> None:
    news = threading.Event()
    of = Board(news.set)
    before = threading.active_count()
    with TuiHub(calm(2)) as hub:
        with Feed(lambda: Hub(hub.url), of, 0.2):
            assert news.wait(10)
        for thread in threading.enumerate():
            if thread.name.startswith("asks for"):
                thread.join(10)
    assert threading.active_count() <= before + 1
    assert of.known().rows or of.known().alerts_trouble


def test_alerts_of_a_real_hub_are_told_with_who_saw_and_what_silences_them() -> None:
    firing = incident(acknowledged_by="bob", acknowledged_comment="on it", acknowledged_ms=1)
    pending = incident(id="", state=State.PENDING, fired_ms=None, alertname="Full")
    with TuiHub(calm(1), [firing, pending]) as hub:
        rest = Hub(hub.url)
        assert alerts_asking.silence(rest, alerts_asking.alerts(rest)[0], 60, "why").endswith(".")
        first, second = alerts_asking.alerts(rest)
        rest.close()
    assert (first.state, first.place, first.acknowledged) == (
        "firing", "node-1 / GPU 0", "bob: on it",
    )  # fmt: skip
    assert first.silenced.endswith(": why")
    assert "Look at fans and air flow." in first.more
    assert (second.state, second.incident, second.key) == ("pending", None, "Full GPU-node-1-0")


def test_a_bucket_is_spread_over_the_times_that_it_stands_for() -> None:
    assert asking.spread([(0, 1.0)], 60_000, 20_000) == [(0, 1.0), (20_000, 1.0), (40_000, 1.0)]
    assert asking.spread([(7, 1.0)], 1000, 5000) == [(7, 1.0)]
    assert row()["uuid"]
