"""/metrics: names, absence, staleness, stable series, hostile labels, and what promtool says."""

from __future__ import annotations

import gzip
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gpufleet.hub.api.exposition import Exposition
from gpufleet.hub.api.metrics_routes import deflated, inflated, joined
from gpufleet.hub.api.table import Table
from gpufleet.hub.views import Snapshot
from gpufleet.proto import catalog
from support.fleet_builder import NOW_MS, FleetBuilder, PublishedHub, large_fleet
from support.http_client import ask

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def series(text: str) -> Series:
    """Every line by name and labels; a line that comes twice fails."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def rendered(snapshot: Snapshot) -> Series:
    return series(Exposition().render(Table(snapshot)).decode())


def named(found: Series, name: str) -> list[tuple[dict[str, str], float]]:
    return [(dict(labels), value) for (of, labels), value in found.items() if of == name]


def rich_fleet() -> FleetBuilder:
    builder = FleetBuilder()
    everything = {m.name: 1.0 for m in catalog.metrics(catalog.SubjectKind.GPU)}
    host = {m.name: 2.0 for m in catalog.metrics(catalog.SubjectKind.NODE)}
    a = builder.node("a", host, labels={"rack-no": "r1", "rack.no": "r2", "größe": "x"})
    builder.gpu(a, 0, everything)
    builder.gpu(a, 1, fault="lost", stale=True, level=3)
    mig = {m.name: 3.0 for m in catalog.metrics(catalog.SubjectKind.MIG)}
    builder.gpu(a, 0, mig, uuid="MIG-1", kind="mig", parent="GPU-a-0", name="MIG 1g.10gb")
    b = builder.node("b", up=False, hung_since_ms=NOW_MS)
    builder.gpu(b, 0, stale=True, level=2)
    builder.node("c", last_tick_ms=None, hung_since_ms=NOW_MS - 1000)
    builder.process(a, "GPU-a-0", 1)
    builder.process(a, "MIG-1", 2)
    builder.process(a, "GPU-a-1", 3, memory_bytes=None)
    builder.process(a, "GPU-a-0", 4, user="bob", memory_bytes=None)
    builder.process(a, "GPU-a-0", 5, user=None)
    builder.process(b, "GPU-b-0", 6)
    return builder


def test_a_metric_is_a_gauge_or_counter_with_the_gpus_labels() -> None:
    builder = FleetBuilder()
    builder.node("n")
    builder.gpu("n", 3)
    text = Exposition().render(Table(builder.snapshot())).decode()
    labels = '{node="n",gpu="3",gpu_uuid="GPU-n-3",gpu_name="NVIDIA H100 80GB HBM3"}'
    assert f"\ngpufleet_gpu_temperature_celsius{labels} 61\n" in text
    assert f"\ngpufleet_gpu_utilization_ratio{labels} 0.215\n" in text
    assert "# TYPE gpufleet_gpu_temperature_celsius gauge\n" in text
    assert "# TYPE gpufleet_gpu_energy_joules_total counter\n" in text
    assert text.endswith("\n")
    assert "\n\n" not in text


def test_every_metric_of_the_catalogue_has_its_series() -> None:
    found = rendered(rich_fleet().snapshot())
    names = {name for name, _ in found}
    for kind in catalog.SubjectKind:
        for metric in catalog.metrics(kind):
            if metric.kind is not catalog.Kind.BITS:
                assert metric.prometheus(kind) in names
    [(labels, value)] = named(found, "gpufleet_mig_memory_used_bytes")
    assert value == 3
    assert labels == {
        "node": "a",
        "gpu": "0",
        "gpu_uuid": "GPU-a-0",
        "gpu_name": "NVIDIA H100 80GB HBM3",
        "mig": "0",
        "mig_uuid": "MIG-1",
        "mig_name": "MIG 1g.10gb",
    }


def test_what_is_absent_has_no_line() -> None:
    builder = FleetBuilder()
    builder.node("n", last_tick_ms=None)
    builder.gpu("n", 0, {}, level=None)
    names = {name for name, _ in rendered(builder.snapshot())}
    assert names == {
        "gpufleet_gpu_up",
        "gpufleet_gpu_info",
        "gpufleet_node_up",
        "gpufleet_node_info",
        "gpufleet_node_gpus",
    }


def test_an_empty_fleet_has_no_line_at_all() -> None:
    assert Exposition().render(Table(FleetBuilder().snapshot())) == b""


def test_a_silent_node_stays_as_down_and_its_gpus_values_leave() -> None:
    found = rendered(rich_fleet().snapshot())
    up = {labels["node"]: value for labels, value in named(found, "gpufleet_node_up")}
    assert up == {"a": 1, "b": 0, "c": 1}
    of_b = {name for name, labels in found if ("node", "b") in labels}
    assert of_b == {
        "gpufleet_gpu_up",
        "gpufleet_gpu_info",
        "gpufleet_node_up",
        "gpufleet_node_info",
        "gpufleet_node_gpus",
        "gpufleet_node_last_sample_timestamp_seconds",
    }


def test_a_lost_gpu_of_a_node_that_is_up_keeps_its_fault_and_health() -> None:
    found = rendered(rich_fleet().snapshot())
    [(labels, value)] = named(found, "gpufleet_gpu_fault")
    assert (labels["gpu_uuid"], labels["state"], value) == ("GPU-a-1", "lost", 1)
    [(_, since)] = named(found, "gpufleet_gpu_fault_since_timestamp_seconds")
    assert since == NOW_MS / 1000 - 5
    health = {of["gpu_uuid"]: value for of, value in named(found, "gpufleet_gpu_health")}
    assert health == {"GPU-a-0": 0, "GPU-a-1": 3}
    of_lost = {name for name, labels in found if ("gpu_uuid", "GPU-a-1") in labels}
    assert "gpufleet_gpu_temperature_celsius" not in of_lost


def test_a_hung_collector_says_since_when() -> None:
    [(labels, value)] = named(
        rendered(rich_fleet().snapshot()), "gpufleet_node_collector_hung_since_timestamp_seconds"
    )
    assert (labels, value) == ({"node": "c"}, NOW_MS / 1000 - 1)


def test_a_changing_health_changes_values_and_never_series() -> None:
    def fleet(level: int) -> Snapshot:
        builder = FleetBuilder()
        builder.node("n")
        builder.gpu("n", 0, level=level, reasons=(f"Reason {level}.",))
        return builder.snapshot()

    healthy, critical = rendered(fleet(0)), rendered(fleet(3))
    assert set(healthy) == set(critical)
    states = {of["state"]: value for of, value in named(critical, "gpufleet_gpu_health_state")}
    assert states == {"healthy": 0, "caution": 0, "warning": 0, "critical": 1}


def test_each_throttle_reason_is_a_series_and_unknown_bits_are_not_lost() -> None:
    builder = FleetBuilder()
    builder.node("n")
    builder.gpu("n", 0, {"throttle_reasons": 0x4 | 0x4000})
    found = named(rendered(builder.snapshot()), "gpufleet_gpu_throttle_active")
    active = {labels["reason"]: value for labels, value in found}
    assert active == {
        **dict.fromkeys(catalog.THROTTLE_REASONS.values(), 0),
        "sw_power_cap": 1,
        "bit_0x4000": 1,
    }


def test_users_are_counted_by_gpu_and_never_by_process() -> None:
    found = rendered(rich_fleet().snapshot())
    gpus = {(of["node"], of["user"]): v for of, v in named(found, "gpufleet_user_gpus")}
    assert gpus == {("a", "alice"): 2, ("a", "bob"): 1}
    memory = {(of["node"], of["user"]): v for of, v in named(found, "gpufleet_user_memory_bytes")}
    assert memory == {("a", "alice"): 2 * 2**30}


def test_a_nodes_facts_and_labels_are_in_its_info_only() -> None:
    found = rendered(rich_fleet().snapshot())
    info = {of["node"]: of for of, _ in named(found, "gpufleet_node_info")}
    assert info["a"] == {
        "node": "a",
        "method": "sim",
        "agent_version": "0.1.0",
        "driver_version": "570.1",
        "label_gr__e": "x",
        "label_rack_no": "r1",
    }


HOSTILE = st.text(max_size=20) | st.sampled_from(['"', "\\", "\n", 'x"} 1\n', "\ud800", "\x00"])


@given(HOSTILE, HOSTILE, HOSTILE)
def test_hostile_names_stay_inside_their_labels(name: str, key: str, user: str) -> None:
    builder = FleetBuilder()
    builder.node(name, labels={key: user}, facts={"os": key})
    builder.gpu(name, 0, name=key, uuid="GPU-1", facts={"serial": user}, fault=user)
    builder.process(name, "GPU-1", 1, user=user)
    text = Exposition().render(Table(builder.snapshot())).decode()
    plain = FleetBuilder()
    plain.node("n", labels={"k": "v"}, facts={"os": "o"})
    plain.gpu("n", 0, uuid="GPU-1", facts={"serial": "s"}, fault="f")
    plain.process("n", "GPU-1", 1)
    expected = Exposition().render(Table(plain.snapshot())).decode()
    assert text.count("\n") == expected.count("\n")
    found = [labels for labels, _ in named(series(text.replace("\r", "?")), "gpufleet_gpu_up")]
    sound = name.encode("utf-8", "replace").decode().replace("\r", "?")
    assert [labels["node"] for labels in found] == [sound]


def test_one_node_can_be_asked_for_alone() -> None:
    hub = PublishedHub(rich_fleet().snapshot())
    whole, alone = ask(hub, "/metrics", "/metrics?node=b")
    assert whole.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'node="a"' in whole.text
    assert 'node="a"' not in alone.text
    assert 'gpufleet_node_up{node="b"} 0' in alone.text


def test_the_hubs_own_numbers_are_there_packed_or_not_and_always_new() -> None:
    hub = PublishedHub(rich_fleet().snapshot())
    plain = ask(hub, "/metrics", **{"accept-encoding": "identity"})
    packed = ask(hub, "/metrics", **{"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text == plain.text
    assert plain.text.endswith("gpufleet_hub_test 7.0\n")


@given(st.binary(max_size=3000), st.binary(max_size=300))
def test_a_packed_text_with_a_tail_is_one_sound_gzip_member(first: bytes, tail: bytes) -> None:
    assert gzip.decompress(joined(deflated([first]), tail)) == first + tail
    assert b"".join(inflated(deflated([first, first]), tail)) == first + first + tail


def test_labels_that_are_kept_follow_a_fleet_that_changes() -> None:
    exposition = Exposition()
    before = FleetBuilder()
    before.node("n")
    before.gpu("n", 0, uuid="GPU-1")
    assert b'gpu="0",gpu_uuid="GPU-1"' in exposition.render(Table(before.snapshot()))
    after = FleetBuilder()
    after.node("m")
    after.gpu("m", 4, uuid="GPU-1")
    text = exposition.render(Table(after.snapshot()))
    assert b'node="m",gpu="4",gpu_uuid="GPU-1"' in text
    assert b'node="n"' not in text


def test_eight_thousand_gpus_have_every_series_once() -> None:
    snapshot = large_fleet()
    text = Exposition().render(Table(snapshot))
    lines = [line for line in text.splitlines() if not line.startswith(b"#")]
    identities = [line.rpartition(b" ")[0] for line in lines]
    assert len(set(identities)) == len(identities)
    assert sum(line.startswith(b"gpufleet_gpu_temperature_celsius{") for line in lines) == 8000


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("fleet", [rich_fleet(), FleetBuilder()])
def test_promtool_finds_nothing_to_say(fleet: FleetBuilder) -> None:
    text = ask(PublishedHub(fleet.snapshot()), "/metrics").text
    result = subprocess.run(
        ["promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_info_follows_facts_that_change() -> None:
    exposition = Exposition()
    for serial in ("one", "two"):
        builder = FleetBuilder()
        builder.node("n")
        builder.gpu("n", 0, uuid="GPU-1", facts={"serial": serial})
        text = exposition.render(Table(builder.snapshot())).decode()
        [(labels, _)] = named(series(text), "gpufleet_gpu_info")
        assert labels["serial"] == serial
