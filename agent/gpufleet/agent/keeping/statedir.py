"""The agent's folder: one agent at a time, and no agent dies for want of it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class StateDirInUse(Exception):
    """Another agent works in the folder. The text is one sentence for people."""


class StateDir:
    """Holds a lock on the folder until the process ends or ``release``."""

    def __init__(self, path: Path) -> None:
        """StateDirInUse if another agent has it; a folder that cannot be used is only noted."""
        self.path = path
        self.sentence = ""
        """Why the folder cannot be used; empty where it can."""
        self._file: int | None = None
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._file = os.open(path / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            self.sentence = f"The state folder {path} cannot be used: {error.strerror}."
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise StateDirInUse(
                f"Another agent already uses the state folder {path}: stop it, "
                "or give this one its own with --state-dir."
            ) from error
        except OSError as error:
            self.sentence = f"The state folder {path} cannot be locked: {error.strerror}."

    def release(self) -> None:
        """Let another agent have the folder."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
