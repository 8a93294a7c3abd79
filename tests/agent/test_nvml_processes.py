"""Process lists through the real pynvml: merged by pid, with users and programs from /proc."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import fake_gpus
from support.fake_driver import FakeDriver, missing
from support.nvml_session import Session, session
from support.proc_tree import add_process, proc_tree

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

MIB = 1 << 20


def rows(s: Session) -> dict[int, tuple[str, int | None, int | None]]:
    return {
        p.pid: (p.type, p.memory_bytes, p.utilization_permille)
        for p in s.collector.processes(s.subjects[0])
    }


def test_a_process_has_its_user_program_start_and_use(tmp_path: Path) -> None:
    proc_tree(tmp_path / "proc")
    add_process(
        tmp_path / "proc", 4711, ["/usr/bin/python3", "-u", "/home/me/train.py", "--token=abc"]
    )
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"gpu.0.process.4711": f"C {512 * MIB} sm=40 mem=10"})
        (process,) = s.collector.processes(s.subjects[0])
        assert process.subject_key == fake_gpus.uuid(0)
        assert (process.pid, process.type) == (4711, "C")
        assert (process.memory_bytes, process.utilization_permille) == (512 * MIB, 400)
        assert (process.user, process.program) == ("root", "python3 train.py")
        assert process.start_ms == 1_700_000_000_000 + 123_450
        assert (process.container, process.pod, process.job, process.arguments) == (None,) * 4


def test_compute_graphics_and_mps_are_one_process(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set(
            {
                "gpu.0.process.10": f"C {5 * MIB}",
                "gpu.0.process.11": f"G {6 * MIB}",
                "gpu.0.process.12": f"CG {7 * MIB}",
                "gpu.0.process.13": f"CM {8 * MIB}",
                "gpu.0.process.14": "C -",
            }
        )
        assert rows(s) == {
            10: ("C", 5 * MIB, None),
            11: ("G", 6 * MIB, None),
            12: ("C+G", 7 * MIB, None),
            13: ("M", 8 * MIB, None),
            14: ("C", None, None),
        }


def test_a_process_in_two_mig_instances_uses_the_memory_of_both(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_parent(0)]) as s:
        s.start()
        s.driver.set(
            {
                "gpu.0.process.20.a": f"C {5 * MIB} gi=1 ci=0",
                "gpu.0.process.20.b": f"C {3 * MIB} gi=2 ci=0",
            }
        )
        assert rows(s) == {20: ("C", 8 * MIB, None)}


def test_many_processes_are_all_listed(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({f"gpu.0.process.{pid}": f"C {pid}" for pid in range(100, 160)})
        assert rows(s) == {pid: ("C", pid, None) for pid in range(100, 160)}


def test_utilisation_is_asked_for_since_the_newest_sample_and_never_from_the_beginning(
    tmp_path: Path,
) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        now = s.wall_ns // 1000
        s.driver.set(
            {
                "gpu.0.process.30": f"C 1 sm=40 at={now - 1_000_000}",
                "gpu.0.process.31": f"C 1 sm=90 at={now - 3_600_000_000}",
                "gpu.0.process.32": f"C 1 sm=101 at={now}",
                "gpu.0.process.99": f"- 0 sm=80 at={now}",
            }
        )
        assert rows(s) == {30: ("C", 1, 400), 31: ("C", 1, None), 32: ("C", 1, None)}
        assert rows(s)[30] == ("C", 1, None)
        s.driver.set({"gpu.0.process.30": f"C 1 sm=55 at={now + 1}"})
        assert rows(s)[30] == ("C", 1, 550)


def test_of_several_samples_of_a_process_the_newest_counts(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        now = s.wall_ns // 1000
        s.driver.set(
            {
                "gpu.0.process.30": f"C 1 sm=70 at={now}",
                "gpu.0.process.30.b": f"- 0 sm=10 at={now - 5000}",
            }
        )
        assert rows(s) == {30: ("C", 1, 700)}


def test_processes_without_utilisation_are_listed_all_the_same(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set(
            {"gpu.0.process.40": "C 1 sm=5", "gpu.0.call.nvmlDeviceGetProcessUtilization": "!3"}
        )
        assert rows(s) == {40: ("C", 1, None)}
        rows(s)
        assert len(s.driver.calls("nvmlDeviceGetProcessUtilization")) == 1


def test_an_idle_or_lost_gpu_has_no_processes(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        assert rows(s) == {}
        s.driver.fail("gpu.0.*", 15)
        assert rows(s) == {}


def test_a_process_list_that_is_refused_loses_that_list_only(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.fail("gpu.0.call.nvmlDeviceGetGraphicsRunningProcesses_v3", 4)
        s.driver.set({"gpu.0.process.50": "CG 7"})
        assert rows(s) == {50: ("C", 7, None)}


def test_a_pid_that_was_given_to_another_is_another_process(tmp_path: Path) -> None:
    proc = proc_tree(tmp_path / "proc")
    add_process(proc, 60, ["old"], start_ticks=100)
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"gpu.0.process.60": "C 1"})
        (old,) = s.collector.processes(s.subjects[0])
        add_process(proc, 60, ["new"], start_ticks=90_000)
        (new,) = s.collector.processes(s.subjects[0])
        assert (old.program, new.program) == ("old", "new")
        assert old.start_ms != new.start_ms


_LIST = """
import json
from gpufleet.agent.nvml.collector import NvmlCollector
c = NvmlCollector()
c.open()
(gpu,) = c.subjects()
reading = c.read(gpu, slow=True)
print(json.dumps({
    "processes": [[p.pid, p.type, p.memory_bytes] for p in c.processes(gpu)],
    "values": reading.values, "columns": gpu.columns, "facts": gpu.facts,
}))
c.close()
"""


@pytest.mark.parametrize("flavour", ["535", "old"])
def test_other_process_structs_of_other_drivers_are_understood(
    tmp_path: Path, flavour: str
) -> None:
    gpu = {**fake_gpus.h100(0), **{f"process.{pid}": f"C {pid * MIB}" for pid in (70, 71, 72)}}
    driver = FakeDriver(tmp_path, [gpu], flavour=flavour)
    said = json.loads(driver.python(_LIST))
    assert said["processes"] == [[pid, "C", pid * MIB] for pid in (70, 71, 72)]


def test_an_old_driver_answers_what_it_can(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, [fake_gpus.pascal(0)], flavour="old")
    said = json.loads(driver.python(_LIST))
    values = {int(id): value for id, value in said["values"].items()}
    assert values[10] == 64 * MIB  # used, with what is reserved
    assert 12 not in values
    assert values[70] == 1  # event reasons under their former name
    assert values[27] == 460
    assert values[23] == 4800
    assert sorted(values) == said["columns"]
    assert said["facts"]["slowdown_temperature_celsius"] == 101
    assert "cores" not in said["facts"]
