"""Memory that is the host's, and boards without any."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import fake_gpus
from support.fake_driver import missing
from support.nvml_session import session

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def meminfo(folder: Path, text: str) -> None:
    (folder / "proc").mkdir(exist_ok=True)
    (folder / "proc/meminfo").write_text(text)


GB10_HOST = "MemTotal:       125000000 kB\nMemFree:  1 kB\nMemAvailable:   100000000 kB\n"


def test_unified_memory_is_the_hosts_and_says_so(tmp_path: Path) -> None:
    meminfo(tmp_path, GB10_HOST)
    with session(tmp_path, [fake_gpus.gb10(0)]) as s:
        (subject,) = s.start()
        assert subject.facts["memory_kind"] == "unified"
        values = s.values()
        assert values["memory_total_bytes"] == 125_000_000 * 1024
        assert values["memory_used_bytes"] == 25_000_000 * 1024
        assert values["memory_free_bytes"] == 100_000_000 * 1024
        assert "memory_reserved_bytes" not in s.columns()
        meminfo(tmp_path, GB10_HOST.replace("100000000", " 90000000"))
        assert s.values(slow=False)["memory_used_bytes"] == 35_000_000 * 1024


@pytest.mark.parametrize("text", ["", "MemTotal: 5 kB\n", "MemTotal: 5 kB\nMemAvailable: 9 kB\n"])
def test_a_host_that_does_not_tell_its_memory_leaves_it_absent(tmp_path: Path, text: str) -> None:
    meminfo(tmp_path, text)
    with session(tmp_path, [fake_gpus.gb10(0)]) as s:
        s.start()
        assert not [name for name in s.values() if name.startswith("memory_") and "bytes" in name]


def test_an_older_driver_is_known_by_the_name_of_the_chip(tmp_path: Path) -> None:
    meminfo(tmp_path, GB10_HOST)
    gpu = fake_gpus.gb10(0)
    del gpu["addressing_mode"]
    with session(tmp_path, [gpu]) as s:
        (subject,) = s.start()
        assert subject.facts["memory_kind"] == "unified"


def test_a_board_without_any_memory_does_not_get_the_hosts(tmp_path: Path) -> None:
    meminfo(tmp_path, GB10_HOST)
    gpu = {k: v for k, v in fake_gpus.h100(0).items() if not k.startswith("memory.")}
    with session(tmp_path, [gpu, fake_gpus.h100(1)]) as s:
        first, second = s.start()
        assert "memory_kind" not in first.facts
        assert "memory_kind" not in second.facts
        assert "memory_total_bytes" not in s.values()


def test_an_error_that_passes_does_not_make_memory_unified(tmp_path: Path) -> None:
    meminfo(tmp_path, GB10_HOST)
    with session(tmp_path, [{**fake_gpus.h100(0), "addressing_mode": 2, "memory": "!999"}]) as s:
        (subject,) = s.start()
        assert "memory_kind" not in subject.facts
        s.driver.unset("gpu.0.memory")
        assert s.values()["memory_total_bytes"] == 81559 << 20
