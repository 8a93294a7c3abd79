"""Methods nvml and bash on the same scripted boards say the same, field by field."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.agent.smi.log import parse
from gpufleet.proto.catalog import BY_ID
from support import fake_gpus
from support.fake_driver import missing
from support.fake_gpus import Gpu
from support.fake_smi import gpu, log, mig_device
from support.nvml_session import session
from support.smi_of_gpu import log_entry

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

MEBIBYTE = 1 << 20
ROUNDING = {
    "bytes": MEBIBYTE / 2,
    "watts": 0.005,
    "seconds": 0.001,
}
"""What nvidia-smi's own rounding can change, by unit."""

NOT_IN_THE_LOG = {
    "energy_joules_total",
    "pcie_rx_bytes_total",
    "pcie_tx_bytes_total",
    "nvlink_rx_bytes_total",
    "nvlink_tx_bytes_total",
    "nvlink_errors_total",
}
FACTS_NOT_IN_THE_LOG = {
    "compute_capability",
    "cores",
    "memory_bus_width_bits",
    "fan_count",
    "nvlink_count",
}
FACTS_OF_BASH_ONLY = {"brand"}

BOARDS = {
    "h100": fake_gpus.h100(0),
    "geforce": fake_gpus.geforce(0),
    "vgpu guest": fake_gpus.vgpu_guest(0),
    "gb200": fake_gpus.gb200(0),
    "mig parent": fake_gpus.mig_parent(0),
    "pascal": fake_gpus.pascal(0),
    "busy and sick": {
        **fake_gpus.h100(0),
        "throttle": "0x64",
        "temp": 91,
        "margin": -3,
        "power": 699_994,
        "memory.used": 70_000 * MEBIBYTE + 400_000,
        "ecc.uncorrected_volatile": 7,
        "remapped.pending": 1,
        "remapped.uncorrectable": 2,
        "recovery_action": 4,
        "ecc.sram_threshold": 1,
        "violation.thermal": 5_432_100_000,
    },
}


@pytest.mark.parametrize("board", BOARDS, ids=list(BOARDS))
def test_nvml_and_bash_agree(tmp_path: Path, board: str) -> None:
    state: Gpu = BOARDS[board]
    (bash,) = parse(log([log_entry(0, state)]).encode()).gpus
    assert bash.fault is None
    with session(tmp_path, [state]) as nvml:
        (subject,) = nvml.start()
        reading = nvml.read()
    assert reading.values is not None
    by_nvml, by_bash = dict(reading.values), dict(bash.values)
    for id in {*by_nvml, *by_bash}:
        metric = BY_ID[id]
        if metric.name in NOT_IN_THE_LOG or (metric.name == "fan_speed_ratio" and "fan.1" in state):
            continue  # nvidia-smi knows one fan only, nvml the fastest
        assert id in by_nvml, f"only bash has {metric.name}"
        assert id in by_bash, f"only nvml has {metric.name}"
        difference = abs(metric.value(by_nvml[id]) - metric.value(by_bash[id]))
        assert difference <= ROUNDING.get(metric.unit, 0), metric.name
    facts = {k: v for k, v in subject.facts.items() if k not in FACTS_NOT_IN_THE_LOG}
    assert facts == {k: v for k, v in bash.facts.items() if k not in FACTS_OF_BASH_ONLY}
    assert (subject.key, subject.name, subject.index) == (bash.uuid, bash.name, bash.index)


def test_nvml_and_bash_agree_on_mig_devices(tmp_path: Path) -> None:
    state = fake_gpus.mig_h100(0)
    devices = []
    for place in (0, 2, 5):
        its = {k.removeprefix(f"mig.{place}."): v for k, v in state.items()}
        memory = {
            f"fb_memory_usage/{part}": f"{int(its[f'memory.{part}']) // MEBIBYTE} MiB"
            for part in ("total", "reserved", "used", "free")
        }
        engines = {"copy_engine": 1, "encoder": 0, "decoder": 1, "jpg": 0, "ofa": 0}
        counts = {f"device_attributes/shared/{k}_count": str(v) for k, v in engines.items()}
        devices.append({**mig_device(place, int(its["gi"]), int(its["ci"])), **memory, **counts})
    (bash,) = parse(log([gpu(0, mig=devices)]).encode()).gpus
    with session(tmp_path, [state]) as nvml:
        nvml.start()
        for at, device in enumerate(bash.mig, start=1):
            subject = nvml.subjects[at]
            facts = {k: v for k, v in subject.facts.items() if k not in ("uuid", "profile")}
            assert (subject.index, facts) == (device.index, device.facts)
            assert nvml.read(at).values == device.values
