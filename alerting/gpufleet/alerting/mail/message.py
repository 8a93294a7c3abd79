"""The mail as it goes over the wire: MIME parts and headers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr

from gpufleet.alerting.mail.plain import plain
from gpufleet.alerting.mail.render import CHART_ID

MAX_CHART_BYTES = 60 * 1024
_TOKEN = "abcdefghijklmnopqrstuvwxyz0123456789.-"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Headers of one mail."""

    sender: str
    """``gpufleet@example.org`` or ``GPU alerts <gpufleet@example.org>``."""
    recipient: str
    subject: str
    message_id: str
    """With its angle brackets."""
    references: tuple[str, ...] = ()
    """Message-IDs of the thread, the first one first."""
    date_ms: int = 0
    zone: tzinfo = UTC
    reason: str = ""
    severity: str = ""


def recipient_key(recipient: str) -> str:
    """Six characters that stand for a recipient in ids."""
    return hashlib.blake2b(recipient.lower().encode(), digest_size=3).hexdigest()


def mail_id(episode_id: str, recipient: str, number: int) -> str:
    """Names the ``number``-th mail of an episode to this recipient: at most 32 characters."""
    return f"{episode_id}-{recipient_key(recipient)}-{number:x}"


def digest_id(recipient: str, held: Sequence[str]) -> str:
    """Names the digest of these held mails."""
    text = "|".join(sorted(held))
    return (
        f"d{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}-{recipient_key(recipient)}"
    )


def message_id(mail: str, sender: str) -> str:
    """The same for the same mail, however often it is tried."""
    return f"<{mail}@{domain_of(sender)}>"


def thread_of(episode_id: str, recipient: str, number: int, sender: str) -> tuple[str, ...]:
    """What the ``number``-th mail of an episode refers to: its first one, and the one before."""
    numbers = dict.fromkeys(one for one in (1, number - 1) if 0 < one < number)
    return tuple(message_id(mail_id(episode_id, recipient, one), sender) for one in numbers)


def address_of(sender: str) -> str:
    """``gpufleet@example.org`` of ``GPU alerts <gpufleet@example.org>``."""
    return parseaddr(sender)[1]


def domain_of(sender: str) -> str:
    """The domain that mails are named in."""
    domain = address_of(sender).rpartition("@")[2].lower()
    return domain if domain and all(one in _TOKEN for one in domain) else "gpufleet.invalid"


def compose(envelope: Envelope, text: str, html: str, chart: bytes | None) -> bytes:
    """multipart/alternative of text and HTML, the picture beside the HTML; CRLF lines."""
    mail = EmailMessage(policy=SMTP)
    name, address = parseaddr(envelope.sender)
    mail["From"] = Address(_header(name) or "gpufleet", addr_spec=address)
    mail["To"] = Address(addr_spec=envelope.recipient)
    mail["Subject"] = _header(envelope.subject)
    mail["Date"] = datetime.fromtimestamp(envelope.date_ms / 1000, UTC).astimezone(envelope.zone)
    mail["Message-ID"] = envelope.message_id
    if envelope.references:
        mail["In-Reply-To"] = envelope.references[-1]
        mail["References"] = " ".join(envelope.references)
    mail["Auto-Submitted"] = "auto-generated"
    mail["Precedence"] = "bulk"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["List-Id"] = f"gpufleet alerts <alerts.gpufleet.{domain_of(envelope.sender)}>"
    if envelope.reason:
        mail["X-Gpufleet-Reason"] = envelope.reason
    if envelope.severity:
        mail["X-Gpufleet-Severity"] = envelope.severity
    if envelope.severity == "critical":
        mail["Importance"] = "high"
    mail.set_content(text, cte="quoted-printable")
    mail.add_alternative(html, subtype="html", cte="quoted-printable")
    if chart is not None and len(chart) <= MAX_CHART_BYTES:
        part = mail.get_payload()[1]  # type: ignore[index]
        assert isinstance(part, EmailMessage)
        part.add_related(
            chart,
            "image",
            "png",
            cid=f"<{CHART_ID}>",
            disposition="inline",
            filename="chart.png",
        )
    boundary_name = envelope.message_id.strip("<>").partition("@")[0]
    for number, part in enumerate(
        one for one in mail.walk() if one.get_content_maintype() == "multipart"
    ):
        part.set_boundary(f"=_{boundary_name}_{number}")
    return mail.as_bytes()


def _header(text: str) -> str:
    """Text for a header: what looks like an encoded word (RFC 2047) would be decoded otherwise."""
    return plain(text, 400).replace("=?", "= ?")
