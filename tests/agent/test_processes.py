"""Users, programs and start times from /proc, without arguments."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.agent.processes.table import Identity, ProcessTable, program_name
from support.proc_tree import BOOT_SECONDS, add_process, proc_tree


def test_a_process_is_identified(tmp_path: Path) -> None:
    add_process(proc_tree(tmp_path), 7, ["/usr/bin/nvidia-smi"], start_ticks=250)
    assert ProcessTable(tmp_path, ticks_per_second=100).identify(7) == Identity(
        BOOT_SECONDS * 1000 + 2500, "root", "nvidia-smi"
    )


def test_a_user_that_the_node_does_not_know_is_its_number(tmp_path: Path) -> None:
    add_process(proc_tree(tmp_path), 7, ["x"], uid=3_999_999_999)
    assert ProcessTable(tmp_path).identify(7).user == "3999999999"


def test_a_pid_that_is_gone_is_not_known(tmp_path: Path) -> None:
    assert ProcessTable(proc_tree(tmp_path)).identify(7) == Identity()


def test_a_machine_without_proc_knows_nobody(tmp_path: Path) -> None:
    assert ProcessTable(tmp_path / "none").identify(1) == Identity()


def test_a_name_with_brackets_does_not_shift_the_start_time(tmp_path: Path) -> None:
    add_process(proc_tree(tmp_path), 7, ["x"], comm="a) R 1 (b", start_ticks=300)
    who = ProcessTable(tmp_path, ticks_per_second=100).identify(7)
    assert who.start_ms == BOOT_SECONDS * 1000 + 3000


def test_a_broken_stat_is_not_known(tmp_path: Path) -> None:
    add_process(proc_tree(tmp_path), 7, ["x"])
    (tmp_path / "7/stat").write_text("7 (x) S 1\n")
    assert ProcessTable(tmp_path).identify(7) == Identity()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this machine")
def test_this_very_process_is_found_in_the_real_proc() -> None:
    who = ProcessTable().identify(os.getpid())
    assert who.start_ms is not None
    assert 0 <= time.time() * 1000 - who.start_ms < 7 * 86_400_000
    assert who.program is not None
    assert "--token" not in who.program
    assert Path(sys.executable).name.rstrip("0123456789.") in who.program


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["/opt/app/bin/worker", "--password=x"], "worker"),
        (["python3", "train.py", "--key", "s3cret"], "python3 train.py"),
        (["/usr/bin/python3.11", "-u", "-X", "dev", "/home/me/run.py"], "python3.11 run.py"),
        (["python", "-m", "torch.distributed.run", "--x"], "python -m torch.distributed.run"),
        (["python", "-c", "print('s3cret')"], "python"),
        (["python", "--unknown", "s3cret"], "python"),
        (["python", "-Wignore", "a.py"], "python a.py"),
        (["python"], "python"),
        (["bash", "/srv/job.sh", "s3cret"], "bash job.sh"),
        (["bash", "-c", "curl -H s3cret"], "bash"),
        (["java", "-jar", "/srv/app.jar"], "java app.jar"),
        (["java", "-Dpassword=s3cret", "Main"], "java"),
        (["node", "--eval", "s3cret"], "node"),
        (["postgres: me s3cret idle"], "postgres"),
        (["ray::train(s3cret key)"], "ray::train"),
        (["/opt/My App/bin/tool"], "tool"),
        ([""], "kworker/0:1"),
        ([], "kworker/0:1"),
        (["a\x1b[31mb"], "a[31mb"),
    ],
)
def test_programs_are_named_without_their_arguments(arguments: list[str], program: str) -> None:
    cmdline = b"".join(a.encode() + b"\0" for a in arguments)
    assert program_name(cmdline, "kworker/0:1") == program


@given(st.binary(max_size=400), st.text(max_size=16))
def test_any_bytes_give_a_short_printable_name_or_none(cmdline: bytes, comm: str) -> None:
    name = program_name(cmdline, comm)
    assert name is None or (0 < len(name) <= 128 and name.isprintable())
