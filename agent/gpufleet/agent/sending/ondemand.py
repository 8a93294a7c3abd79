"""What the hub can ask a node to collect at once: the newest readings, or another method's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpufleet.agent.clock import Clock
from gpufleet.agent.collectors import Simulation, choose
from gpufleet.agent.model import CollectorUnavailable, Reading
from gpufleet.agent.processes.attribution import prolog_files
from gpufleet.agent.sampler import Sampler
from gpufleet.agent.sending.orders import OrderRefused

DEADLINE_SECONDS = 10.0


def collect(
    method: str,
    subject_key: str,
    *,
    running: str,
    sampler: Sampler,
    simulation: Simulation,
    prolog_dir: Path,
    clock: Clock,
) -> str:
    """The snapshot document as JSON; OrderRefused says why there is none."""
    # Imported when first asked for: most agents never are, and it takes memory.
    from gpufleet.agent.snapshot import take

    if method in ("", running):
        found = newest(simulation.node, running, sampler, clock.wall_ms)
    else:
        try:
            collector = choose(method, simulation, clock.wall_ms).collector
            prolog = prolog_files(collector.method, prolog_dir)
            found = take(collector, simulation.node, clock, prolog, DEADLINE_SECONDS)
        except CollectorUnavailable as error:
            raise OrderRefused(str(error)) from error
    if subject_key:
        found["gpus"] = [gpu for gpu in found["gpus"] if _has(gpu, subject_key)]
        if not found["gpus"]:
            raise OrderRefused(f"This node has no GPU {subject_key} that {found['method']} sees.")
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def newest(node: str, method: str, sampler: Sampler, now: Callable[[], int]) -> dict[str, Any]:
    """The document of what the sampler read last: the driver is not asked again."""
    from gpufleet.agent.snapshot import document

    if sampler.trouble.sentence:
        raise OrderRefused(sampler.trouble.sentence)
    faulty = {s.subject_key: Reading(None, s.fault) for s in sampler.standing()}
    readings = {**sampler.latest, **faulty}
    facts, subjects = sampler.session.facts, sampler.subjects
    return document(node, now(), method, facts, subjects, readings, sampler.listed)


def _has(gpu: dict[str, Any], key: str) -> bool:
    return key == gpu["uuid"] or any(key == mig["uuid"] for mig in gpu["mig"])
