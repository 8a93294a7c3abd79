"""Sends one mail to one recipient by SMTP: the only module that speaks to mail servers.

Whatever goes wrong is a SendFailed that says whether a retry can help, and whether it concerns
this mail or the whole server. Each phase has a deadline, and so has the whole.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

PHASES = 6
"""A whole delivery may take as many deadlines as it has phases that wait."""


class Security(Enum):
    """How the connection is protected."""

    STARTTLS = "starttls"
    """Plain at first, TLS before anything else is said; a server without it is refused."""
    TLS = "tls"
    """TLS from the first byte (port 465)."""
    NONE = "none"
    """Not at all: to this machine only."""


DEFAULT_PORTS = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """How to reach the mail server."""

    host: str
    sender: str
    """The address in MAIL FROM and From."""
    port: int = 587
    security: Security = Security.STARTTLS
    username: str = ""
    password: str = ""
    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""
    timeout_seconds: float = 30.0
    """For each answer of the server."""


class Blame(Enum):
    """What a failed delivery says about the next one."""

    SERVER = "server"
    """Nothing can be sent at all now: no connection, no TLS, no login."""
    TEMPORARY = "temporary"
    """The server will not take this mail now (4xx)."""
    PERMANENT = "permanent"
    """The server will never take this mail (5xx)."""


class SendFailed(Exception):
    """A mail was not taken. The text is a sentence that says why, and what to do."""

    def __init__(self, blame: Blame, sentence: str, code: int | None = None) -> None:
        super().__init__(sentence)
        self.blame = blame
        self.code = code


def send(settings: SmtpSettings, recipient: str, message: bytes) -> None:
    """Deliver ``message`` (CRLF lines, headers and body); returns once the server said 250."""
    where = f"{settings.host}:{settings.port}"
    with _connected(settings, where) as server:
        try:
            server.sendmail(settings.sender, [recipient], message)
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            raise _refused(code, text, f"{where} refuses the recipient {recipient}") from None
        except smtplib.SMTPSenderRefused as error:
            said = f"{where} refuses the sender {settings.sender}"
            raise _refused(error.smtp_code, error.smtp_error, said) from None
        except smtplib.SMTPDataError as error:
            said = f"{where} refuses the mail"
            raise _refused(error.smtp_code, error.smtp_error, said) from None
        except smtplib.SMTPNotSupportedError as error:
            raise SendFailed(Blame.PERMANENT, f"{where} cannot take this mail: {error}.") from None


@contextlib.contextmanager
def _connected(settings: SmtpSettings, where: str) -> Iterator[smtplib.SMTP]:
    """A connection that is protected and logged in; any failure of the network is a SendFailed."""
    phase = _Phase("connect to")
    server: smtplib.SMTP | None = None
    watchdog: threading.Timer | None = None
    try:
        context = _context(settings)
        if settings.security is Security.TLS:
            server = smtplib.SMTP_SSL(timeout=settings.timeout_seconds, context=context)
        else:
            server = smtplib.SMTP(timeout=settings.timeout_seconds)
        server._host = settings.host  # type: ignore[attr-defined]  # the name TLS verifies
        code, text = server.connect(settings.host, settings.port)
        watchdog = _watch(server, settings.timeout_seconds * PHASES)
        if code != 220:
            raise _refused(code, text, f"{where} does not want to talk", Blame.SERVER)
        phase.name = "greet"
        server.ehlo_or_helo_if_needed()
        if settings.security is Security.STARTTLS:
            phase.name = "begin TLS with"
            if not server.has_extn("starttls"):
                raise SendFailed(
                    Blame.SERVER,
                    f"{where} offers no STARTTLS, and without it nothing is sent: use the port for"
                    ' submission (587), or security = "tls" with port 465.',
                )
            server.starttls(context=context)
            server.ehlo()
        if settings.username:
            phase.name = "log in to"
            _login(server, settings, where)
        phase.name = "send through"
        yield server
    except smtplib.SMTPServerDisconnected:
        raise SendFailed(Blame.SERVER, _cut_off(phase.name, where, settings)) from None
    except smtplib.SMTPResponseException as error:
        said = f"Cannot {phase.name} {where}"
        raise _refused(error.smtp_code, error.smtp_error, said, Blame.SERVER) from None
    except TimeoutError:
        raise SendFailed(Blame.SERVER, _cut_off(phase.name, where, settings)) from None
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        raise SendFailed(Blame.SERVER, _network(error, phase.name, where, settings)) from None
    finally:
        if watchdog is not None:
            watchdog.cancel()
        if server is not None:
            _bye(server)


@dataclass(slots=True)
class _Phase:
    name: str


def _context(settings: SmtpSettings) -> ssl.SSLContext | None:
    if settings.security is Security.NONE:
        return None
    try:
        return ssl.create_default_context(
            cafile=str(settings.ca_file) if settings.ca_file else None
        )
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "it holds no certificate"
        raise SendFailed(
            Blame.SERVER, f"The CA file {settings.ca_file} cannot be used: {reason}."
        ) from None


def _login(server: smtplib.SMTP, settings: SmtpSettings, where: str) -> None:
    """AUTH PLAIN or LOGIN (RFC 4616), in UTF-8: smtplib's own takes ASCII passwords only."""
    ways = server.esmtp_features.get("auth", "").upper().split()
    user, password = settings.username.encode(), settings.password.encode()
    if "PLAIN" in ways:
        code, text = server.docmd("AUTH", f"PLAIN {_base64(bytes(1) + user + bytes(1) + password)}")
    elif "LOGIN" in ways:
        code, text = server.docmd("AUTH", f"LOGIN {_base64(user)}")
        if code == 334:
            code, text = server.docmd(_base64(password))
    else:
        raise SendFailed(
            Blame.SERVER,
            f"{where} takes no login that this hub knows (PLAIN, LOGIN): leave username out, or use"
            " the port for submission.",
        )
    if code != 235:
        said = f"{where} refuses the login of {settings.username}: check username and password"
        raise _refused(code, text, said, Blame.SERVER)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _watch(server: smtplib.SMTP, seconds: float) -> threading.Timer:
    """Ends a delivery that a server draws out byte by byte."""

    def cut() -> None:
        with contextlib.suppress(OSError, AttributeError):
            assert server.sock is not None
            server.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    return timer


def _bye(server: smtplib.SMTP) -> None:
    """QUIT, and no waiting: what is sent is sent."""
    with contextlib.suppress(OSError, smtplib.SMTPException):
        if server.sock is not None:
            server.sock.settimeout(2.0)
            server.quit()
    server.close()


def _refused(code: int, text: bytes | str, said: str, blame: Blame | None = None) -> SendFailed:
    """What the server answered, with its own words."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())[:300]
    if blame is None:
        blame = Blame.PERMANENT if 500 <= code < 600 else Blame.TEMPORARY
    return SendFailed(blame, f"{said}: it answered {code} {words}".rstrip(" .") + ".", code)


def _cut_off(phase: str, where: str, settings: SmtpSettings) -> str:
    return (
        f"Cannot {phase} {where}: it did not answer within {settings.timeout_seconds:g} s, or it"
        " closed the connection."
    )


def _network(error: Exception, phase: str, where: str, settings: SmtpSettings) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {where} is not trusted ({error.verify_message}): name its CA with"
            " ca_file, and use the host name that the certificate has."
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "it speaks no TLS").lower().replace("_", " ")
        return (
            f"{where} and this hub cannot agree on TLS ({reason}): port 465 wants"
            ' security = "tls", port 587 "starttls".'
        )
    if isinstance(error, socket.gaierror):
        return f"There is no host {settings.host!r} in DNS: check host in [smtp]."
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"Cannot {phase} {where}: {reason}."


def loopback(host: str) -> bool:
    """Whether ``host`` is this machine by its own name for itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
