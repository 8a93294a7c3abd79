"""Who runs a pid: user, program and start time from /proc.

Arguments may hold secrets: only the program's name and, for an interpreter, the script's base name
or the module are told, and the rest where the operator asked for it, masked.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gpufleet.agent.processes.attribution import place_of
from gpufleet.agent.processes.users import Users

_INTERPRETER = re.compile(
    r"(python|pypy|perl|ruby|node|bash|dash|sh|zsh|Rscript|julia|java)[0-9.]*t?"
)
_PYTHON = re.compile(r"(python|pypy)[0-9.]*t?")
_PYTHON_FLAGS = re.compile(r"-[bBdEhiIOPqsSuvx]+")
_PYTHON_WITH_VALUE = ("-W", "-X")
_LONGEST = 128
_MOST_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Identity:
    """A process as /proc tells it; ``None``: not known."""

    start_ms: int | None = None
    user: str | None = None
    program: str | None = None
    container: str | None = None
    pod: str | None = None
    job: str | None = None
    arguments: str | None = None


@dataclass(frozen=True, slots=True)
class Reveal:
    """What of a process's own words the operator wants to be told: nothing unless asked.

    ``environment`` names the variables that may be told.
    """

    arguments: bool = False
    environment: tuple[str, ...] = ()


REVEAL_NOTHING = Reveal()


class ProcessTable:
    """Looks pids up in a /proc tree of the host (PID namespace of the driver)."""

    def __init__(
        self,
        proc: Path = Path("/proc"),
        *,
        ticks_per_second: int | None = None,
        reveal: Reveal = REVEAL_NOTHING,
    ) -> None:
        self._proc = proc
        self._ticks = ticks_per_second or os.sysconf("SC_CLK_TCK")
        self._reveal = reveal
        self._users = Users()
        # Held: the kernel recomputes it from the clock, and a start time must not move.
        self._boot_ms = _boot_ms(proc)

    def identify(self, pid: int) -> Identity:
        """What is known of a pid; nothing where it is gone or was given to another meanwhile."""
        folder = self._proc / str(pid)
        try:
            began = _start_ticks(folder)
            user = self._user(folder)
            cmdline = _bytes(folder / "cmdline")
            program = program_name(cmdline, _comm(folder))
            place = place_of(folder)
            arguments = self._arguments(folder, cmdline)
            if _start_ticks(folder) != began:
                return Identity()
        except (OSError, ValueError):
            return Identity()
        start = None if self._boot_ms is None else self._boot_ms + began * 1000 // self._ticks
        return Identity(
            start, user, program, place.container, place.pod, place.job, arguments=arguments
        )

    def _arguments(self, folder: Path, cmdline: bytes) -> str | None:
        reveal = self._reveal
        if not reveal.arguments and not reveal.environment:
            return None
        # Imported only where it is asked for: it takes memory.
        from gpufleet.agent.processes import arguments

        words: list[str] = []
        if reveal.environment:
            try:
                words += arguments.environment(_bytes(folder / "environ"), reveal.environment)
            except PermissionError:
                words = []  # another user's, and we are not root
        if reveal.arguments:
            words += [word.decode(errors="replace") for word in cmdline.rstrip(b"\0").split(b"\0")]
        return arguments.told(words)

    def _user(self, folder: Path) -> str | None:
        match = re.search(r"^Uid:\s+(\d+)", (folder / "status").read_text(), re.MULTILINE)
        if match is None:
            return None
        return self._users.name(int(match[1]))


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


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)


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
