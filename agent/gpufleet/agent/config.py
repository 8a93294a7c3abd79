"""The agent's settings: agent.toml, then GPUFLEET_* variables, then flags; errors in a sentence."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpufleet.agent.collectors import METHODS
from gpufleet.agent.processes.attribution import PROLOG_FOLDER
from gpufleet.agent.processes.table import REVEAL_NOTHING, Reveal
from gpufleet.proto.version import INTERVALS_MS

DEFAULT_FILE = Path("/etc/gpufleet/agent.toml")
MAX_LABELS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")
_LOOPBACK = re.compile(r"127(\.\d{1,3}){3}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,62}\Z")


class ConfigError(Exception):
    """A setting is wrong. The text is one sentence that names file, key and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an agent is told."""

    node: str
    hubs: tuple[str, ...]
    method: str
    interval_ms: int
    slow_interval_ms: int
    process_interval_ms: int
    state_dir: Path
    journal: Path | None
    labels: Mapping[str, str]
    gpus: int
    seed: int
    scenario: str
    backfill_hours: float
    backfill_interval_ms: int
    spool_max_bytes: int
    spool_max_age_ms: int
    cpu_budget_ratio: float
    kernel_log: Path = Path("/dev/kmsg")
    reveal: Reveal = REVEAL_NOTHING
    prolog_dir: Path = PROLOG_FOLDER


class _Wrong(Exception):
    """What is wrong with a value, to follow the name of its key."""


def load(config: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Settings from all three places; ConfigError says what is wrong with the first bad one.

    ``flags`` has strings (``hub`` and ``label`` lists of them); ``None`` means not given.
    """
    values: dict[str, Any] = {}
    named = config or (Path(env) if (env := environment.get("GPUFLEET_AGENT_CONFIG")) else None)
    for key, value in _file(named).items():
        values[key] = _read(key, value, f"{named or DEFAULT_FILE}: {key}")
    for key in _KEYS:
        text = environment.get(f"GPUFLEET_{key.upper()}")
        if text:
            values[key] = _read(key, text, f"GPUFLEET_{key.upper()}")
    for key, value in flags.items():
        if value is not None:
            flag = "label" if key == "labels" else key.replace("_", "-")
            values[key] = _read(key, value, f"--{flag}")
    return _settings(values)


def _settings(values: Mapping[str, Any]) -> Settings:
    interval_ms = values.get("interval", 1000)
    method = values.get("method", "auto")
    backfill = values.get("backfill", 0.0)
    if backfill and method != "sim":
        raise ConfigError(
            "--backfill makes up a past, which only method sim can: add --method sim."
        )
    return Settings(
        node=values["node"] if "node" in values else _read("node", socket.gethostname(), "node"),
        hubs=values.get("hub", ("127.0.0.1:9556",)),
        method=method,
        interval_ms=interval_ms,
        slow_interval_ms=max(interval_ms, values.get("slow_interval", 30_000)),
        process_interval_ms=max(interval_ms, values.get("process_interval", 5_000)),
        state_dir=values.get("state_dir") or _state_dir(os.environ),
        journal=values.get("journal"),
        labels=values.get("labels", {}),
        gpus=values.get("gpus", 3),
        seed=values.get("seed", 1),
        scenario=values.get("scenario", ""),
        backfill_hours=backfill,
        backfill_interval_ms=values.get("backfill_interval", 10_000),
        spool_max_bytes=values.get("spool_max_bytes", 256 << 20),
        spool_max_age_ms=int(values.get("spool_max_age_hours", 168.0) * 3_600_000),
        cpu_budget_ratio=values.get("cpu_budget_ratio", 0.02),
        kernel_log=values.get("kernel_log", Path("/dev/kmsg")),
        reveal=Reveal(
            values.get("process_arguments", False), values.get("process_environment", ())
        ),
        prolog_dir=values.get("prolog_dir", PROLOG_FOLDER),
    )


def _state_dir(environment: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/gpufleet/agent")
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(base) / "gpufleet/agent"


def _file(named: Path | None) -> Mapping[str, Any]:
    path = named or DEFAULT_FILE
    if named is None and not path.exists():
        return {}
    import tomllib  # only where there is a file: it takes memory

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: it is not valid TOML: {error}.") from error


def _read(key: str, value: object, where: str) -> Any:
    reader = _KEYS.get(key)
    if reader is None:
        import difflib

        near = difflib.get_close_matches(key, _KEYS, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KEYS)}."
        raise ConfigError(f"{where}: there is no such setting; {hint}")
    try:
        return reader(value)
    except _Wrong as wrong:
        shown = value[0] if isinstance(value, list) and len(value) == 1 else value
        raise ConfigError(f"{where} {wrong}, not {shown!r}.") from wrong


# Readers: a value of TOML, or the text of a variable or flag, as what Settings holds.


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong("must be a text")
    return value


def _number(value: object) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as error:
            raise _Wrong("must be a number") from error
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise _Wrong("must be a number")
    return float(value)


def _at_least(low: float, high: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        number = _number(value)
        if not low <= number <= high:
            raise _Wrong(f"must be from {low:g} to {high:g}")
        return number

    return read


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = _number(value)
        if not low <= number <= high or number != int(number):
            raise _Wrong(f"must be a whole number from {low} to {high}")
        return int(number)

    return read


def _interval(value: object) -> int:
    milliseconds = _number(value) * 1000
    if milliseconds not in INTERVALS_MS:
        allowed = ", ".join(str(ms // 1000) for ms in INTERVALS_MS)
        raise _Wrong(f"must be one of {allowed} seconds")
    return int(milliseconds)


def _seconds(value: object) -> int:
    return round(_at_least(1, 86_400)(value) * 1000)


def _node(value: object) -> str:
    name = _text(value)
    if not _NAME.match(name):
        raise _Wrong("must be a name of at most 128 letters, digits, '.', '_', ':' and '-'")
    return name


def _method(value: object) -> str:
    method = _text(value)
    if method not in METHODS:
        raise _Wrong(f"must be one of {', '.join(METHODS)}")
    return method


def _hubs(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list) or not value:
        raise _Wrong("must be HOST:PORT or a list of them")
    return tuple(_hub(_text(item).strip()) for item in value)


def _hub(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise _Wrong("must be HOST:PORT")
    bare = host.removeprefix("[").removesuffix("]")
    if bare not in ("localhost", "::1") and not _LOOPBACK.match(bare):
        raise _Wrong(
            "must be on loopback, since this version cannot yet encrypt what it sends: "
            "use 127.0.0.1, through a tunnel if the hub is elsewhere"
        )
    return address


def _labels(value: object) -> Mapping[str, str]:
    if isinstance(value, str):
        value = [item for item in value.split(",") if item]
    if isinstance(value, list):
        pairs = [_text(item).partition("=") for item in value]
        if not all(equals for _, equals, _ in pairs):
            raise _Wrong("must be KEY=VALUE")
        value = {key.strip(): text.strip() for key, _, text in pairs}
    if not isinstance(value, dict):
        raise _Wrong("must be a table of texts")
    if len(value) > MAX_LABELS:
        raise _Wrong(f"can have at most {MAX_LABELS} labels")
    for key, text in value.items():
        if not _LABEL.match(key):
            raise _Wrong(f"must have keys of letters, digits and '_', unlike {key!r}")
        if not isinstance(text, str) or len(text) > 256 or not text.isprintable():
            raise _Wrong(f"must have texts of at most 256 characters, unlike that of {key!r}")
    return dict(value)


def _yes_or_no(value: object) -> bool:
    said = {"true": True, "false": False}.get(str(value).lower())
    if said is None:
        raise _Wrong("must be true or false")
    return said


def _variables(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [item for item in value.split(",") if item]
    if not isinstance(value, list) or not all(_VARIABLE.match(_text(item)) for item in value):
        raise _Wrong("must be a list of names of variables")
    return tuple(value)


def _path(value: object) -> Path:
    text = _text(value)
    if not text:
        raise _Wrong("must be a path")
    return Path(text).expanduser()


_KEYS: Mapping[str, Callable[[object], Any]] = {
    "hub": _hubs,
    "node": _node,
    "method": _method,
    "interval": _interval,
    "slow_interval": _seconds,
    "process_interval": _seconds,
    "state_dir": _path,
    "journal": _path,
    "labels": _labels,
    "spool_max_bytes": _whole(1 << 20, 1 << 40),
    "spool_max_age_hours": _at_least(1, 8760),
    "cpu_budget_ratio": _at_least(0.001, 1),
    "kernel_log": _path,
    "process_arguments": _yes_or_no,
    "process_environment": _variables,
    "prolog_dir": _path,
    "gpus": _whole(0, 256),
    "seed": _whole(0, 2**53),
    "scenario": _text,
    "backfill": _at_least(0, 8760),
    "backfill_interval": _interval,
}
