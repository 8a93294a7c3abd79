"""A simulated past, sent first through the ordinary spool in an epoch of its own (sim only)."""

from __future__ import annotations

from collections.abc import Iterator

from gpufleet.agent.collectors import Simulation, choose
from gpufleet.agent.records import LayoutSubject, Position, TickRecord, layout_of, row_of


def past(
    simulation: Simulation, epoch: int, start_ms: int, end_ms: int, interval_ms: int
) -> Iterator[TickRecord]:
    """Ticks from ``start_ms`` up to before ``end_ms`` of the same GPUs, without any fault."""
    now_ms = start_ms - start_ms % interval_ms
    healthy = Simulation(simulation.node, simulation.gpus, simulation.seed)
    collector = choose("sim", healthy, lambda: now_ms).collector
    collector.open()
    subjects = tuple(collector.subjects())
    layout = layout_of(tuple(LayoutSubject(s.kind, s.key, s.columns) for s in subjects))
    seq = 0
    while now_ms < end_ms:
        readings = [collector.read(subject, slow=True).values for subject in subjects]
        seq += 1
        rows = tuple(
            None if values is None else row_of(columns, values)
            for columns, values in zip(layout.subjects, readings, strict=True)
        )
        yield TickRecord(Position(epoch, seq), now_ms, layout, rows)
        now_ms += interval_ms
    collector.close()
