"""What the agent's own encoder writes, the hub's own decoder reads."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.agent.records import LayoutSubject, Position, Row, TickRecord, layout_of
from gpufleet.agent.wire import samples as agent_samples
from gpufleet.hub.wire import Layout, decode_samples

SUBJECTS = (LayoutSubject("gpu", "GPU-a", (20, 23, 31)), LayoutSubject("gpu", "GPU-b", (20,)))
LAYOUT = Layout(1, (("gpu", "GPU-a"), ("gpu", "GPU-b")), ((20, 23, 31), (20,)), 4)
INT64 = st.integers(-(2**63), 2**63 - 1)


def rows(width: int, value: st.SearchStrategy[int | None]) -> st.SearchStrategy[Row | None]:
    return st.none() | st.tuples(*[value] * width)


@st.composite
def records(draw: st.DrawFn) -> list[TickRecord]:
    """Ticks of which subjects may be missing; sometimes every subject that was read is whole."""
    layout = layout_of(SUBJECTS)
    value = draw(st.sampled_from([INT64, st.none() | INT64]))
    ticks = sorted(draw(st.sets(st.integers(1, 2**53), min_size=1, max_size=6)))
    return [
        TickRecord(Position(1, seq), tick, layout, (draw(rows(3, value)), draw(rows(1, value))))
        for seq, tick in enumerate(ticks, start=1)
    ]


@given(records())
def test_the_hub_reads_what_the_agent_wrote(ticks: list[TickRecord]) -> None:
    decoded = decode_samples(agent_samples.encode(ticks), LAYOUT)
    shape = decoded.values.shape
    present = np.ones(shape, bool) if decoded.present is None else decoded.present
    taken = np.ones((shape[0], 2), bool) if decoded.taken is None else decoded.taken
    assert decoded.ticks.tolist() == [tick.tick_ms for tick in ticks]
    assert taken.tolist() == [[row is not None for row in tick.rows] for tick in ticks]
    assert [
        [int(v) if p else None for v, p in zip(values, mask, strict=True)]
        for values, mask in zip(decoded.values, present, strict=True)
    ] == [[*(tick.rows[0] or [None] * 3), *(tick.rows[1] or [None])] for tick in ticks]
