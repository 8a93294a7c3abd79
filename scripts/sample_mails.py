"""Writes sample mails of every kind to a folder, as .eml, .html and .txt: to look at them.

``.venv/bin/python scripts/sample_mails.py FOLDER``; docs/email.md shows one of them.
"""

from __future__ import annotations

import base64
import email
import sys
import time
from dataclasses import replace
from email import policy
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

from gpufleet.alerting.mail.letter import illustrated, written
from gpufleet.alerting.mail.links import Places
from gpufleet.alerting.mail.render import CHART_ID
from gpufleet.alerting.mail.sample import Sample, hot, lines_of, samples
from gpufleet.alerting.mail.view import Letter
from gpufleet.alerting.notify.content import Content, Reason

EVIL = "<script>alert(1)</script>\r\nBcc: all@example.org\u202e\x1b[31m&amp;'\"" + "x" * 400


def hostile(now_ms: int) -> Letter:
    """A mail whose every text was chosen by an enemy."""
    one = hot(now_ms)
    evil = replace(
        one,
        node=EVIL,
        gpu_name=EVIL,
        summary=EVIL,
        advice=EVIL,
        subject_key=EVIL,
        labels={EVIL: EVIL},
        reasons=(EVIL,),
        processes=(EVIL, "$(reboot) `id` {{ 7 * 7 }}"),
        users=(EVIL,),
    )
    content = Content(Reason.FIRST, fired=(evil.id,))
    return Letter(content, {evil.id: evil}, now_ms, evil.severity, EVIL)


def shown(message: bytes) -> tuple[str, str]:
    """Text and HTML of a mail, its picture within the HTML."""
    mail = email.message_from_bytes(message, policy=policy.SMTP)
    assert isinstance(mail, EmailMessage)
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    page = html.get_content()
    for part in mail.walk():
        if part.get_content_type() == "image/png":
            data = base64.b64encode(part.get_content()).decode()
            page = page.replace(f"cid:{CHART_ID}", f"data:image/png;base64,{data}")
    return text.get_content(), page


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python scripts/sample_mails.py FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    now_ms = time.time_ns() // 1_000_000
    places = Places("https://gpufleet.example.org", "https://grafana.example.org/d/gpufleet-gpu")
    mails = samples(now_ms, ZoneInfo("Europe/Berlin"), places)
    mails["hostile"] = Sample(hostile(now_ms))
    for name, sample in mails.items():
        chart = illustrated(sample.letter, lines_of) if sample.charted else None
        mail = written(sample.letter, "gpufleet@example.org", "ops@example.org", name, (), chart)
        text, page = shown(mail.message)
        (folder / f"{name}.eml").write_bytes(mail.message)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
        print(f"{name:20} {len(mail.message):7} B, chart {len(chart or b''):6} B  {mail.subject}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
