"""A real SMTP server in this process, with STARTTLS, a login, and the faults of real ones."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

LOGIN = ("mailer", "sesame öppne dig")


@dataclass(slots=True)
class Taken:
    """A mail that the server took (or whose taking it would not confirm)."""

    sender: str
    recipient: str
    data: bytes
    encrypted: bool


@dataclass(slots=True)
class Behaviour:
    """How it treats mails; may be changed between them."""

    refuse: dict[str, str] = field(default_factory=dict)
    """Recipient → the answer to RCPT TO."""
    data_answer: str = "250 OK"
    lose_answers: int = 0
    """So many mails are taken without an answer: the connection just ends."""
    hang: asyncio.Event | None = None
    """DATA is answered no sooner than this is set."""


class Handler:
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.taken: list[Taken] = []

    async def handle_RCPT(  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        if address in self.behaviour.refuse:
            return self.behaviour.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        if self.behaviour.hang is not None:
            await self.behaviour.hang.wait()
        if self.behaviour.data_answer.startswith("2"):
            self.taken.append(
                Taken(
                    str(envelope.mail_from), envelope.rcpt_tos[0], content, session.ssl is not None
                )
            )
        if self.behaviour.lose_answers:
            self.behaviour.lose_answers -= 1
            assert server.transport is not None
            server.transport.abort()
        return self.behaviour.data_answer


@dataclass(frozen=True, slots=True)
class MailServer:
    port: int
    handler: Handler

    @property
    def taken(self) -> list[Taken]:
        return self.handler.taken


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of ``localhost`` that is its own CA, and the server's side of it."""
    certificate, key = folder / "ca.pem", folder / "key.pem"
    if not certificate.exists():
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


@contextmanager
def mail_server(
    behaviour: Behaviour,
    context: ssl.SSLContext | None = None,
    *,
    login: bool = False,
    tls_at_once: bool = False,
    port: int = 0,
) -> Iterator[MailServer]:
    """A server on the loopback (0: a free port), its loop in a thread of its own."""
    handler = Handler(behaviour)

    def authenticate(server: Any, session: Any, envelope: Any, way: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = (data.login.decode(), data.password.decode()) == LOGIN
        return AuthResult(success=good, handled=good)

    def protocol() -> SMTP:
        return SMTP(
            handler,
            hostname="localhost",
            loop=loop,
            tls_context=None if tls_at_once else context,
            require_starttls=context is not None and not tls_at_once,
            auth_required=login,
            authenticator=authenticate if login else None,
            auth_require_tls=not tls_at_once,
        )

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = asyncio.run_coroutine_threadsafe(
        loop.create_server(protocol, "127.0.0.1", port, ssl=context if tls_at_once else None),
        loop,
    ).result(10)
    try:
        yield MailServer(made.sockets[0].getsockname()[1], handler)
    finally:

        async def close() -> None:
            if behaviour.hang is not None:
                behaviour.hang.set()
            made.close()
            others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
