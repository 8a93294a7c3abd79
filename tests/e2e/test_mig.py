"""MIG devices on their whole way: driver, agent, hub, and a partition that changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from support import fake_gpus
from support.fake_driver import FakeDriver, missing
from support.processes import running, wait_for
from support.small_hub import SmallHub, small_hub

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def mig_memory(hub: SmallHub) -> Mapping[str, float]:
    """Memory in use of the MIG devices that have a value now, by UUID."""
    hub.call(hub.core.pulse)
    snapshot = hub.call(hub.core.snapshot)
    row = snapshot.rows.get(10)
    return {
        subject.key: float(snapshot.values[row, subject.slot])
        for subject in snapshot.subjects
        if subject is not None
        and subject.kind == "mig"
        and not snapshot.stale[subject.slot]
        and row is not None
        and snapshot.values[row, subject.slot] == snapshot.values[row, subject.slot]
    }


def test_children_reach_the_hub_and_end_when_the_gpu_is_partitioned_anew(tmp_path: Path) -> None:
    first, _, small = (fake_gpus.mig_uuid(0, place) for place in (0, 2, 5))
    mib = 1 << 20
    driver = FakeDriver(tmp_path, [fake_gpus.mig_h100(0)])
    with small_hub(tmp_path) as hub:
        arguments = ["--method", "nvml", "--hub", f"127.0.0.1:{hub.port}", "--node", "n1"]
        arguments += ["--slow-interval", "1", "--state-dir", str(tmp_path / "state")]
        with running("agent", "run", *arguments, log=tmp_path / "log", extra=driver.env()):
            expected = {first: 1500 * mib, small: 12 * mib}
            wait_for(lambda: mig_memory(hub) == expected, what="the MIG devices")
            parents = {s.parent for s in hub.call(hub.core.snapshot).subjects if s and s.parent}
            assert parents == {fake_gpus.uuid(0)}
            driver.unset("gpu.0.mig.5.uuid")
            driver.set(
                {f"gpu.0.{k}": v for k, v in fake_gpus.mig_device(0, 1, "1g.10gb", 7, 0, 3).items()}
            )
            expected = {first: 1500 * mib, fake_gpus.mig_uuid(0, 1): 3 * mib}
            wait_for(lambda: mig_memory(hub) == expected, what="the new partition")
