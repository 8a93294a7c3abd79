"""What an agent says first of itself and its node: checked, or refused with a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpufleet.hub import door
from gpufleet.hub.wire import WireError
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.version import INTERVALS_MS, OLDEST_PROTOCOL_MINOR, PROTOCOL_MINOR

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_METHODS = frozenset({"nvml", "bash", "sim"})


class Refused(WireError):
    """The stream is refused for what stands against it here, not for what it says."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a hello says of a node, checked."""

    name: str
    labels: Mapping[str, str]
    machine_id: str
    boot_id: str
    agent_version: str
    method: str
    methods: tuple[str, ...]
    interval_ms: int
    facts: Mapping[str, Any]
    epoch: int
    clock_ms: int


def check_hello(hello: pb.Hello, now_ms: int) -> Registration:
    """A hello within bounds; WireError names what is not."""
    if hello.protocol_minor < OLDEST_PROTOCOL_MINOR:
        raise WireError(
            f"The agent speaks gpufleet.v1 minor {hello.protocol_minor}, this hub"
            f" {OLDEST_PROTOCOL_MINOR} to {PROTOCOL_MINOR}: upgrade the agent."
        )
    if not _NAME.fullmatch(hello.node):
        raise WireError(
            f"The node name {hello.node[:64]!r} must be 1 to 128 letters, digits and . _ : @ -,"
            " beginning with a letter or digit."
        )
    if len(hello.labels) > 16:
        raise WireError(f"Node {hello.node} has {len(hello.labels)} labels; 16 are allowed.")
    for key, value in hello.labels.items():
        if not _LABEL.fullmatch(key) or len(value) > 256 or not value.isprintable():
            raise WireError(f"Label {key[:64]!r} of node {hello.node} cannot be used.")
    if hello.interval_ms not in INTERVALS_MS:
        allowed = ", ".join(str(ms // 1000) for ms in INTERVALS_MS)
        raise WireError(f"The interval must be one of {allowed} s, not {hello.interval_ms} ms.")
    if hello.method not in _METHODS:
        raise WireError(f"The method {hello.method[:32]!r} is not one of nvml, bash, sim.")
    return Registration(
        name=hello.node,
        labels=dict(hello.labels),
        machine_id=door.text(hello.machine_id, 128, "The machine id"),
        boot_id=door.text(hello.boot_id, 128, "The boot id"),
        agent_version=door.text(hello.agent_version, 64, "The agent's version"),
        method=hello.method,
        methods=tuple(dict.fromkeys(m for m in hello.methods if m in _METHODS)) or (hello.method,),
        interval_ms=hello.interval_ms,
        facts=door.json_object(hello.facts_json, "The host's facts"),
        epoch=door.epoch(hello.epoch, hello.node, now_ms),
        clock_ms=door.time_ms(hello.clock_ms, "The agent's clock"),
    )
