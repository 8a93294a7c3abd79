"""Settings of mail: ``[smtp]``, ``[[route]]`` and what stands beside them in hub.toml."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from gpufleet.alerting.mail.links import Places
from gpufleet.alerting.mail.message import address_of
from gpufleet.alerting.notify.due import WAIT_MS
from gpufleet.alerting.notify.muting import Matcher
from gpufleet.alerting.notify.routing import Route
from gpufleet.alerting.rules.tokens import duration_ms
from gpufleet.alerting.smtp import DEFAULT_PORTS, Security, SmtpSettings, loopback
from gpufleet.alerting.state import Severity

PASSWORD_VARIABLE = "GPUFLEET_SMTP_PASSWORD"
PLAIN = ("external_url", "grafana_url", "timezone", "heartbeat_url")
"""Settings that may stand in GPUFLEET_* variables too."""
NAMES = ("smtp", "route", "group_wait", *PLAIN)
"""Settings of hub.toml that this module reads."""

_SMTP = (
    *("host", "port", "security", "username", "password_file", "ca_file", "from", "timeout"),
    "mail_dir",
)
_ROUTE = ("severity", "node", "model", "label", "recipients")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")


class MailConfigError(ValueError):
    """A setting of mail that cannot be used. The text names it and the mend."""


@dataclass(frozen=True, slots=True)
class MailConfig:
    """How and to whom the hub mails; with neither ``smtp`` nor ``mail_dir`` it does not."""

    smtp: SmtpSettings | None = None
    mail_dir: Path | None = None
    """Mails are written here as files instead of being sent."""
    sender: str = ""
    routes: tuple[Route, ...] = ()
    places: Places = field(default_factory=Places)
    zone: tzinfo = UTC
    heartbeat_url: str = ""
    wait_ms: int = WAIT_MS
    """``group_wait``: so long a first mail waits for more of its group to fire."""

    @property
    def on(self) -> bool:
        """Whether there is a way to send."""
        return self.smtp is not None or self.mail_dir is not None


def read_mail(table: Mapping[str, Any], environ: Mapping[str, str], base: Path) -> MailConfig:
    """The settings of mail in hub.toml's ``table``; MailConfigError with a sentence.

    ``base``: the folder that paths in it are relative to.
    """
    external = _url(table, "external_url")
    places = Places(external.rstrip("/"), _url(table, "grafana_url").rstrip("/"))
    zone = _zone(table.get("timezone"))
    heartbeat = _url(table, "heartbeat_url")
    routes = tuple(_route(one, number) for number, one in enumerate(_routes(table), start=1))
    wait_ms = _wait(table.get("group_wait", "30s"))
    made = MailConfig(
        routes=routes, places=places, zone=zone, heartbeat_url=heartbeat, wait_ms=wait_ms
    )
    if "smtp" not in table:
        if routes:
            raise MailConfigError("There are routes, but no [smtp] that could send their mail.")
        return made
    smtp = _table(table["smtp"], "smtp", _SMTP)
    sender = _sender(smtp)
    if "mail_dir" in smtp:
        also = [name for name in ("host", "port", "security", "username") if name in smtp]
        if also:
            raise MailConfigError(
                f"smtp: mail_dir writes mails to files and needs no {also[0]}: take one out."
            )
        folder = base / _text(smtp, "mail_dir", "smtp")
        return MailConfig(None, folder, sender, routes, places, zone, heartbeat, wait_ms)
    settings = _smtp(smtp, sender, environ, base)
    return MailConfig(settings, None, sender, routes, places, zone, heartbeat, wait_ms)


def _wait(value: Any) -> int:
    found = duration_ms(str(value))
    if found is None or found > 600_000:
        raise MailConfigError(f"group_wait: {value!r} is no duration such as 30s (10m at most).")
    return found


def _smtp(
    smtp: Mapping[str, Any], sender: str, environ: Mapping[str, str], base: Path
) -> SmtpSettings:
    if "host" not in smtp:
        raise MailConfigError("smtp: name the mail server with host, or a folder with mail_dir.")
    host = _text(smtp, "host", "smtp")
    security = _security(smtp)
    if security is Security.NONE and not loopback(host):
        raise MailConfigError(
            f'smtp: security = "none" is for a server on this machine only, not for {host}:'
            ' use "starttls" or "tls".'
        )
    username = _text(smtp, "username", "smtp") if "username" in smtp else ""
    password = _password(smtp, environ, base)
    if username and not password:
        raise MailConfigError(
            f"smtp: {username} has no password: name a file with password_file, or set"
            f" {PASSWORD_VARIABLE}."
        )
    if username and security is Security.NONE:
        raise MailConfigError('smtp: with security = "none" a password would go unprotected.')
    return SmtpSettings(
        host=host,
        sender=address_of(sender),
        port=_number(smtp, "port", 1, 65535, DEFAULT_PORTS[security]),
        security=security,
        username=username,
        password=password if username else "",
        ca_file=base / _text(smtp, "ca_file", "smtp") if "ca_file" in smtp else None,
        timeout_seconds=float(_number(smtp, "timeout", 1, 300, 30)),
    )


def _security(smtp: Mapping[str, Any]) -> Security:
    words = [one.value for one in Security]
    word = smtp.get("security", Security.STARTTLS.value)
    if word not in words:
        raise MailConfigError(
            f"smtp: security {word!r} is none of {', '.join(words)}.{_near(word, words)}"
        )
    return Security(word)


def _password(smtp: Mapping[str, Any], environ: Mapping[str, str], base: Path) -> str:
    if environ.get(PASSWORD_VARIABLE):
        return environ[PASSWORD_VARIABLE]
    if "password_file" not in smtp:
        return ""
    path = base / _text(smtp, "password_file", "smtp")
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise MailConfigError(f"smtp: password_file {path} cannot be read: {reason}.") from None


def _sender(smtp: Mapping[str, Any]) -> str:
    if "from" not in smtp:
        raise MailConfigError('smtp: say whom mails come from: from = "gpufleet@example.org".')
    sender = _text(smtp, "from", "smtp")
    if not is_address(address_of(sender)) or not sender.isprintable():
        raise MailConfigError(f"smtp: from = {sender!r} is no mail address.")
    return sender


def _routes(table: Mapping[str, Any]) -> list[Any]:
    routes = table.get("route", [])
    if not isinstance(routes, list):
        raise MailConfigError("route must be written as [[route]], once for each route.")
    return routes


def _route(value: Any, number: int) -> Route:
    where = f"route {number}"
    route = _table(value, where, _ROUTE)
    recipients = _texts(route.get("recipients"), f"{where}: recipients")
    if not recipients:
        raise MailConfigError(f'{where} has no recipients: write recipients = ["ops@example.org"].')
    for one in recipients:
        if not is_address(one):
            raise MailConfigError(f"{where}: {one!r} is no mail address.")
    words = [one.value for one in Severity]
    severities = _texts(route.get("severity"), f"{where}: severity")
    for word in severities:
        if word not in words:
            raise MailConfigError(
                f"{where}: severity {word!r} is none of {', '.join(words)}.{_near(word, words)}"
            )
    matchers = [
        _matcher(name, text)
        for name in ("node", "model")
        for text in _texts(route.get(name), f"{where}: {name}")
    ]
    labels = route.get("label", {})
    if not isinstance(labels, dict):
        raise MailConfigError(f'{where}: write label = {{ rack = "r1" }}.')
    for name, value in labels.items():
        if not isinstance(value, str):
            raise MailConfigError(f"{where}: the label {name!r} must be a text, not {value!r}.")
        matchers.append(_matcher(f"label.{name}", value))
    return Route(tuple(recipients), tuple(matchers), frozenset(map(Severity, severities)))


def _matcher(name: str, text: str) -> Matcher:
    """``=``, or contains where there is a ``*``."""
    return Matcher(name, "~=" if "*" in text else "=", text)


def _table(value: Any, where: str, known: Iterable[str]) -> Mapping[str, Any]:
    known = tuple(known)
    if not isinstance(value, dict):
        raise MailConfigError(f"{where} must be a table, not {value!r}.")
    for name in value:
        if name not in known:
            raise MailConfigError(
                f"{where}: unknown setting {name!r}."
                + (_near(name, known) or f" Known: {', '.join(known)}.")
            )
    return value


def _text(table: Mapping[str, Any], name: str, where: str) -> str:
    value = table[name]
    if not isinstance(value, str) or not value.strip():
        raise MailConfigError(f"{where}: {name} must be a text, not {value!r}.")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if value is None:
        return []
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise MailConfigError(f"{where} must be a text or a list of texts, not {value!r}.")
    return found


def _number(table: Mapping[str, Any], name: str, least: int, most: int, default: int) -> int:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise MailConfigError(f"smtp: {name} must be from {least} to {most}, not {value!r}.")
    return value


def _url(table: Mapping[str, Any], name: str) -> str:
    if name not in table:
        return ""
    value = table[name]
    parts = urlsplit(value) if isinstance(value, str) else None
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or not value.isprintable()
        or " " in value
    ):
        raise MailConfigError(f"{name} must be an address such as https://gpus.example.org.")
    return str(value)


def _zone(name: Any) -> tzinfo:
    if name is None:
        return UTC
    try:
        if not isinstance(name, str) or not name:
            raise ValueError
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise MailConfigError(
            f"timezone = {name!r} is not known here: write one such as Europe/Berlin or UTC."
        ) from None


def is_address(text: str) -> bool:
    """Whether mail can be sent to it: ``name@host``, without a display name."""
    return _ADDRESS.fullmatch(text) is not None


def _near(word: Any, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(word), list(words), 1)
    return f" Did you mean {near[0]}?" if near else ""
