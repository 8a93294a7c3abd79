"""What mails say: subjects, sections, notes, links, times."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.mail.links import Places
from gpufleet.alerting.mail.render import html_of, text_of
from gpufleet.alerting.mail.sample import samples
from gpufleet.alerting.mail.view import MAX_ROWS, Letter, view_of
from gpufleet.alerting.notify.content import Content, Reason
from gpufleet.alerting.state import Severity, State
from support.mail_incidents import MINUTE, T0, incident

NOW = T0 + 2 * MINUTE


def letter(content: Content, *incidents: Incident, **changes: object) -> Letter:
    made = Letter(
        content,
        {one.id: one for one in incidents},
        NOW,
        Severity.WARNING,
        "NVIDIA H100 80GB HBM3",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_subject_says_what_whom_and_for_how_long() -> None:
    gpus = [
        incident("a", severity=Severity.CRITICAL),
        incident("b", severity=Severity.CRITICAL, value=88.0),
        incident("c", severity=Severity.CRITICAL, value=85.0, node="n2"),
    ]
    view = view_of(letter(Content(Reason.FIRST, fired=("a", "b", "c")), *gpus))
    assert view.subject == (
        "[CRITICAL] H100 80GB HBM3: 3 GPUs on 2 nodes – temperature 91 °C > 80 °C for 7 min"
    )


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("critical", "[CRITICAL] H100 80GB HBM3: GPU 3 on gpu-01 – temperature 91 °C > 80 °C for"),
        ("resolved", "[RESOLVED] H100 80GB HBM3: GPU 3 on gpu-01 – temperature 93 °C > 80 °C is"),
        ("no_data", "[NO DATA] H100 80GB HBM3: 9 GPUs on 2 nodes – no samples for 2 min, while"),
        ("flapping", "[FLAPPING] H100 80GB HBM3: GPU 1 on gpu-04 – memory used 97.3 % > 90 % came"),
        ("digest", "[DIGEST] 6 alerts, 5 still open – Alerts of 4 GPUs and 1 node on 3 nodes"),
        ("node_down", "[CRITICAL] node gpu-07 – Node gpu-07 sends nothing"),
    ],
)
def test_every_kind_of_mail_has_its_subject(name: str, subject: str) -> None:
    assert view_of(samples(NOW)[name].letter).subject.startswith(subject)


def test_a_resolved_mail_says_after_how_long() -> None:
    ended = incident("a", state=State.OK, resolved_ms=T0 + 37 * MINUTE)
    view = view_of(letter(Content(Reason.RESOLVED, resolved=("a",)), ended))
    assert view.subject.endswith("– temperature 93 °C > 80 °C is over after 42 min")
    assert view.advice == ()


@pytest.mark.parametrize("part", ["resolved", "fired_and_resolved"])
def test_a_mail_of_what_somebody_closed_does_not_say_that_it_resolved(part: str) -> None:
    ended = incident("a", state=State.OK, closed_ms=T0 + 37 * MINUTE, closed_by="bob")
    reason = Reason.RESOLVED if part == "resolved" else Reason.FIRED_AND_RESOLVED
    view = view_of(letter(Content(reason, **{part: ("a",)}), ended))
    assert view.subject.startswith("[CLOSED] ")
    assert view.subject.endswith("temperature 93 °C > 80 °C: closed by bob after 42 min")
    assert [section.title for section in view.sections] == ["Closed"]


def test_a_number_that_is_no_metric_is_not_shown_alone() -> None:
    idle = incident("a", metric="", unit="ratio", value=1.0, threshold=0.95, summary="GPU 0 idles")
    view = view_of(letter(Content(Reason.FIRST, fired=("a",)), idle))
    assert view.subject.endswith("– GPU 0 idles")
    assert [label for label, _ in view.numbers] == ["Lasts"]
    assert view.sections[0].rows[0].value == ""


def test_more_than_twenty_rows_are_counted_and_the_worst_are_shown() -> None:
    gpus = [incident(f"g{n}", value=81.0 + n, node=f"n{n % 4}") for n in range(25)]
    ids = tuple(one.id for one in gpus)
    view = view_of(letter(Content(Reason.FIRST, fired=ids), *gpus))
    (section,) = view.sections
    assert len(section.rows) == MAX_ROWS
    assert section.rows[0].value == "105 °C"
    assert section.title == "Firing (25)"
    assert section.more.startswith("and 5 more: ")


def test_a_silent_node_is_one_row() -> None:
    gpus = [
        incident(f"g{n}", state=State.NO_DATA, gpu_index=n, last_sample_ms=T0) for n in range(8)
    ]
    ids = tuple(one.id for one in gpus)
    view = view_of(letter(Content(Reason.NO_DATA, no_data=ids), *gpus))
    (section,) = view.sections
    (row,) = section.rows
    assert row.where == "n1 · 8 GPUs"
    assert row.note.startswith("no data since")
    assert "gpufleet agent doctor" in view.advice[0]


def test_times_are_the_hubs_and_name_their_offset() -> None:
    view = view_of(
        letter(Content(Reason.FIRST, fired=("a",)), incident("a"), zone=ZoneInfo("Asia/Kolkata"))
    )
    assert view.time.endswith("+05:30")
    assert view.sections[0].rows[0].since.endswith("+05:30")


def test_without_addresses_the_mail_names_the_commands() -> None:
    view = view_of(letter(Content(Reason.FIRST, fired=("a",)), incident("a")))
    assert view.links == ()
    assert view.commands == ("gpufleet alerts list", "gpufleet alerts ack a")


def test_links_lead_to_grafana_and_to_the_incident() -> None:
    one = incident("a", node="n 1&x=y")
    places = Places("https://hub.example.org", "https://grafana.example.org/d/gpu?orgId=1")
    view = view_of(letter(Content(Reason.FIRST, fired=("a",)), one, places=places))
    grafana, own = view.links
    assert grafana.url.startswith(
        "https://grafana.example.org/d/gpu?orgId=1&var-node=n+1%26x%3Dy&from="
    )
    assert own.url == "https://hub.example.org/api/v1/incidents/a"
    named = Places("", "https://g.example.org/d/{uuid}?node={node}")
    view = view_of(letter(Content(Reason.FIRST, fired=("a",)), one, places=named))
    assert view.links[0].url == "https://g.example.org/d/GPU-a?node=n%201%26x%3Dy"


def test_who_closed_or_acknowledged_it_is_noted() -> None:
    closed = incident("a", state=State.OK, closed_ms=T0, closed_by="ann", closed_comment="moved")
    known = incident("b", acknowledged_ms=T0, acknowledged_by="ben")
    view = view_of(
        letter(Content(Reason.PARTLY_RESOLVED, resolved=("a",), lasting=("b",)), closed, known)
    )
    assert [section.rows[0].note for section in view.sections] == [
        "closed by ann: moved",
        "acknowledged by ben",
    ]


def test_the_worst_value_is_named_for_a_threshold_from_below() -> None:
    low = incident("a", comparison="<", threshold=50.0, value=10.0, peak=5.0)
    lower = incident("b", comparison="<", threshold=50.0, value=7.0, peak=5.0)
    view = view_of(letter(Content(Reason.FIRST, fired=("a", "b")), low, lower))
    assert "temperature 7 °C < 50 °C" in view.subject


def test_the_text_says_all_that_the_html_says() -> None:
    for name, sample in samples(NOW).items():
        view = view_of(sample.letter)
        text, html = text_of(view), html_of(view, chart=False)
        for section in view.sections:
            assert section.title in text
            for row in section.rows:
                assert row.where in text, name
                assert row.where in html, name
        assert "cid:" not in html
        assert max(map(len, text.splitlines())) < 200
