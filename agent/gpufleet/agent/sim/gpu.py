"""One simulated GPU: its values and processes at any time, from (seed, node, index, time) alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpufleet.agent.faults.sighting import FaultKind, Sighting, Source
from gpufleet.agent.model import Fault, Json, Process, Subject
from gpufleet.agent.sim.boards import (
    Board,
    board_of,
    columns_of,
    digest,
    facts_of,
    number_of,
    uuid_of,
)
from gpufleet.agent.sim.programme import Job, Moment, Programme, lone_programme, programme_of
from gpufleet.agent.sim.scenario import Injection
from gpufleet.agent.sim.wave import Totals

_MEMORY_STEP = 2 * 1024 * 1024
_BUSY = Job(1, 0, "alice", "train.py", 0.78, "training")
_JOBS = {
    "idle": None,
    "held": Job(1, 0, "bob", "ipykernel_launcher.py", 0.81, "notebook"),
    # It has run for long and has all the memory that it will have.
    "full": Job(1, -600_000, "carol", "vllm", 0.95, "inference"),
}
"""Who does the work of a scenario, where it is not the usual training."""


def _role(seed: int, node: str, board: Board, index: int) -> tuple[int, str]:
    """The group of GPUs that this one works with, and what that group is for."""
    if number_of(node) is None or not board.nvlinks:
        group = index
        role = ("training", "inference", "notebook", "idle")[(index + (number_of(node) or 0)) % 4]
    else:
        group = index // 4
        role = ("training", "training", "notebook")[digest("role", seed, node, group) % 3]
    return group, role


class SimGpu:
    """A GPU with at most one injected fault, which begins its first period at ``since_ms``."""

    def __init__(
        self, seed: int, node: str, index: int, injection: Injection | None, since_ms: int
    ) -> None:
        self.board = board = board_of(seed, node, index)
        self.index = index
        self.uuid = uuid_of(seed, node, index)
        self._injection = injection
        self._since_ms = since_ms
        self._salt = digest("salt", seed, node, index)
        group, role = _role(seed, node, board, index)
        self._programme = programme_of(board, seed, node, group, role)
        # No two boards draw quite the same power or get quite the same air.
        self._gain = 960 + self._salt % 37
        self._warmth = (self._salt >> 8) % 3000
        self._faulty: Programme | None = None
        wave = injection.wave(board, self._warmth / 1000) if injection else None
        if injection and wave:
            job = _JOBS.get(injection.scenario.work, _BUSY)
            # Counters and temperature go on where the week's programme left them.
            before = self._programme.at(since_ms)
            self._carried: Totals = self._programme.totals(before)
            self._faulty = lone_programme(wave, job, since_ms, before.temperature)
        self._columns = columns_of(board)
        self._facts = facts_of(board, seed, node, index)
        self._constant = self._constants()

    def _constants(self) -> dict[int, int]:
        board, salt = self.board, self._salt
        values = {
            12: board.reserved_bytes,
            13: board.memory_bytes,
            41: 16,
            42: salt % 10,
            47: 0,
            50: 0,
            51: 0,
            52: (salt >> 16) % 8,
            53: 0,
            54: (salt >> 24) % 8 // 7,
            55: 0,
            56: 0,
            57: 0,
            58: salt % 3,
            59: 0,
            60: 0,
            61: 0,
            62: 0,
        }
        return {id_: value for id_, value in values.items() if id_ in self._columns}

    def subject(self, fault: Fault | None) -> Subject:
        """What the collector says of this GPU."""
        return Subject(
            "gpu",
            self.uuid,
            self.index,
            self.board.name,
            self._columns,
            facts=self._facts,
            fault=fault,
        )

    def fault(self, time_ms: int) -> Fault | None:
        """Why it cannot be read at this time, if it cannot."""
        injection = self._injection
        if injection is None or time_ms < self._since_ms + injection.period_ms:
            return None
        return injection.fault()

    def sightings(self, after_ms: int, until_ms: int) -> list[Sighting]:
        """The Xids of its scenario that came after one time and until another."""
        injection, since_ms = self._injection, self._since_ms
        if injection is None:
            return []
        pci = str(self._facts["pci_bus_id"])
        code = injection.scenario.xid
        return [
            Sighting(FaultKind.XID, code, Source.SIM, since_ms + age, gpu=self.uuid, pci=pci)
            for age in injection.xids_ms(after_ms - since_ms, until_ms - since_ms)
        ]

    def detail(self, time_ms: int) -> Mapping[str, Json] | None:
        """What is no metric, where the scenario has such; before it began nothing was said."""
        injection = self._injection
        if injection is None or injection.scenario.detail is None or time_ms < self._since_ms:
            return None
        after_ms = time_ms - self._since_ms - injection.period_ms
        return injection.scenario.detail(self.board, after_ms)

    def _at(self, time_ms: int) -> tuple[Moment, Totals]:
        if self._faulty is None or time_ms < self._since_ms:
            moment = self._programme.at(time_ms)
            return moment, self._programme.totals(moment)
        moment = self._faulty.at(time_ms)
        a, b, c, d, e, f, g = (
            x + y for x, y in zip(self._carried, self._faulty.totals(moment), strict=True)
        )
        return moment, (a, b, c, d, e, f, g)

    def values(self, time_ms: int) -> dict[int, int]:
        """Catalogue id → scaled integer at this time."""
        injection = self._injection
        if injection is not None and injection.scenario.freezes:
            time_ms = min(time_ms, self._since_ms + injection.period_ms)
        moment, totals = self._at(time_ms)
        board, wave, second = self.board, moment.segment.wave, moment.second
        used = self._used(moment)
        power = wave.power[second] * self._gain // 1000
        # The sensor's noise: a few tenths of a percent around what the energy counter sums up.
        noise = ((time_ms // 1000 + self._salt) * 2_654_435_761 >> 9) % 9 - 4
        celsius = (moment.temperature + self._warmth) // 1000
        clock = wave.clock[second]
        values = self._constant.copy()
        values[1] = wave.utilization[second]
        values[2] = wave.memory_controller[second]
        values[3] = wave.encoder[second]
        values[4] = wave.decoder[second]
        values[10] = used
        values[11] = board.memory_bytes - board.reserved_bytes - used
        values[20] = celsius
        values[23] = power + power * noise // 1000
        values[24] = power
        values[25] = wave.power_limit[second]
        values[26] = totals[0] * self._gain // 1000
        values[30] = clock
        values[31] = clock
        values[32] = wave.memory_clock[second]
        values[33] = wave.video_clock[second]
        values[34] = wave.performance_state[second]
        values[40] = wave.pcie_generation[second]
        values[43] = totals[1]
        values[44] = totals[2]
        values[70] = wave.throttle[second]
        values[71] = totals[5]
        values[72] = totals[6]
        if board.gpm:
            values[5] = wave.sm_active[second]
            values[6] = wave.tensor_active[second]
            values[7] = wave.dram_active[second]
        if board.memory_limit is not None:
            values[21] = (
                wave.memory_temperature[second] - wave.temperature[second]
            ) // 1000 + celsius
        if board.margin:
            values[22] = board.slowdown - celsius
        if board.fans:
            values[27] = wave.fan[second]
        if board.nvlinks:
            values[45] = totals[3]
            values[46] = totals[4]
        if injection is not None and time_ms >= self._since_ms:
            age_ms = time_ms - self._since_ms
            injection.scenario.meanwhile.apply(values, age_ms)
            if age_ms >= injection.period_ms:
                injection.scenario.effect.apply(values, age_ms - injection.period_ms)
        return values

    def _job_start(self, moment: Moment, job: Job) -> int:
        return moment.cycle_start_ms + job.start_ms

    def _used(self, moment: Moment) -> int:
        job = moment.segment.job
        if job is None:
            return 0
        age_ms = moment.cycle_start_ms + moment.segment.start_ms + moment.age_ms
        age_ms -= self._job_start(moment, job)
        # Programs fill the memory that they will use within their first minutes.
        share = job.memory_ratio * (0.6 + 0.4 * min(1.0, age_ms / 600_000))
        return int(self.board.memory_bytes * share) // _MEMORY_STEP * _MEMORY_STEP

    def processes(self, time_ms: int) -> Sequence[Process]:
        """The programs on this GPU at this time; those of one job share user and job."""
        moment, _ = self._at(time_ms)
        job = moment.segment.job
        if job is None:
            return ()
        start_ms = self._job_start(moment, job)
        own = digest("process", self.uuid, start_ms)
        shared = digest("job", job.user, job.program, start_ms)
        served = job.kind == "inference"
        text = "".join(f"{digest('container', shared, part):016x}" for part in range(4))
        return (
            Process(
                self.uuid,
                10_000 + own % 890_000,
                "C",
                start_ms=start_ms + own % 4_000,
                user=job.user,
                program=job.program,
                memory_bytes=max(self._used(moment) - _MEMORY_STEP, _MEMORY_STEP),
                utilization_permille=moment.segment.wave.utilization[moment.second],
                container=text if served else None,
                pod=f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"
                if served
                else None,
                job=str(100_000 + shared % 900_000) if job.kind == "training" else None,
            ),
        )
