"""The doctor itself: what it makes of checks, and how it tells the findings."""

from __future__ import annotations

import threading

from gpufleet.agent.doctor.checkup import Finding, Level, document, examine, healthy
from gpufleet.agent.doctor.text import render

GOOD = Finding("nvml", Level.OK, "NVML works.")
POOR = Finding("persistence", Level.WARNING, "Persistence mode is off.", "Turn it on.")
BAD = Finding("hub", Level.ERROR, "No hub.", "Start one.")


def test_findings_come_in_the_order_of_their_checks() -> None:
    late = threading.Event()

    def slow() -> list[Finding]:
        late.wait(20)
        return [GOOD]

    def quick() -> list[Finding]:
        late.set()
        return [POOR, BAD]

    assert examine({"slow": slow, "quick": quick}) == (GOOD, POOR, BAD)


def test_a_check_that_never_ends_is_a_finding_and_the_others_are_told() -> None:
    never = threading.Event()

    def hangs() -> list[Finding]:
        never.wait(60)
        return []

    stuck, good = examine({"hangs": hangs, "good": lambda: [GOOD]}, seconds=0.2)
    never.set()
    assert (stuck.check, stuck.level) == ("hangs", Level.ERROR)
    assert "did not end" in stuck.sentence
    assert good == GOOD


def test_a_check_that_fails_is_a_finding() -> None:
    def fails() -> list[Finding]:
        raise ValueError("seven")

    (finding,) = examine({"fails": fails})
    assert finding.sentence == "This check failed: ValueError: seven."


def test_a_warning_keeps_nobody_from_working() -> None:
    assert healthy([GOOD, POOR])
    assert not healthy([GOOD, BAD])


def test_sentences_are_aligned_and_wrapped_with_their_mend_below() -> None:
    long = Finding("gpus", Level.WARNING, "word " * 12 + "end.", "mend " * 12 + "end.")
    lines = render([GOOD, BAD, long], 60, colour=False).splitlines()
    assert lines[0] == "ok       nvml  NVML works."
    assert lines[1] == "error    hub   No hub."
    assert lines[2] == "               → Start one."
    assert all(len(line) <= 60 for line in lines)
    assert {line.index("word") for line in lines if "word" in line} == {15}
    assert lines[-1] == "1 error and 1 warning."


def test_a_healthy_machine_is_told_in_three_words() -> None:
    assert render([GOOD], 80, colour=False).endswith("\n\nAll is well.\n")
    assert render([POOR, POOR], 80, colour=False).endswith("\n\n2 warnings.\n")


def test_nothing_that_is_told_steers_the_terminal() -> None:
    evil = Finding("x", Level.ERROR, "a\x1b[2Jb\nc", "d\re")
    text = render([evil], 80, colour=True)
    assert "\x1b[2J" not in text
    assert "\r" not in text
    assert "\x1b[31;1merror  \x1b[0m  x  a [2Jb c" in text


def test_the_document_has_every_finding() -> None:
    assert document([GOOD, BAD], "n1", "1.0") == {
        "node": "n1",
        "version": "1.0",
        "ok": False,
        "findings": [
            {"check": "nvml", "level": "ok", "sentence": "NVML works.", "mend": ""},
            {"check": "hub", "level": "error", "sentence": "No hub.", "mend": "Start one."},
        ],
    }
