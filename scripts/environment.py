"""Makes the checkout's .venv with an editable gpufleet and the extras asked for, when it is needed.

Standard library only: it runs on a fresh machine. Two runs at once wait for each other, and a
stamp with the hash of what was installed lets the next run start at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
SUPERSETS = {"agent,hub,tui": ("agent,hub,tui", "dev"), "dev": ("dev",)}
"""Extras → those whose installation serves as well."""


@contextmanager
def locked() -> Iterator[None]:
    """Holds the checkout's lock: beside .venv, not in it, since .venv may be made anew."""
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def wanted() -> str:
    """What an installation depends on: the project's packaging, its place and its Python."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packaging = [table["build-system"], table["project"], table["tool"]["hatch"]]
    text = json.dumps([packaging, str(ROOT), str(PYTHON.resolve())])
    return hashlib.sha256(text.encode()).hexdigest()


def stamp(extras: str) -> Path:
    return VENV / f"installed-{extras}"


def installed(extras: str) -> bool:
    """True if .venv works and holds these extras of this very pyproject.toml."""
    return PYTHON.exists() and any(
        path.exists() and path.read_text() == wanted() for path in map(stamp, SUPERSETS[extras])
    )


def make() -> None:
    """A new .venv in place of one that is missing, broken or moved."""
    if importlib.util.find_spec("ensurepip") is None:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        sys.exit(
            f"{sys.executable} cannot make a virtual environment, its ensurepip module is "
            f"missing: run 'apt-get install {package}' (or your system's package for it) "
            "and start this again."
        )
    venv.create(VENV, clear=True, with_pip=True, symlinks=True)


def usable() -> bool:
    """True if .venv was made here and its pip starts."""
    home = VENV / "made-in"
    return (
        home.exists()
        and home.read_text() == str(ROOT)
        and PYTHON.exists()
        and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0
    )


def install(extras: str) -> None:
    """Editable install; pip tells only what went wrong."""
    command: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
    ]
    command += ["--no-warn-script-location", "--editable", f"{ROOT}[{extras}]"]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PIP_USER")}
    if subprocess.run(command, env=environment).returncode:
        sys.exit(
            f"Installing gpufleet[{extras}] into {VENV} failed: the lines above say why. "
            "Mend it (is the package index reachable from here?) and start this again."
        )


def main() -> None:
    """Brings .venv up to date for the extras named in the only argument."""
    extras = sys.argv[1]
    if installed(extras):
        return
    with locked():
        if installed(extras):
            return
        print(f"Installing gpufleet[{extras}] into {VENV} (a minute, once) …", file=sys.stderr)
        if not usable():
            make()
            (VENV / "made-in").write_text(str(ROOT))
        stamp(extras).unlink(missing_ok=True)
        install(extras)
        stamp(extras).write_text(wanted())


if __name__ == "__main__":
    main()
