"""Watches the rules file: an edit is in force within seconds, a mistake leaves the old rules."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from gpufleet.alerting.rules.defaults import default_rules
from gpufleet.alerting.rules.file import Problem, RulesError, read_rules
from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.hub.alert_names import alert_schema
from gpufleet.proto.logline import said

_log = logging.getLogger(__name__)


class RulesWatch:
    """The rules in force, of ``path`` or, without one, those that are shipped."""

    def __init__(self, path: Path | None, now_ms: int) -> None:
        """RulesError or OSError: a hub does not start with rules that it cannot read."""
        self.path = path
        self.loaded_ms = now_ms
        self.problems: Sequence[Problem] = ()
        """Mistakes of the file as it is now; the rules in force are older then."""
        self._seen = self._stamp()
        self.rules = default_rules(alert_schema()) if path is None else self._read(path)

    @property
    def source(self) -> str:
        """Where the rules come from, for people."""
        return self.rules.source

    def look(self, now_ms: int) -> RuleSet | Sequence[Problem] | None:
        """New rules, or why a changed file cannot be used; None: it was not changed.

        Reads a small file.
        """
        if self.path is None:
            return None
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            rules = self._read(self.path)
        except RulesError as error:
            self.problems = error.problems
            for problem in error.problems:
                text = str(problem)
                _log.error(
                    "the rules file has a mistake, the old rules stay %s",
                    said(file=self.path, problem=text),
                )
            return self.problems
        except OSError as error:
            sentence = f"It cannot be read: {error.strerror}."
            self.problems = (Problem(1, 1, "", sentence),)
            _log.error(
                "the rules file cannot be read, the old rules stay %s",
                said(file=self.path, reason=error.strerror),
            )
            return self.problems
        self.problems = ()
        self.rules, self.loaded_ms = rules, now_ms
        _log.info("rules loaded %s", said(file=self.path, rules=len(rules.rules)))
        return rules

    def _read(self, path: Path) -> RuleSet:
        text = path.read_bytes().decode("utf-8", "replace")
        return read_rules(text, alert_schema(), str(path))

    def _stamp(self) -> tuple[int, int, int] | None:
        if self.path is None:
            return None
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
