"""/metrics/dcgm: names, labels and units of dcgm-exporter."""

from __future__ import annotations

import re
from dataclasses import replace

from gpufleet.hub.views import XidView
from support.fleet_builder import NOW_MS, FleetBuilder, PublishedHub
from support.http_client import ask, problem

VALUES = {
    "utilization_ratio": 0.97,
    "memory_controller_utilization_ratio": 0.415,
    "tensor_active_ratio": 0.333,
    "memory_used_bytes": 5 * 2**30 + 12345,
    "memory_free_bytes": 75 * 2**30,
    "temperature_celsius": 61,
    "power_watts": 301.5,
    "energy_joules_total": 1234.567,
    "clock_sm_hertz": 1_980_000_000,
    "clock_memory_hertz": 2_619_000_000,
    "fan_speed_ratio": 0.3,
    "throttle_thermal_seconds_total": 1.5,
    "pcie_rx_bytes_total": 7,
}


def hub() -> PublishedHub:
    builder = FleetBuilder()
    builder.node("a")
    builder.node("b")
    builder.nodes["a"] = replace(builder.nodes["a"], facts={"driver_version": "570.1"})
    builder.gpu("a", 0, VALUES, facts={"pci_bus_id": "00000000:1B:00.0"})
    builder.gpu("a", 1, {**VALUES, "power_average_watts": 250.0}, name='odd "name"')
    builder.gpu("b", 0, VALUES, stale=True)
    codes = {13: XidView(3, NOW_MS - 10), 79: XidView(1, NOW_MS)}
    (second,) = (s for s in builder.subjects if s.key == "GPU-a-1")
    return PublishedHub(replace(builder.snapshot(), xids={second.subject_id: codes}))


def lines(path: str = "/metrics/dcgm") -> dict[str, str]:
    """Name and GPU of a series → its value."""
    text = ask(hub(), path).text
    found = re.findall(r'^(\w+)\{gpu="(\d)",.*Hostname="(\w)".*\} (\S+)$', text, re.MULTILINE)
    return {f"{name} {node}{gpu}": value for name, gpu, node, value in found}


def test_units_are_those_of_the_exporter() -> None:
    found = lines()
    assert {
        name.removesuffix(" a0").removeprefix("DCGM_FI_"): value
        for name, value in found.items()
        if name.endswith("a0") and "XID" not in name
    } == {
        "DEV_GPU_UTIL": "97",
        "DEV_MEM_COPY_UTIL": "42",
        "PROF_PIPE_TENSOR_ACTIVE": "0.333",
        "DEV_FB_USED": "5120",
        "DEV_FB_FREE": "76800",
        "DEV_GPU_TEMP": "61",
        "DEV_POWER_USAGE": "301.5",
        "DEV_POWER_USAGE_INSTANT": "301.5",
        "DEV_TOTAL_ENERGY_CONSUMPTION": "1234567",
        "DEV_SM_CLOCK": "1980",
        "DEV_MEM_CLOCK": "2619",
        "DEV_FAN_SPEED": "30",
        "DEV_THERMAL_VIOLATION": "1500000000",
    }
    assert found["DCGM_FI_DEV_POWER_USAGE a1"] == "250"


def test_labels_are_those_of_the_exporter() -> None:
    text = ask(hub(), "/metrics/dcgm").text
    labels = (
        '{gpu="0",UUID="GPU-a-0",pci_bus_id="00000000:1B:00.0",device="nvidia0",'
        'modelName="NVIDIA H100 80GB HBM3",Hostname="a",DCGM_FI_DRIVER_VERSION="570.1"}'
    )
    assert f"DCGM_FI_DEV_GPU_TEMP{labels} 61\n" in text
    assert 'modelName="odd \\"name\\""' in text
    assert text.count("# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter") == 1


def test_stale_gpus_leave_and_one_node_can_be_asked() -> None:
    assert {name[-2:] for name in lines()} == {"a0", "a1"}
    assert lines("/metrics/dcgm?node=b") == {}
    assert "There is no node" in problem(hub(), "/metrics/dcgm?node=c", 404)


def test_the_newest_xid_is_told_and_0_for_none() -> None:
    found = lines()
    assert (found["DCGM_FI_DEV_XID_ERRORS a0"], found["DCGM_FI_DEV_XID_ERRORS a1"]) == ("0", "79")
