"""What ``dcgmi health -c`` found, from its JSON or its table.

Both are one tree (dcgmi's DcgmiOutput): overall health, then per kind of entity and its number the
subsystems with their verdict and text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpufleet.alerting.health import DcgmFinding

_VERDICTS = ("Healthy", "Warning", "Failure")
_POWER_CAPPING = re.compile(r"clock\w* (event|throttl\w*) due to (software )?power", re.IGNORECASE)
_LONGEST = 1000
_MOST_FINDINGS = 4096


class NotAReport(Exception):
    """The output is no report of dcgmi health."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """``overall`` as DCGM says it; findings by DCGM's number of the GPU."""

    overall: str
    findings: Mapping[int, tuple[DcgmFinding, ...]]


def from_json(text: str) -> HealthReport:
    """The report of ``dcgmi health -c -j``; NotAReport for anything else."""
    begin = text.find("{")
    try:
        document = json.JSONDecoder().raw_decode(text[begin:])[0] if begin >= 0 else None
    except (ValueError, RecursionError):
        document = None
    body = _child(document, "body")
    overall = _child(_child(body, "Overall Health"), "value")
    if overall not in _VERDICTS:
        raise NotAReport
    found: dict[int, list[DcgmFinding]] = {}
    for number, entity in _children(_child(body, "GPU")):
        if re.fullmatch(r"[0-9]{1,4}", number) is None:
            continue
        errors = dict(_children(entity)).get("Errors")
        for subsystem, verdict in _children(errors):
            _add(found, int(number), subsystem, _child(verdict, "value"), _overflow(verdict))
    return HealthReport(overall, {gpu: tuple(all_) for gpu, all_ in found.items()})


def _child(node: Any, name: str) -> Any:
    return node.get(name) if isinstance(node, dict) else None


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    children = _child(node, "children")
    if isinstance(children, dict):
        yield from children.items()


def _overflow(node: Any) -> str:
    lines = _child(node, "overflow")
    return " ".join(str(line) for line in lines) if isinstance(lines, list) else ""


_ROW = re.compile(r"^\| (?P<left>.*?) \| (?P<right>.*?) \|\s*$")
_BRANCH = re.compile(r"^(?P<indent> *)-> (?P<label>.*?)\s*$")


def from_table(text: str) -> HealthReport:
    """The report of ``dcgmi health -c``; NotAReport for anything else."""
    overall = ""
    found: dict[int, list[DcgmFinding]] = {}
    kind, gpu, subsystem, verdict, words = "", -1, "", "", list[str]()

    def finish() -> None:
        if kind == "GPU" and gpu >= 0 and subsystem:
            _add(found, gpu, subsystem, verdict, " ".join(words))

    for line in text.splitlines():
        row = _ROW.match(line)
        if row is None:
            continue
        left, right = row["left"].rstrip(), row["right"].strip()
        branch = _BRANCH.match(left)
        if not left:
            if subsystem and right:
                words.append(right)
            continue
        finish()
        subsystem, words = "", []
        if branch is None:
            kind, gpu = left.strip(), -1
            if kind == "Overall Health":
                overall = right
            continue
        label = branch["label"]
        if re.fullmatch(r"[0-9]{1,4}", label):
            gpu = int(label)
        elif label != "Errors":
            subsystem, verdict = label, right
    finish()
    if overall not in _VERDICTS:
        raise NotAReport
    return HealthReport(overall, {gpu: tuple(all_) for gpu, all_ in found.items()})


def _add(
    found: dict[int, list[DcgmFinding]], gpu: int, subsystem: str, verdict: Any, words: str
) -> None:
    if verdict not in ("Warning", "Failure") or len(found) >= _MOST_FINDINGS:
        return
    name = re.sub(r" system$", "", subsystem.strip())[:_LONGEST]
    sentence = " ".join(words.split())[:_LONGEST] or "no reason given"
    capping = (
        verdict == "Warning" and name == "Power" and _POWER_CAPPING.search(sentence) is not None
    )
    found.setdefault(gpu, []).append(DcgmFinding(name, verdict == "Failure", sentence, capping))
