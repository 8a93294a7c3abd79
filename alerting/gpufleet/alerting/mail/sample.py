"""Sample mails: what ``gpufleet hub test-email`` sends, and what their look is judged by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.mail.links import Places
from gpufleet.alerting.mail.picture import Line, label_of
from gpufleet.alerting.mail.view import Letter
from gpufleet.alerting.notify.content import Content, Reason
from gpufleet.alerting.state import Scope, Severity, State

MINUTE_MS = 60_000


def hot(now_ms: int, index: int = 3, node: str = "gpu-01", value: float = 91.0) -> Incident:
    """A GPU that has been too hot for seven minutes."""
    since_ms = now_ms - 7 * MINUTE_MS
    return Incident(
        id=f"5a3f{index:02x}{abs(hash_of(node)):06x}",
        alertname="GpuNearSlowdown",
        group="heat",
        severity=Severity.CRITICAL,
        scope=Scope.GPU,
        state=State.FIRING,
        node=node,
        subject_key=f"GPU-7b1f2c{index:02x}-9d3e-4a51-b6f0-{abs(hash_of(node)):012x}",
        gpu_index=index,
        gpu_name="NVIDIA H100 80GB HBM3",
        labels={"rack": "r12", "cluster": "train-a"},
        since_ms=since_ms,
        fired_ms=since_ms + 5 * MINUTE_MS,
        last_sample_ms=now_ms,
        value=value,
        peak=value + 2,
        threshold=80.0,
        comparison=">",
        metric="temperature_celsius",
        unit="celsius",
        summary=f"GPU {index} of {node} is at {value:.0f} °C, within 3 °C of its slowdown",
        advice="Lower the load or the power limit now, and check the cooling of the node.",
        reasons=("Hardware thermal slowdown in 38 % of the last 5 minutes.",),
        processes=("alice python 61.4 GiB job 48112", "alice python 9.8 GiB job 48112"),
        users=("alice",),
        for_ms=5 * MINUTE_MS,
        subject_id=index + 1,
    )


def hash_of(text: str) -> int:
    """A small number that is the same in every run."""
    return sum((at + 1) * ord(one) for at, one in enumerate(text))


def lines_of(incidents: Sequence[Incident], start_ms: int, end_ms: int) -> list[Line]:
    """Made-up values that rise over the threshold where each incident began."""
    found = []
    for number, one in enumerate(incidents):
        limit, value = one.threshold or 0.0, one.value or 0.0
        scale = limit / 80.0
        points: list[tuple[int, float | None]] = []
        for at in range(start_ms, end_ms, 5000):
            minutes = (at - one.since_ms) / MINUTE_MS
            over = (value - limit) * (1 - math.exp(-minutes / 2)) if minutes > 0 else minutes * 0.5
            if one.resolved_ms and at > one.resolved_ms:
                over = -6 * (1 - math.exp(-(at - one.resolved_ms) / MINUTE_MS))
            over = max(over * scale if over < 0 else over, -12.0 * scale)
            wave = 0.9 * math.sin(at / 19000 + number)
            points.append((at, limit + over + scale * (wave - 0.3 * number)))
        found.append(Line(label_of(one), points))
    return found


@dataclass(frozen=True, slots=True)
class Sample:
    """One mail to look at."""

    letter: Letter
    charted: bool = True


def samples(now_ms: int, zone: tzinfo = UTC, places: Places | None = None) -> dict[str, Sample]:
    """Mails of every kind, by name."""
    places = places or Places()
    one = hot(now_ms)
    many = [
        hot(now_ms, index % 8, f"gpu-{1 + index // 8:02d}", 84.0 + index * 7 % 11)
        for index in range(25)
    ]
    ended = replace(
        one,
        state=State.OK,
        since_ms=now_ms - 47 * MINUTE_MS,
        resolved_ms=now_ms - 5 * MINUTE_MS,
        value=79.0,
    )
    lost = [
        replace(item, state=State.NO_DATA, last_sample_ms=now_ms - 2 * MINUTE_MS)
        for item in many[:9]
    ]
    full = replace(
        hot(now_ms, 1, "gpu-04"),
        id="77aa01",
        alertname="GpuMemoryFull",
        severity=Severity.WARNING,
        metric="memory_used_ratio",
        unit="ratio",
        threshold=0.9,
        value=0.973,
        peak=0.981,
        summary="Memory of GPU 1 of gpu-04 is 97.3 % full",
        advice="A job may soon fail for want of memory.",
        reasons=(),
    )
    down = Incident(
        id="77aa02",
        alertname="AgentDown",
        group="nodes",
        severity=Severity.CRITICAL,
        scope=Scope.NODE,
        state=State.FIRING,
        node="gpu-07",
        subject_key="gpu-07",
        since_ms=now_ms - 2 * MINUTE_MS,
        fired_ms=now_ms - MINUTE_MS,
        summary="Node gpu-07 sends nothing",
        advice="See whether the machine answers, then gpufleet agent doctor on it.",
    )

    def letter(content: Content, *incidents: Incident, model: str = one.gpu_name) -> Letter:
        found = {item.id: item for item in incidents}
        severity = max((item.severity for item in incidents), key=lambda item: item.rank)
        moves = {(item.alertname, item.subject_key): 7 for item in incidents}
        return Letter(content, found, now_ms, severity, model, zone, places, moves)

    closed = replace(
        one,
        state=State.OK,
        since_ms=ended.since_ms,
        closed_ms=now_ms - 2 * MINUTE_MS,
        closed_by="bob",
        closed_comment="Its fans are replaced tonight.",
    )
    waste = replace(
        full,
        id="77aa04",
        alertname="GpuJobIdle",
        severity=Severity.INFO,
        since_ms=now_ms - 31 * MINUTE_MS,
        metric="",
        threshold=0.95,
        value=1.0,
        peak=1.0,
        summary="GPU 1 of gpu-04 is held by a job that has not used it for more than 30 min",
        description="Held by alice.",
        advice="Ask alice whether the job asks for more GPUs than it uses, or hangs.",
        users=("alice",),
        processes=("given to job 4711 of alice",),
    )
    ids = tuple(item.id for item in many)
    return {
        "critical": Sample(letter(Content(Reason.FIRST, fired=(one.id,)), one)),
        "many": Sample(letter(Content(Reason.FIRST, fired=ids), *many)),
        "resolved": Sample(letter(Content(Reason.RESOLVED, resolved=(ended.id,)), ended)),
        "fired_and_resolved": Sample(
            letter(Content(Reason.FIRED_AND_RESOLVED, fired_and_resolved=(ended.id,)), ended)
        ),
        "closed": Sample(letter(Content(Reason.RESOLVED, resolved=(closed.id,)), closed)),
        "waste": Sample(letter(Content(Reason.FIRST, fired=(waste.id,)), waste), charted=False),
        "no_data": Sample(
            letter(Content(Reason.NO_DATA, no_data=tuple(item.id for item in lost)), *lost)
        ),
        "flapping": Sample(letter(Content(Reason.FLAPPING, flapping=(full.id,)), full)),
        "node_down": Sample(letter(Content(Reason.FIRST, fired=(down.id,)), down, model="")),
        "repeat": Sample(
            letter(Content(Reason.REPEAT, lasting=ids[:3]), *many[:3]),
        ),
        "digest": Sample(
            letter(
                Content(
                    Reason.DIGEST,
                    fired=(full.id, down.id),
                    muted=("77aa03",),
                    lasting=ids[1:4],
                ),
                *(full, down, replace(ended, id="77aa03"), *many[1:4]),
            )
        ),
    }
