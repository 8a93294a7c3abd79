"""Two hubs on one PostgreSQL, and a PostgreSQL that freezes: agents follow, and nothing is lost.

``GPUFLEET_CHAOS_SECONDS=600`` (with ``--timeout=0``) goes on killing and freezing hubs for so long.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from sqlalchemy import make_url

from gpufleet.hub.store.database import migrate
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.telemetry_pb2_grpc import TelemetryStub
from support.databases import DATABASE
from support.hub_pair import NODES, Hub, HubPair
from support.postgres_cluster import Cluster, binaries
from support.postgres_pair import primary_and_standby
from support.processes import get, wait_for
from support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.own_database

SECONDS = float(os.environ.get("GPUFLEET_CHAOS_SECONDS", "0"))
TAKE_OVER_SECONDS = 15.0
PAST_HOURS = int(os.environ.get("GPUFLEET_PAST_HOURS", "24"))


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[HubPair]:
    made = HubPair(tmp_path, postgres_url, seconds=2.0)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def frozen_later(postgres: Cluster) -> Iterator[Cluster]:
    """The server, awake again at the end."""
    yield postgres
    postgres.wake()


def _refusal(hub: Hub) -> tuple[grpc.StatusCode, str]:
    """How a stream to this hub ends."""
    with grpc.insecure_channel(f"127.0.0.1:{hub.grpc_port}") as channel:
        call = TelemetryStub(channel).Stream(iter([pb.AgentMessage()]), timeout=30)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        return caught.value.code(), caught.value.details()


def test_a_standby_takes_over_from_a_frozen_hub_and_a_killed_one_and_nothing_is_lost(
    pair: HubPair,
) -> None:
    first, second = pair.hubs
    pair.start_hub(first)
    wait_for(lambda: first.ready, 60, "the first hub is ready")
    pair.start_hub(second)
    wait_for(lambda: "has the database" in second.sentence, 60, "the second hub stands by")
    _stands_by(second)
    pair.start_agents()
    active, standby = first, second
    done: dict[str, list[dict[str, float]]] = {"freeze": [], "kill": []}
    end = time.monotonic() + SECONDS
    dice = random.Random()
    faults = iter(["freeze", "kill"])
    while (fault := next(faults, None)) or time.monotonic() < end:
        fault = fault or dice.choice(["freeze", "kill"])
        time.sleep(dice.uniform(1, 3))  # so that something is under way
        since = time.monotonic()
        active.signal(signal.SIGSTOP if fault == "freeze" else signal.SIGKILL)
        done[fault].append(pair.followed(standby, since))
        if fault == "freeze":
            active.signal(signal.SIGCONT)
        else:
            assert active.process is not None
            active.process.wait()
            pair.start_hub(active)
        wait_for(lambda: "has the database" in active.sentence, 60, "the former one stands by")  # noqa: B023
        active, standby = standby, active
    _stands_by(standby)
    stored, past = pair.compare(active)
    print(f"{len(stored)} samples stored; seconds until a hub and all agents had followed: {done}")
    assert not past
    assert max(each["taken"] for each in done["freeze"] + done["kill"]) < TAKE_OVER_SECONDS


def _stands_by(hub: Hub) -> None:
    assert get(hub.http_port, "/healthz")[0] == 200
    assert hub.sentence.startswith("This hub is standing by: hub ")
    status, body = get(hub.http_port, "/api/v1/fleet")
    assert (status, body["detail"]) == (503, hub.sentence)
    assert _refusal(hub) == (grpc.StatusCode.UNAVAILABLE, hub.sentence)


def test_a_hub_that_ends_in_order_is_followed_at_once(pair: HubPair) -> None:
    first, second = pair.hubs
    pair.start_hub(first)
    wait_for(lambda: first.ready, 60, "the first hub is ready")
    pair.start_hub(second)
    wait_for(lambda: "has the database" in second.sentence, 60, "the second hub stands by")
    first.signal(signal.SIGTERM)
    assert first.process is not None
    assert first.process.wait(60) == 0
    wait_for(lambda: second.ready, 60, "the second hub has taken over")
    log = (pair.home / f"hub-{second.number}.log").read_text()
    assert re.search(r'lease taken epoch=2 .* before=""$', log, re.MULTILINE)  # it was given back


def test_a_frozen_server_does_not_freeze_the_hub(pair: HubPair, frozen_later: Cluster) -> None:
    hub = pair.hubs[0]
    pair.start_hub(hub)
    wait_for(lambda: hub.ready, 60, "the hub is ready")
    pair.start_agents()
    wait_for(lambda: _fresh(hub) == 2 * len(NODES), 60, "all GPUs are there")
    frozen_later.freeze()
    pair.agents["n3"].kill()  # that its node is down is an event, and an event is to be written
    wait_for(lambda: "cannot write to" in hub.sentence, 60, "a commit has failed")
    wait_for(lambda: hub.nodes_up == len(NODES) - 1, 30, "its node is seen to be down")
    before = _newest(hub)
    wait_for(lambda: _newest(hub) > before, 30, "live values go on")
    assert get(hub.http_port, "/metrics")[0] == 200
    status, body = get(hub.http_port, "/api/v1/events")
    assert status == 503
    assert "cannot read" in body["detail"]
    frozen_later.wake()
    wait_for(lambda: hub.ready, 60, "commits succeed again")
    pair.agents["n3"].wait()
    pair.start_agent("n3")
    wait_for(lambda: hub.nodes_up == len(NODES), 60, "all nodes up")
    stored, past = pair.compare(hub, mortal=("n3",))
    assert stored
    assert not past


def test_agents_leave_a_hub_that_alone_is_cut_off_from_the_database(pair: HubPair) -> None:
    first, second = pair.hubs
    server = make_url(pair.url)
    assert server.port is not None
    with TcpProxy(("127.0.0.1", server.port)) as proxy:
        pair.start_hub(first, pair.url.replace(f":{server.port}/", f":{proxy.port}/"))
        wait_for(lambda: first.ready, 60, "the first hub is ready")
        pair.start_hub(second)
        wait_for(lambda: "has the database" in second.sentence, 60, "the second hub stands by")
        pair.start_agents()
        wait_for(lambda: _fresh(first) == 2 * len(NODES), 60, "all GPUs are there")
        proxy.freeze()
        took = pair.followed(second, time.monotonic())
        proxy.thaw()
        proxy.cut()
        wait_for(lambda: "has the database" in first.sentence, 60, "the first hub stands by")
        stored, _ = pair.compare(second)
    print(f"{len(stored)} samples stored; seconds until a hub and all agents had followed: {took}")


def test_a_killed_primary_whose_synchronous_standby_is_promoted_loses_nothing(
    tmp_path: Path,
) -> None:
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with primary_and_standby() as (primary, replica):
        primary.execute(f"CREATE DATABASE {DATABASE}")
        migrate(primary.url(DATABASE))
        hosts = f"host=127.0.0.1:{primary.port}&host=127.0.0.1:{replica.port}"
        url = f"postgresql+psycopg://gpufleet@/{DATABASE}?{hosts}&target_session_attrs=read-write"
        pair = HubPair(tmp_path, url)
        try:
            _fail_over(pair, primary, replica)
        finally:
            pair.close()


def _fail_over(pair: HubPair, primary: Cluster, replica: Cluster) -> None:
    hub = pair.hubs[0]
    pair.start_hub(hub)
    wait_for(lambda: hub.ready, 60, "the hub is ready")
    pair.start_agents("--backfill", str(PAST_HOURS))  # a past of many commits
    wait_for(lambda: _counted(hub, "chunks") > 0, 60, "the past is being committed")
    primary.kill()
    commits = _counted(hub, "commits")
    killed = time.monotonic()
    time.sleep(1)  # until whoever watches over the primary has noticed
    replica.run("pg_ctl", "promote", "-w", "-s", "-D", replica.data)
    promoted = time.monotonic()
    wait_for(lambda: _counted(hub, "commits") > commits and hub.ready, 60, "commits go on")
    gap = time.monotonic() - killed
    wait_for(lambda: _fresh(hub) == 2 * len(NODES), 60, "all GPUs are there")
    stored, past = pair.compare(hub)
    counts = Counter(subject for subject, _ in past if subject.startswith("gpu/"))
    print(
        f"{len(stored) + len(past)} samples stored; commits again {gap:.1f} s after the primary was"
        f" killed, {gap - (promoted - killed):.1f} s after the promotion"
    )
    assert len(counts) == 2 * len(NODES)
    assert set(counts.values()) <= {PAST_HOURS * 360, PAST_HOURS * 360 + 1}


def _counted(hub: Hub, name: str) -> float:
    """One of the hub's own counters."""
    status, text = get(hub.http_port, "/metrics")
    found = re.search(rf"^gpufleet_hub_{name}_total (\S+)$", text, re.MULTILINE)
    return float(found[1]) if status == 200 and found else 0.0


def _fresh(hub: Hub) -> int:
    """GPUs with a value of now."""
    status, body = get(hub.http_port, "/api/v1/fleet")
    return int(body["gpus"]["fresh"]) if status == 200 else 0


def _newest(hub: Hub) -> str:
    """When the newest sample of n0 was taken."""
    status, body = get(hub.http_port, "/api/v1/nodes/n0")
    assert status == 200
    return str(body["sample_time"])
