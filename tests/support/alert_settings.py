"""Settings of a hub that alerts within seconds and mails to a folder or a server."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

RECIPIENT = "ops@example.org"


def alerting_hub(home: Path, *rules: str, smtp_port: int = 0, wait_seconds: int = 2) -> Path:
    """A hub.toml in ``home`` with these rules, each the inside of a YAML mapping.

    Mails lie in ``home``/mail, or go to a server on the loopback.
    """
    lines = ["groups:", "  - name: g", "    rules:", *(f"      - {{{one}}}" for one in rules)]
    (home / "rules.yml").write_text("\n".join(lines) + "\n")
    way = f'mail_dir = "{home / "mail"}"'
    if smtp_port:
        way = f'host = "127.0.0.1"\nport = {smtp_port}\nsecurity = "none"\ntimeout = 5'
    file = home / "hub.toml"
    file.write_text(
        f'rules = "{home / "rules.yml"}"\ngroup_wait = "{wait_seconds}s"\n'
        f'[smtp]\n{way}\nfrom = "gpufleet@example.org"\n'
        f'[[route]]\nrecipients = ["{RECIPIENT}"]\n'
    )
    return file


def mails(home: Path) -> list[EmailMessage]:
    """The mails that lie in ``home``, oldest first."""
    parser = BytesParser(policy=policy.default)
    return [parser.parsebytes(file.read_bytes()) for file in sorted(home.glob("mail/*.eml"))]
