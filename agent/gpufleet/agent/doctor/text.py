"""The doctor's findings as aligned lines for a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from gpufleet.agent.doctor.checkup import Finding, Level

_COLOURS = {Level.OK: "32", Level.WARNING: "33", Level.ERROR: "31;1"}
_NARROWEST = 40


def render(findings: Sequence[Finding], width: int, *, colour: bool) -> str:
    """One block a finding: level, check and sentence, the mend below it; then how many of each."""
    name_width = max((len(finding.check) for finding in findings), default=0)
    margin = " " * (max(len(level.value) for level in Level) + 2 + name_width + 2)
    room = max(_NARROWEST, width - len(margin))
    lines = []
    for finding in findings:
        level = finding.level.value.ljust(7)
        if colour:
            level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
        text = textwrap.wrap(_plain(finding.sentence), room) or [""]
        lines.append(f"{level}  {finding.check.ljust(name_width)}  {text[0]}")
        lines += [margin + line for line in text[1:]]
        if finding.mend:
            mend = textwrap.wrap(
                _plain(finding.mend), room, initial_indent="→ ", subsequent_indent="  "
            )
            lines += [margin + line for line in mend]
    return "\n".join([*lines, "", _summary(findings)]) + "\n"


def _plain(text: str) -> str:
    """Nothing of what drivers and files say may steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _summary(findings: Sequence[Finding]) -> str:
    counted = Counter(finding.level for finding in findings)
    parts = [
        f"{counted[level]} {level.value}{'s' if counted[level] > 1 else ''}"
        for level in (Level.ERROR, Level.WARNING)
        if counted[level]
    ]
    return " and ".join(parts) + "." if parts else "All is well."
