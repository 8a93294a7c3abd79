"""The mail on the wire: parts, headers, threads; and names that want to do harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.alerting.mail.letter import illustrated, written
from gpufleet.alerting.mail.links import Places
from gpufleet.alerting.mail.message import (
    MAX_CHART_BYTES,
    digest_id,
    domain_of,
    mail_id,
    message_id,
    thread_of,
)
from gpufleet.alerting.mail.picture import picture, spec_of
from gpufleet.alerting.mail.plain import plain
from gpufleet.alerting.mail.render import html_of
from gpufleet.alerting.mail.sample import hot, lines_of, samples
from gpufleet.alerting.mail.view import Letter, view_of
from gpufleet.alerting.notify.content import Content, Reason
from support.mail_incidents import T0

SENDER = "GPU alerts <gpufleet@example.org>"
TO = "ops@example.org"


def parsed(message: bytes) -> EmailMessage:
    mail = message_from_bytes(message, policy=policy.SMTP)
    assert isinstance(mail, EmailMessage)
    return mail


def letter(**changes: object) -> Letter:
    one = replace(hot(T0), **changes)  # type: ignore[arg-type]
    content = Content(Reason.FIRST, fired=(one.id,))
    return Letter(content, {one.id: one}, T0, one.severity, one.gpu_name)


def test_a_mail_has_text_and_html_and_the_chart_beside_it() -> None:
    sample = samples(T0)["critical"]
    chart = illustrated(sample.letter, lines_of)
    assert chart is not None
    assert len(chart) <= MAX_CHART_BYTES
    mail = parsed(written(sample.letter, SENDER, TO, "m1", (), chart).message)
    assert mail.get_content_type() == "multipart/alternative"
    text, related = mail.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert related.get_content_type() == "multipart/related"
    html, image = related.iter_parts()
    assert html.get_content_type() == "text/html"
    assert image["Content-ID"] == "<chart@gpufleet>"
    assert "cid:chart@gpufleet" in html.get_content()
    assert image.get_content() == chart


def test_its_headers_say_that_a_machine_wrote_it() -> None:
    mail = parsed(written(letter(), SENDER, TO, "m1").message)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Precedence"] == "bulk"
    assert mail["List-Id"] == "gpufleet alerts <alerts.gpufleet.example.org>"
    assert mail["From"] == "GPU alerts <gpufleet@example.org>"
    assert mail["To"] == TO
    assert mail["Message-ID"] == "<m1@example.org>"
    assert mail["X-Gpufleet-Reason"] == "first"
    assert mail["Date"].datetime.timestamp() == T0 // 1000
    assert mail["Subject"] == view_of(letter()).subject


def test_the_same_mail_is_the_same_bytes() -> None:
    assert (
        written(letter(), SENDER, TO, "m1").message == written(letter(), SENDER, TO, "m1").message
    )


def test_mails_of_an_episode_are_one_thread() -> None:
    assert thread_of("e" * 20, TO, 1, SENDER) == ()
    first = message_id(mail_id("e" * 20, TO, 1), SENDER)
    assert thread_of("e" * 20, TO, 2, SENDER) == (first,)
    third = message_id(mail_id("e" * 20, TO, 3), SENDER)
    assert thread_of("e" * 20, TO, 4, SENDER) == (first, third)
    mail = parsed(written(letter(), SENDER, TO, "m4", (first, third)).message)
    assert mail["In-Reply-To"] == third
    assert mail["References"].split() == [first, third]


def test_ids_fit_their_columns_and_differ_by_recipient() -> None:
    assert len(mail_id("e" * 20, TO, 4000)) <= 32
    assert mail_id("e", TO, 1) != mail_id("e", "other@example.org", 1)
    assert len(digest_id(TO, ["a", "b"])) <= 32
    assert digest_id(TO, ["a", "b"]) == digest_id(TO, ["b", "a"])
    assert domain_of("x@bad_domain") == "gpufleet.invalid"


class Tags(HTMLParser):
    """Every tag and attribute of a page, and its visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.events: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.events += [name for name, _ in attrs if name.startswith("on")]


def tags_of(html: str) -> Tags:
    found = Tags()
    found.feed(html)
    return found


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "n1\r\nBcc: all@example.org",
            "n1\n\n<html>",
            "</td></tr></table><script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "javascript:alert(1)",
            "{{ 7 * 7 }}{% for x in y %}",
            "\u202egpu\u2066\x1b[31m\x00\ud800",
            "x" * 5000,
            "=?utf-8?q?=0d=0aBcc:_a@b.c?=",
            "$x^2$ \\frac{1}{0}",
        ]
    ),
)


@settings(max_examples=25)
@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_no_text_from_elsewhere_can_do_harm(
    node: str, model: str, command: str, summary: str
) -> None:
    evil = letter(
        node=node,
        gpu_name=model,
        subject_key=node,
        alertname=summary,
        processes=(command, command),
        users=(command,),
        reasons=(summary,),
        summary=summary,
        advice=summary,
        description=command,
        labels={node: command},
        acknowledged_ms=T0,
        acknowledged_by=command,
    )
    evil = replace(evil, places=Places("https://hub.example.org", "https://g.example.org/d"))
    made = written(evil, SENDER, TO, "m1")
    mail = parsed(made.message)
    calm = parsed(written(letter(), SENDER, TO, "m1").message)
    assert set(mail.keys()) <= {*calm.keys(), "Importance"}
    assert mail.get_all("To") == [TO]
    assert mail["Bcc"] is None
    assert "\n" not in made.subject
    assert made.subject.isprintable()
    assert len(made.subject) <= 200
    html = tags_of(html_of(view_of(evil), chart=False))
    assert {"script", "img", "iframe", "object"}.isdisjoint(html.tags)
    assert html.events == []
    assert all(one.startswith("https://") for one in html.links)
    quiet = tags_of(html_of(view_of(replace(letter(), places=evil.places)), chart=False))
    assert abs(len(html.tags) - len(quiet.tags)) < 30
    for line in made.message.split(b"\r\n"):
        assert len(line) <= 998
        assert b"\n" not in line


@given(st.text(max_size=400))
def test_plain_is_one_visible_line(text: str) -> None:
    made = plain(text, 80)
    assert made.isprintable()
    assert len(made) <= 80
    assert plain(made, 80) == made


def test_a_chart_that_cannot_be_drawn_is_no_chart() -> None:
    one = hot(T0)
    spec = spec_of(one, lines_of([one], T0 - 60_000, T0), (T0 - 60_000, T0), UTC, "critical")
    assert picture({**spec, "series": "nonsense"}) is None
    assert picture(spec, seconds=0.01) is None


def test_the_program_that_draws_says_in_a_line_what_is_wrong() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "gpufleet.alerting.chart"],
        input=b"{}",
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.decode().startswith("No chart: KeyError")
    assert run.stderr.count(b"\n") == 1


def test_a_chart_of_much_history_is_small() -> None:
    one = hot(T0)
    start = T0 - 6 * 3_600_000
    lines = lines_of([hot(T0, index) for index in range(6)], start, T0)
    spec = json.loads(json.dumps(spec_of(one, lines, (start, T0), UTC, "critical")))
    made = picture(spec)
    assert made is not None
    assert len(made) <= MAX_CHART_BYTES
