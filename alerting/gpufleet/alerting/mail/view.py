"""What a mail says, as plain values: text and HTML are two ways to write the same view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.mail import links, phrases
from gpufleet.alerting.mail.links import Link, Places
from gpufleet.alerting.mail.plain import plain
from gpufleet.alerting.notify.content import Content, Reason
from gpufleet.alerting.notify.episode import AlertKey
from gpufleet.alerting.state import Scope, Severity, State
from gpufleet.alerting.wording import duration, quantity

MAX_ROWS = 20
MAX_DETAILS = 5
"""Rows with everything that is known, if there are no more; of more rows MANY_DETAILS."""
MANY_DETAILS = 1
MAX_LINES = 8


@dataclass(frozen=True, slots=True)
class Letter:
    """Everything that a mail is made of."""

    content: Content
    incidents: Mapping[str, Incident]
    now_ms: int
    severity: Severity
    model: str = ""
    zone: tzinfo = UTC
    places: Places = field(default_factory=Places)
    moves: Mapping[AlertKey, int] = field(default_factory=dict)
    """How often flapping alerts came and went in the last half hour."""


@dataclass(frozen=True, slots=True)
class Row:
    """One incident in a table of the mail."""

    where: str
    """``gpu-01 · GPU 3``"""
    what: str
    value: str
    peak: str
    limit: str
    duration: str
    since: str
    until: str
    note: str
    """``no data``, ``acknowledged by ann``, ``closed by ben: moved``, or ""."""
    users: str
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    """(label, lines) of everything else that is known."""
    link: Link | None


@dataclass(frozen=True, slots=True)
class Section:
    """Incidents of which the same is told."""

    title: str
    tone: str
    rows: tuple[Row, ...]
    more: str
    """What of it is not listed, in words."""
    details: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A mail in plain words, every text already harmless (plain.py), none of it HTML."""

    subject: str
    tag: str
    tone: str
    model: str
    """What all of it is about, if that is one GPU model."""
    heading: str
    sentence: str
    numbers: tuple[tuple[str, str], ...]
    """(label, value) of the alert that the mail is named by."""
    advice: tuple[str, ...]
    sections: tuple[Section, ...]
    links: tuple[Link, ...]
    commands: tuple[str, ...]
    time: str
    why: str
    chart_title: str
    preview: str
    """What mail clients show beside the subject."""


_TITLES = (
    ("fired", "Firing", ""),
    ("no_data", "No data any more", "nodata"),
    ("flapping", "Coming and going", "flapping"),
    ("fired_and_resolved", "Fired and resolved", "resolved"),
    ("resolved", "Resolved", "resolved"),
    ("muted", "Ended while muted", "muted"),
    ("lasting", "Still firing", ""),
)
_WHY = {
    Reason.FIRST: "Alerts that come together make one mail; more follow every 5 min at most.",
    Reason.NEW: "More alerts of this group fired since its last mail.",
    Reason.RESOLVED: "Everything of this group has ended, a minute ago at least.",
    Reason.PARTLY_RESOLVED: "Some alerts of this group have ended.",
    Reason.FIRED_AND_RESOLVED: "It ended before it could be mailed.",
    Reason.NO_DATA: "Silence never resolves an alert: it stays open until good samples come.",
    Reason.REPEAT: "It still lasts. It is repeated every 4 h until it ends or is acknowledged.",
    Reason.FLAPPING: "From now on it is told once an hour, until it keeps still for half an hour.",
    Reason.MUTED: "It ended while a silence or a maintenance window muted it.",
    Reason.DIGEST: "Mails over your limit of 20 an hour, or of muted times, are gathered in one.",
}


def view_of(letter: Letter) -> View:
    """The mail in words. It names at least one incident that is known."""
    content, now_ms = letter.content, letter.now_ms
    told = {
        name: [letter.incidents[one] for one in getattr(content, name) if one in letter.incidents]
        for name, _, _ in _TITLES
    }
    named = _named(content.reason, told)
    lead = phrases.lead(named)
    tag, tone = _tag(letter, named)
    who = phrases.whom(named)
    others = len({one.alertname for one in named} - {lead.alertname})
    sentence = _sentence(letter, lead, named)
    if others and tone != "digest":
        sentence += f", and {others} other alert{'s' if others > 1 else ''}"
    model = phrases.model_name(letter.model)
    about = f"{model}: " if model and content.reason is not Reason.DIGEST else ""
    shown = [one for part in told.values() for one in part]
    if tone == "digest":
        who, sentence = sentence, f"Alerts of {phrases.whom(shown)}"
    subject = plain(f"[{tag}] {about}{who} – {sentence}", 200)
    return View(
        subject=subject,
        tag=tag,
        tone=tone,
        model="" if tone == "digest" else model,
        heading=who[0].upper() + who[1:],
        sentence=sentence[0].upper() + sentence[1:],
        numbers=() if tone == "digest" else _numbers(letter, lead, many=len(named) > 1),
        advice=_advice(letter, named),
        sections=tuple(
            _section(letter, title, part_tone or tone, told[name], name)
            for name, title, part_tone in _TITLES
            if told[name]
        ),
        links=links.of(lead, letter.places, now_ms),
        commands=links.commands(shown, letter.places),
        time=phrases.clock(now_ms, letter.zone),
        why=_WHY[content.reason],
        chart_title=phrases.metric_words(lead.metric).capitalize(),
        preview=_preview(named),
    )


def charted(letter: Letter) -> list[Incident]:
    """The incidents that a chart would show: of the leading alert's metric, the worst first."""
    told = {
        name: [
            letter.incidents[one]
            for one in getattr(letter.content, name)
            if one in letter.incidents
        ]
        for name, _, _ in _TITLES
    }
    named = _named(letter.content.reason, told)
    if not named or letter.content.reason is Reason.DIGEST:
        return []
    first = phrases.lead(named)
    if not first.metric or first.scope is Scope.NODE:
        return []
    rest = [one for one in named if one.metric == first.metric and one.id != first.id]
    return [first, *sorted(rest, key=phrases.excess, reverse=True)]


def _named(reason: Reason, told: Mapping[str, list[Incident]]) -> list[Incident]:
    """The incidents that the mail is about."""
    order = {
        Reason.NO_DATA: ("no_data",),
        Reason.FLAPPING: ("flapping",),
        Reason.RESOLVED: ("resolved", "fired_and_resolved"),
        Reason.FIRED_AND_RESOLVED: ("fired_and_resolved",),
        Reason.PARTLY_RESOLVED: ("resolved", "fired_and_resolved"),
        Reason.MUTED: ("muted",),
        Reason.REPEAT: ("lasting",),
    }.get(reason, ("fired",))
    named = [one for name in order for one in told[name]]
    return named or [one for part in told.values() for one in part]


def _tag(letter: Letter, named: Sequence[Incident]) -> tuple[str, str]:
    """The word in the subject, and what colours follow from."""
    match letter.content.reason:
        case Reason.RESOLVED | Reason.FIRED_AND_RESOLVED | Reason.PARTLY_RESOLVED:
            return ("CLOSED", "nodata") if _closed(named) else ("RESOLVED", "resolved")
        case Reason.NO_DATA:
            return "NO DATA", "nodata"
        case Reason.FLAPPING:
            return "FLAPPING", "flapping"
        case Reason.DIGEST | Reason.MUTED:
            return "DIGEST", "digest"
        case _:
            severity = max((one.severity for one in named), key=lambda one: one.rank)
            return severity.value.upper(), severity.value


def _closed(incidents: Sequence[Incident]) -> bool:
    """Somebody ended them, or their rules: nobody says that all is well."""
    return all(one.closed_ms is not None for one in incidents)


def _sentence(letter: Letter, lead: Incident, named: Sequence[Incident]) -> str:
    now_ms, reason = letter.now_ms, letter.content.reason
    words = phrases.comparison(lead)
    longest = duration(max(phrases.lasted_ms(one, now_ms) for one in named))
    match reason:
        case Reason.RESOLVED | Reason.FIRED_AND_RESOLVED if _closed(named):
            return f"{words}: closed by {lead.closed_by or 'the hub'} after {longest}"
        case Reason.RESOLVED | Reason.PARTLY_RESOLVED:
            partly = " (others last)" if reason is Reason.PARTLY_RESOLVED else ""
            return f"{words} is over after {longest}{partly}"
        case Reason.FIRED_AND_RESOLVED:
            return f"{words} fired and resolved after {longest}"
        case Reason.NO_DATA:
            silent = duration(now_ms - (lead.last_sample_ms or lead.since_ms))
            return f"no samples for {silent}, while firing: {words}"
        case Reason.FLAPPING:
            moves = letter.moves.get((lead.alertname, lead.subject_key), 0)
            often = f" {moves} times in 30 min" if moves else ""
            return f"{words} came and went{often}"
        case Reason.DIGEST | Reason.MUTED:
            ids = letter.content.ids()
            open_now = sum(one.open for one in letter.incidents.values() if one.id in ids)
            lasting = f"{open_now} still open" if open_now else "all of them over"
            return f"{len(ids)} alert{'s' if len(ids) > 1 else ''}, {lasting}"
        case Reason.REPEAT:
            return f"{words} still, after {longest}"
        case _:
            return f"{words} for {longest}" if phrases.compares(lead) else words


def _numbers(letter: Letter, lead: Incident, *, many: bool) -> tuple[tuple[str, str], ...]:
    found = []
    if phrases.compares(lead):
        if lead.open:
            now = "Worst now" if many else "Now"
            silent = letter.content.reason is Reason.NO_DATA
            found.append(("Last value" if silent else now, quantity(lead.value, lead.unit)))
        found.append(("Peak", quantity(lead.peak, lead.unit)))
        found.append(("Threshold", quantity(lead.threshold, lead.unit)))
    if lead.count > 1:
        found.append(("Times", str(lead.count)))
    found.append(("Lasts" if lead.open else "Lasted", phrases.lasted(lead, letter.now_ms)))
    return tuple(found)


NO_DATA_ADVICE = (
    "See whether the agent runs there (systemctl status gpufleet-agent) and reaches its GPUs"
    " (gpufleet agent doctor)."
)


def _advice(letter: Letter, named: Sequence[Incident]) -> tuple[str, ...]:
    """What to do about what is still open."""
    if letter.content.reason is Reason.NO_DATA:
        return (NO_DATA_ADVICE,)
    found: list[str] = []
    for one in sorted(named, key=lambda one: -one.severity.rank):
        for text in (one.advice, one.description):
            text = plain(text, 600)
            if one.open and text and text not in found:
                found.append(text)
    return tuple(found[:4])


def _preview(named: Sequence[Incident]) -> str:
    rows = [" ".join(filter(None, (plain(one.node, 40), phrases.device(one)))) for one in named]
    return plain(", ".join(dict.fromkeys(rows)), 140)


def _section(
    letter: Letter, title: str, tone: str, incidents: list[Incident], name: str
) -> Section:
    together: dict[str, int] = {}
    if name == "no_data":
        together = Counter(one.node for one in incidents)
    if name in ("no_data", "flapping"):
        incidents = _one_each(incidents, name)
    ordered = sorted(
        incidents, key=lambda one: (-one.severity.rank, -phrases.excess(one), one.since_ms)
    )
    if name in ("resolved", "fired_and_resolved") and _closed(incidents):
        title, tone = "Closed", "nodata"
    rows = tuple(_row(letter, one, together.get(one.node, 1)) for one in ordered[:MAX_ROWS])
    if letter.content.reason in (Reason.DIGEST, Reason.MUTED) and not tone:
        tone = "digest"
    details = rows if len(rows) <= MAX_DETAILS else rows[:MANY_DETAILS]
    if letter.content.reason is Reason.DIGEST or name in ("lasting", "no_data"):
        details = ()
    return Section(
        title=f"{title} ({len(incidents)})" if len(incidents) > 1 else title,
        tone=tone,
        rows=rows,
        more=_more(ordered[MAX_ROWS:]),
        details=tuple(one for one in details if len(one.facts) > 1),
    )


def _one_each(incidents: list[Incident], name: str) -> list[Incident]:
    """Of a silent node its worst incident, of a flapping alert the newest."""
    kept: dict[tuple[str, ...], Incident] = {}
    worst_last = phrases.excess if name == "no_data" else _began
    for one in sorted(incidents, key=worst_last):
        key = (one.node,) if name == "no_data" else (one.alertname, one.subject_key)
        kept[key] = one
    return list(kept.values())


def _began(one: Incident) -> float:
    return float(one.since_ms)


def _more(rest: Sequence[Incident]) -> str:
    if not rest:
        return ""
    by_node: dict[str, int] = {}
    for one in rest:
        by_node[one.node] = by_node.get(one.node, 0) + 1
    most = sorted(by_node.items(), key=lambda item: -item[1])[:5]
    named = ", ".join(f"{plain(node, 40)} ({count})" for node, count in most)
    others = f" and {len(by_node) - len(most)} more nodes" if len(by_node) > len(most) else ""
    return f"and {len(rest)} more: {named}{others}"


def _row(letter: Letter, one: Incident, count: int = 1) -> Row:
    """``count``: this row stands for so many GPUs of its node."""
    zone, now_ms = letter.zone, letter.now_ms
    ended = one.resolved_ms or one.closed_ms
    compares = phrases.compares(one)
    where = [plain(one.node, 60), f"{count} GPUs" if count > 1 else phrases.device(one)]
    users = plain(", ".join(one.users), 160)
    limit = quantity(one.threshold, one.unit) if compares else ""
    gpu = one.scope is not Scope.NODE
    facts = (
        ("Model", (plain(one.gpu_name, 80),)),
        ("UUID", (plain(one.subject_key, 80) if gpu else "",)),
        ("Alert", (plain(one.alertname, 80),)),
        ("Threshold", (limit,)),
        ("Since", (phrases.clock(one.since_ms, zone),)),
        ("Until", (phrases.clock(ended, zone) if ended else "",)),
        ("Health", _lines(one.reasons)),
        ("Users", (users,)),
        ("Processes", _lines(one.processes)),
    )
    return Row(
        where=" · ".join(part for part in where if part),
        what=plain((one.summary if count == 1 else "") or one.alertname, 160),
        value=quantity(one.value, one.unit) if compares else "",
        peak=quantity(one.peak, one.unit) if compares else "",
        limit=limit,
        duration=phrases.lasted(one, now_ms),
        since=phrases.clock(one.since_ms, zone),
        until=phrases.clock(ended, zone) if ended else "",
        note=_note(letter, one),
        users=users,
        facts=tuple((label, lines) for label, lines in facts if any(lines)),
        link=links.incident_link(one, letter.places),
    )


def _note(letter: Letter, one: Incident) -> str:
    if one.closed_ms is not None:
        comment = f": {one.closed_comment}" if one.closed_comment else ""
        return plain(f"closed by {one.closed_by or 'the hub'}{comment}", 160)
    if one.state is State.NO_DATA:
        last = one.last_sample_ms
        since = f" since {phrases.clock(last, letter.zone, date=False)}" if last else ""
        return f"no data{since}"
    if one.acknowledged_ms is not None:
        return plain(f"acknowledged by {one.acknowledged_by}", 160)
    moves = letter.moves.get((one.alertname, one.subject_key), 0)
    if one.id in letter.content.flapping and moves:
        return f"came and went {moves} times in 30 min"
    return ""


def _lines(texts: Sequence[str]) -> tuple[str, ...]:
    found = tuple(plain(text, 200) for text in texts[:MAX_LINES])
    if len(texts) > MAX_LINES:
        found += (f"and {len(texts) - MAX_LINES} more",)
    return found
