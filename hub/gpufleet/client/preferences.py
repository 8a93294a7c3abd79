"""What a client remembers from one start to the next: a small JSON file, its user's alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 20


def path(environ: Mapping[str, str], name: str) -> Path:
    """Where the file is: ``$XDG_CONFIG_HOME/gpufleet/NAME.json``, ``~/.config`` where it is unset.

    A relative XDG_CONFIG_HOME does not count (XDG Base Directory Specification).
    """
    config = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(config):
        config = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return Path(config) / "gpufleet" / f"{name}.json"


def load(file: Path) -> Mapping[str, Any]:
    """The remembered values; none where there is no readable file."""
    try:
        with file.open("rb") as opened:
            found = json.loads(opened.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def save(file: Path, values: Mapping[str, Any]) -> None:
    """Writes them, whole or not at all, mode 0600.

    Where that is not possible nothing is remembered, and nothing else happens.
    """
    text = json.dumps(values, indent=1) + "\n"
    fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(opened, "w", encoding="utf-8") as writing:
                writing.write(text)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
