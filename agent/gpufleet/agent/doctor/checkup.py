"""What works on this machine, what does not, and how to mend it: all checks, each to a deadline."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

CHECK_SECONDS = 20.0
"""Every check has its own, shorter time-outs; this is for what nobody thought of."""


class Level(Enum):
    """How bad a finding is. The value is its name in JSON."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one thing, and one that says how to mend it."""

    check: str
    level: Level
    sentence: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the checks look. ``root`` is / but in tests."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    seconds: float = 10.0
    """Time-out of each program that is run and each connection that is made."""

    def file(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str:
        """A file's text, "" where there is none to read."""
        try:
            return self.file(path).read_text(errors="replace").strip()
        except OSError:
            return ""


Check = Callable[[], Sequence[Finding]]


def examine(checks: Mapping[str, Check], seconds: float = CHECK_SECONDS) -> tuple[Finding, ...]:
    """Run the checks side by side; one that fails or does not end is itself a finding."""
    results: dict[str, Sequence[Finding]] = {}
    threads = [
        threading.Thread(target=_run, args=(name, check, results), name=name, daemon=True)
        for name, check in checks.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    found: list[Finding] = []
    for name in checks:
        found += results.get(name) or [
            Finding(
                name,
                Level.ERROR,
                f"This check did not end within {seconds:.0f} s.",
                "Look into the kernel's log (dmesg) for what hangs.",
            )
        ]
    return tuple(found)


def _run(name: str, check: Check, results: dict[str, Sequence[Finding]]) -> None:
    try:
        results[name] = check()
    except Exception as error:  # a check that fails must not take the others with it
        sentence = f"This check failed: {type(error).__name__}: {error}."
        results[name] = [Finding(name, Level.ERROR, sentence, "Please report this as a bug.")]


def healthy(findings: Sequence[Finding]) -> bool:
    """True where nothing is an error."""
    return all(finding.level is not Level.ERROR for finding in findings)


def document(findings: Sequence[Finding], node: str, version: str) -> dict[str, Any]:
    """The document of ``--json``."""
    return {
        "node": node,
        "version": version,
        "ok": healthy(findings),
        "findings": [{**asdict(finding), "level": finding.level.value} for finding in findings],
    }
