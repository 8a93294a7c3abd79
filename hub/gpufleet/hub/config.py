"""Configuration of the hub: hub.toml, then GPUFLEET_* variables, then flags."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from gpufleet.hub.mail import config as mail_config
from gpufleet.hub.mail.config import MailConfig, MailConfigError

DEFAULT_FILE = Path("/etc/gpufleet/hub.toml")


class ConfigError(Exception):
    """A configuration that cannot be used. The text names the place and the mend."""


def default_data_dir() -> Path:
    """``/var/lib/gpufleet/hub`` for root, else the user's XDG data directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/gpufleet/hub")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "gpufleet" / "hub"


@dataclass(frozen=True, slots=True)
class HubConfig:
    """Settings of ``gpufleet hub serve``. ``database`` "" means SQLite in ``data_dir``."""

    data_dir: Path
    database: str = ""
    database_seconds: float = 15.0
    """The longest wait for one answer of a PostgreSQL server."""
    listen: str = "127.0.0.1"
    http_port: int = 9555
    grpc_port: int = 9556
    rules: Path | None = None
    """Alert rules; without a file those that are shipped. An edit is in force within seconds."""
    retention_samples_days: float = 15.0
    retention_minutes_days: float = 30.0
    retention_hours_days: float = 730.0
    """Usage is kept as long."""
    retention_events_days: float = 730.0
    retention_bytes: int | None = None
    """Bound of the whole database; the oldest samples go first."""
    mail: MailConfig = field(default_factory=MailConfig)
    """[smtp], [[route]] and what stands beside them (gpufleet.hub.mail.config)."""
    journal: Path | None = None
    """Records the position of every record received: for tests and for doubt."""

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data_dir / 'gpufleet.db'}"


MIN_BYTES = 10_000_000
MIN_DAYS, MAX_DAYS = 1, 36_500
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kMGT]i?)?B?", re.ASCII)
_UNITS = {None: 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kMGT", 1)
    for suffix, base in (("", 1000), ("i", 1024))
}


def _convert(name: str, value: Any, where: str) -> Any:
    """The value of a setting; ``where`` names it in sentences as it was written."""
    if name in ("http_port", "grpc_port"):
        try:
            port = int(value)
        except (TypeError, ValueError):
            port = -1
        if not 0 <= port <= 65535 or isinstance(value, bool):
            raise ConfigError(f"{where} must be a port from 0 to 65535, not {value!r}.")
        return port
    if name == "database_seconds":
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = 0.0
        if not 1 <= seconds <= 600 or isinstance(value, bool):
            raise ConfigError(f"{where} must be seconds from 1 to 600, not {value!r}.")
        return seconds
    if name == "retention_bytes":
        return _bytes(value, where)
    if name.startswith("retention_"):
        return _days(value, where)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} must be a text, not {value!r}.")
    return Path(value) if name in ("data_dir", "journal", "rules") else value


def _bytes(value: Any, where: str) -> int:
    found = _SIZE.fullmatch(str(value))
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if size < MIN_BYTES or isinstance(value, bool):
        raise ConfigError(
            f"{where} must be bytes, at least 10M, such as 500M, 20G or 20Gi, not {value!r}."
        )
    return size


def _days(value: Any, where: str) -> float:
    try:
        days = float(value)
    except (TypeError, ValueError):
        days = 0.0
    if not MIN_DAYS <= days <= MAX_DAYS or isinstance(value, bool):
        raise ConfigError(f"{where} must be days from {MIN_DAYS} to {MAX_DAYS}, not {value!r}.")
    return days


def load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> HubConfig:
    """The configuration in force. A flag that is ``None`` was not given."""
    names = {one.name for one in fields(HubConfig)} - {"mail"}
    values: dict[str, Any] = {}
    mail: dict[str, Any] = {}
    path = file or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigError(
                f"Cannot read {path}: {reason}. Name another with --config."
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not valid TOML: {error}.") from None
        for name, value in table.items():
            if name in mail_config.NAMES:
                mail[name] = value
                continue
            if name not in names:
                known = sorted(names | set(mail_config.NAMES))
                near = difflib.get_close_matches(name, known, 1)
                hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(known)}."
                raise ConfigError(f"{path}: unknown setting {name!r}.{hint}")
            values[name] = _convert(name, value, f"{path}: {name}")
    for name in names:
        variable = f"GPUFLEET_{name.upper()}"
        if variable in environ:
            values[name] = _convert(name, environ[variable], variable)
        if flags.get(name) is not None:
            values[name] = _convert(name, flags[name], f"--{name.replace('_', '-')}")
    values["mail"] = _mail(mail, path, environ)
    config = replace(HubConfig(default_data_dir()), **values)
    if config.http_port == config.grpc_port != 0:
        raise ConfigError(
            f"http_port and grpc_port are both {config.http_port}: give each a port of its own."
        )
    if config.listen not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(
            f"listen = {config.listen!r}: this version has no TLS and no tokens yet, so the hub"
            " listens on loopback only. Use 127.0.0.1, and an SSH tunnel from elsewhere."
        )
    return config


def _mail(table: dict[str, Any], path: Path | None, environ: Mapping[str, str]) -> MailConfig:
    """Settings of mail; paths in them are relative to the file."""
    for name in mail_config.PLAIN:
        variable = f"GPUFLEET_{name.upper()}"
        if variable in environ:
            table[name] = environ[variable]
    try:
        return mail_config.read_mail(table, environ, path.parent if path else Path())
    except MailConfigError as error:
        raise ConfigError(f"{path}: {error}" if path else str(error)) from None
