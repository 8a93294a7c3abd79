"""The agent's own types as protobuf messages: pure conversions, each named for its result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from gpufleet.agent.faults.subjects import Standing
from gpufleet.agent.model import Json, Process, Subject
from gpufleet.agent.records import Event, Layout, LayoutSubject, Position
from gpufleet.proto import telemetry_pb2 as pb


def compact_json(value: Mapping[str, Json]) -> str:
    """A JSON object without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def details_message(
    kinds: Mapping[str, str], details: Mapping[str, Mapping[str, Json]]
) -> pb.Details:
    """Detail documents by subject key; ``kinds`` names the kind of each key."""
    return pb.Details(
        details=[
            pb.SubjectDetail(subject_kind=kinds[key], subject_key=key, json=compact_json(detail))
            for key, detail in details.items()
            if key in kinds
        ]
    )


def position_message(position: Position) -> pb.Position:
    return pb.Position(epoch=position.epoch, seq=position.seq)


def position_of(message: pb.Position) -> Position:
    return Position(message.epoch, message.seq)


def layout_message(layout: Layout) -> pb.Layout:
    return pb.Layout(
        id=layout.id,
        subjects=[
            pb.LayoutSubject(kind=s.kind, key=s.key, metrics=s.metrics) for s in layout.subjects
        ],
    )


def layout_from(message: pb.Layout) -> Layout:
    return Layout(
        message.id,
        tuple(LayoutSubject(s.kind, s.key, tuple(s.metrics)) for s in message.subjects),
    )


def inventory_message(subjects: Sequence[Subject]) -> pb.Inventory:
    return pb.Inventory(
        subjects=[
            pb.SubjectFacts(
                kind=s.kind,
                key=s.key,
                parent=s.parent,
                index=max(0, s.index),
                name=s.name,
                facts_json=compact_json(s.facts),
            )
            for s in subjects
        ]
    )


def event_message(event: Event) -> pb.Event:
    return pb.Event(
        time_ms=event.time_ms,
        kind=event.kind,
        subject_kind=event.subject_kind,
        subject_key=event.subject_key,
        severity=event.severity,
        code=event.code,
        message=event.message,
        data_json=event.data_json,
    )


def events_message(events: Sequence[Event]) -> pb.Events:
    return pb.Events(events=[event_message(event) for event in events])


def processes_message(time_ms: int, processes: Sequence[Process]) -> pb.Processes:
    return pb.Processes(
        time_ms=time_ms,
        processes=[
            pb.Process(
                subject_key=p.subject_key,
                pid=p.pid,
                start_ms=p.start_ms or 0,
                user=p.user or "",
                program=p.program or "",
                type=p.type,
                memory_bytes=p.memory_bytes,
                utilization_permille=p.utilization_permille,
                container=p.container or "",
                pod=p.pod or "",
                job=p.job or "",
                arguments=p.arguments or "",
            )
            for p in processes
        ],
    )


def status_message(
    standings: Sequence[Standing],
    hung_since_ms: int | None,
    sentence: str,
    dropped_ticks: int,
    spooled_bytes: int,
) -> pb.CollectorStatus:
    return pb.CollectorStatus(
        faults=[
            pb.SubjectFault(
                subject_kind=s.subject_kind,
                subject_key=s.subject_key,
                state=s.fault.state.value,
                since_ms=s.since_ms,
                sentence=s.fault.sentence,
            )
            for s in standings
        ],
        hung_since_ms=hung_since_ms or 0,
        sentence=sentence,
        dropped_ticks=dropped_ticks,
        spooled_bytes=spooled_bytes,
    )
