"""Whatever happens, every firing is mailed once as such, and nobody gets more than the limits."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.notify.content import Reason
from gpufleet.alerting.notify.due import UPDATE_MS
from gpufleet.alerting.notify.limits import HOUR_MS, MAX_AN_HOUR
from gpufleet.alerting.state import Kind, Severity
from support.mail_sim import Sim

SEVERITIES = tuple(Severity)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 5),  # which GPU
        st.sampled_from(["move", "move", "silent", "server", "mute"]),
        st.sampled_from([5, 20, 45, 70, 200, 400, 2000]),  # seconds until the next
    ),
    min_size=1,
    max_size=24,
)


class Story:
    """Random but lawful: alerts fire, go silent, come back, end; the server comes and goes."""

    def __init__(self) -> None:
        self.sim = Sim()
        self.open: dict[int, Incident] = {}
        self.fired: list[str] = []
        self.muted_gpu: int | None = None
        self.sim.muted = lambda one, at: one.gpu_index == self.muted_gpu

    def tell(self, steps: list[tuple[int, str, int]]) -> None:
        for gpu, what, seconds in steps:
            if what == "server":
                self.sim.up = not self.sim.up
            elif what == "mute":
                self.muted_gpu = None if self.muted_gpu == gpu else gpu
            else:
                self._alert(gpu, what)
            self.sim.run(seconds, every=max(5, seconds // 20))
        self.sim.up, self.muted_gpu = True, None
        self.sim.run(3 * 3600, every=200)
        for gpu in list(self.open):
            self._alert(gpu, "end")
        self.sim.run(3 * 3600, every=200)

    def _alert(self, gpu: int, what: str) -> None:
        one = self.open.pop(gpu, None)
        if one is None:
            name = f"i{len(self.fired)}"
            self.fired.append(name)
            self.open[gpu] = self.sim.fire(
                name,
                subject_key=f"GPU-{gpu}",
                gpu_index=gpu,
                severity=SEVERITIES[gpu % 3],
                node=f"n{gpu % 2}",
            )
        elif what == "silent" and one.state.value == "firing":
            self.open[gpu] = self.sim.move(one, Kind.NO_DATA)
        elif what == "silent":
            self.open[gpu] = self.sim.move(one, Kind.RETURNED)
        else:
            self.sim.move(one, Kind.RESOLVED)


@settings(max_examples=150)
@given(STEPS)
def test_every_firing_is_mailed_in_the_end_and_once_as_such(
    steps: list[tuple[int, str, int]],
) -> None:
    story = Story()
    story.tell(steps)
    opened = Counter(one for out in story.sim.sent for one in out.content.opens())
    named = {one for out in story.sim.sent for one in out.content.ids()}
    assert set(story.fired) <= named
    assert all(count == 1 for count in opened.values())
    for name in set(story.fired) - set(opened):
        parts = [out.content for out in story.sim.sent if name in out.content.ids()]
        assert any(name in part.muted for part in parts)
    assert not story.sim.told.episodes
    assert not story.sim.held
    assert not story.sim.queued


@settings(max_examples=100)
@given(STEPS)
def test_nobody_is_told_of_an_end_before_the_firing(steps: list[tuple[int, str, int]]) -> None:
    story = Story()
    story.tell(steps)
    known: set[str] = set()
    for out in story.sim.sent:
        content = out.content
        assert known.issuperset(content.resolved)
        known |= {*content.opens(), *content.muted}
        assert known.issuperset(content.flapping)
        assert known.issuperset(content.lasting)


@settings(max_examples=12)
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 2), st.sampled_from([1, 5, 40, 90, 600])),
        min_size=30,
        max_size=120,
    )
)
def test_nobody_gets_more_than_the_limits(steps: list[tuple[int, int, int]]) -> None:
    sim = Sim()
    open_now: dict[int, Incident] = {}
    for number, (gpu, severity, seconds) in enumerate(steps):
        one = open_now.pop(gpu, None)
        if one is None:
            open_now[gpu] = sim.fire(
                f"i{number}",
                subject_key=f"GPU-{gpu}",
                gpu_name=f"Model {gpu}",
                severity=SEVERITIES[severity],
            )
        else:
            sim.move(one, Kind.RESOLVED)
        sim.run(seconds, every=max(5, seconds // 10))
    sim.run(3600, every=60)
    bound = [
        out.at_ms
        for out in sim.sent
        if out.severity is not Severity.CRITICAL and out.content.reason is not Reason.RESOLVED
    ]
    for at in bound:
        assert sum(at - HOUR_MS < other <= at for other in bound) <= MAX_AN_HOUR
    last: dict[str, int] = {}
    for out in sim.sent:
        if out.episode and out.content.reason is not Reason.RESOLVED:
            assert out.at_ms - last.get(out.episode, 0) >= UPDATE_MS
        last[out.episode] = out.at_ms
