"""Running a program that hangs, floods, lingers or is not there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gpufleet.agent.smi.run import (
    LONGEST_ERRORS,
    LONGEST_OUTPUT,
    CommandFailed,
    CommandMissing,
    OneAtATime,
    run,
)
from support.fake_smi import FakeSmi

QUERY = ("-q", "-x")


@pytest.fixture
def fake(tmp_path: Path) -> FakeSmi:
    return FakeSmi(tmp_path / "smi")


def test_it_gives_both_streams_and_the_status(fake: FakeSmi) -> None:
    fake.answer("query", "out", stderr="err", code=9)
    outcome = run("nvidia-smi", QUERY, 60, fake.environment)
    assert (outcome.output, outcome.errors, outcome.code) == (b"out", b"err", 9)


def test_the_locale_is_c_and_our_own_secrets_stay_here(fake: FakeSmi) -> None:
    run("nvidia-smi", QUERY, 60, fake.environment)
    seen = fake.seen_environment()
    assert seen["LC_ALL"] == "C"
    assert "GPUFLEET_JOIN_TOKEN" not in seen


def test_one_that_hangs_is_killed_with_its_children(fake: FakeSmi) -> None:
    fake.answer("query", seconds=3600, stubborn=True)
    with pytest.raises(CommandFailed, match=r"did not end within 0\.3 s and was stopped") as failed:
        run("nvidia-smi", QUERY, 0.3, fake.environment)
    assert failed.value.left is None
    # The lock was held by the shell and its sleep: both are gone.
    fake.answer("query", "again")
    assert run("nvidia-smi", QUERY, 60, fake.environment).output == b"again"
    assert fake.overlaps() == []


def test_one_that_floods_is_stopped(fake: FakeSmi) -> None:
    fake.answer("query", huge=LONGEST_OUTPUT * 3)
    with pytest.raises(CommandFailed, match="wrote more than 8 MiB and was stopped"):
        run("nvidia-smi", QUERY, 60, fake.environment)


def test_errors_are_cut_and_not_fatal(fake: FakeSmi) -> None:
    fake.answer("query", "out", stderr="e" * (LONGEST_ERRORS + 5))
    outcome = run("nvidia-smi", QUERY, 60, fake.environment)
    assert outcome.output == b"out"
    assert len(outcome.errors) == LONGEST_ERRORS


def test_a_child_that_keeps_the_pipes_does_not_hold_us(fake: FakeSmi) -> None:
    fake.answer("query", "out", held=15)
    assert run("nvidia-smi", QUERY, 10, fake.environment).output == b"out"


def test_a_program_that_is_not_there(fake: FakeSmi) -> None:
    fake.remove("nvidia-smi")
    with pytest.raises(CommandMissing, match=r"There is no nvidia-smi on the PATH\."):
        run("nvidia-smi", QUERY, 60, {"PATH": str(fake.bin)})


def test_a_program_that_cannot_be_run(fake: FakeSmi) -> None:
    (fake.bin / "nvidia-smi").write_text("#!/nowhere/at/all\n")
    with pytest.raises(CommandFailed, match="cannot be run: No such file or directory"):
        run("nvidia-smi", QUERY, 60, fake.environment)


def test_two_never_run_at_once(fake: FakeSmi) -> None:
    fake.answer("query", "out", seconds=0.05)
    gate = OneAtATime()
    outputs: list[bytes] = []

    def one() -> None:
        outputs.append(gate.run("nvidia-smi", QUERY, 60, fake.environment).output)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == [b"out"] * 6
    assert fake.overlaps() == []


def test_nobody_waits_for_ever_for_the_one_that_runs(fake: FakeSmi) -> None:
    fake.answer("query", "out", gate=True)
    gate = OneAtATime()
    outputs: list[bytes] = []

    def one() -> None:
        outputs.append(gate.run("nvidia-smi", QUERY, 60, fake.environment).output)

    first = threading.Thread(target=one)
    first.start()
    while not fake.calls():
        first.join(0.01)
    with pytest.raises(CommandFailed, match="Another nvidia-smi of this agent did not end"):
        gate.run("nvidia-smi", QUERY, 0.05, fake.environment)
    fake.release("query")
    first.join()
    assert outputs == [b"out"]
    assert len(fake.calls()) == 1
