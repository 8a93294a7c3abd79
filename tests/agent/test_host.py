"""Host metrics and facts from a tree of files."""

from pathlib import Path

from gpufleet.agent.host import Host

STAT = "cpu  {user} 0 100 {idle} 50 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1\n"


def tree(folder: Path, user: int, idle: int) -> Path:
    (folder / "stat").write_text(STAT.format(user=user, idle=idle))
    (folder / "meminfo").write_text(
        "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n"
    )
    (folder / "loadavg").write_text("1.25 0.50 0.25 1/100 4711\n")
    return folder


def test_cpu_use_is_over_the_time_between_two_looks(tmp_path: Path) -> None:
    host = Host(tree(tmp_path, user=100, idle=1000))
    assert 200 not in host.metrics()
    tree(tmp_path, user=125, idle=1075)
    assert host.metrics()[200] == 250


def test_memory_and_load_are_scaled_integers_of_the_catalogue(tmp_path: Path) -> None:
    values = Host(tree(tmp_path, 1, 1)).metrics()
    assert values == {201: 600 * 1024, 202: 1000 * 1024, 203: 125}


def test_what_the_machine_does_not_tell_is_absent(tmp_path: Path) -> None:
    host = Host(tmp_path / "none", tmp_path / "none")
    assert host.metrics() == {}
    assert (host.machine_id(), host.boot_id()) == ("", "")
    facts = host.facts()
    assert facts["os"] is None
    assert facts["memory_total_bytes"] is None


def test_facts_come_from_etc_and_proc(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('NAME="X"\nPRETTY_NAME="Some Linux 12"\n')
    (tmp_path / "machine-id").write_text("abc123\n")
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name : Some CPU\n")
    host = Host(tmp_path, tmp_path)
    assert host.machine_id() == "abc123"
    assert (host.facts()["os"], host.facts()["cpu_model"]) == ("Some Linux 12", "Some CPU")
