"""Who runs a pid: user, program and start time from /proc.

Arguments are not told, since they may hold secrets: only the program's name and, for an
interpreter, the script's base name or the module.
"""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

_INTERPRETER = re.compile(
    r"(python|pypy|perl|ruby|node|bash|dash|sh|zsh|Rscript|julia|java)[0-9.]*t?"
)
_PYTHON = re.compile(r"(python|pypy)[0-9.]*t?")
_PYTHON_FLAGS = re.compile(r"-[bBdEhiIOPqsSuvx]+")
_PYTHON_WITH_VALUE = ("-W", "-X")
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class Identity:
    """A process as /proc tells it; ``None``: not known."""

    start_ms: int | None = None
    user: str | None = None
    program: str | None = None


class ProcessTable:
    """Looks pids up in a /proc tree of the host (PID namespace of the driver)."""

    def __init__(self, proc: Path = Path("/proc"), *, ticks_per_second: int | None = None) -> None:
        self._proc = proc
        self._ticks = ticks_per_second or os.sysconf("SC_CLK_TCK")
        self._users: dict[int, str] = {}
        # Held: the kernel recomputes it from the clock, and a start time must not move.
        self._boot_ms = _boot_ms(proc)

    def identify(self, pid: int) -> Identity:
        """What is known of a pid; nothing where it is gone or was given to another meanwhile."""
        folder = self._proc / str(pid)
        try:
            began = _start_ticks(folder)
            user = self._user(folder)
            program = program_name((folder / "cmdline").read_bytes(), _comm(folder))
            if _start_ticks(folder) != began:
                return Identity()
        except (OSError, ValueError):
            return Identity()
        start = None if self._boot_ms is None else self._boot_ms + began * 1000 // self._ticks
        return Identity(start, user, program)

    def _user(self, folder: Path) -> str | None:
        match = re.search(r"^Uid:\s+(\d+)", (folder / "status").read_text(), re.MULTILINE)
        if match is None:
            return None
        uid = int(match[1])
        if uid not in self._users:
            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = str(uid)
        return self._users[uid]


def _boot_ms(proc: Path) -> int | None:
    try:
        match = re.search(r"^btime (\d+)", (proc / "stat").read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if match is None else int(match[1]) * 1000


def _start_ticks(folder: Path) -> int:
    """Field 22 of /proc/pid/stat; the name in field 2 may hold anything, so count from its end."""
    stat = (folder / "stat").read_text(errors="replace")
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20:
        raise ValueError(f"{folder}/stat is too short")
    return int(fields[19])


def _comm(folder: Path) -> str:
    return (folder / "comm").read_text(errors="replace").strip()


def program_name(cmdline: bytes, comm: str) -> str | None:
    """``python3 train.py`` from ``/usr/bin/python3 -u /home/me/train.py --token=…``."""
    words = [w.decode(errors="replace") for w in cmdline.rstrip(b"\0").split(b"\0")]
    program = _base(words[0]) or comm
    if not _INTERPRETER.fullmatch(program):
        return _clean(program)
    script = _script(words[1:], python=_PYTHON.fullmatch(program) is not None)
    return _clean(f"{program} {script}" if script else program)


def _base(word: str) -> str:
    """A title may stand in place of the name (``postgres: me db``): only its beginning is told."""
    name = word.rpartition("/")[2] if word.startswith(("/", "./", "../")) else word
    return re.split(r"[\s(]", name.strip(), maxsplit=1)[0].rpartition("/")[2].rstrip(":")


def _script(arguments: list[str], *, python: bool) -> str | None:
    """The script that an interpreter runs; None for code given to it and for anything unclear."""
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("-"):
            return word.rpartition("/")[2]
        if not python:
            if word == "-jar":
                continue
            return None
        if word == "-m":
            module = next(rest, "")
            return f"-m {module}" if re.fullmatch(r"[\w.]+", module) else None
        if word in _PYTHON_WITH_VALUE:
            next(rest, None)
        elif not _PYTHON_FLAGS.fullmatch(word) and not word.startswith(_PYTHON_WITH_VALUE):
            return None
    return None


def _clean(text: str) -> str | None:
    """Printable and short: the name comes from a process that may be hostile."""
    printable = "".join(c for c in text if c.isprintable()).strip()
    return printable[:_LONGEST] or None
