"""One simulated GPU: its values and processes at any time, from (seed, node, index, time) alone."""

from __future__ import annotations

from collections.abc import Sequence

from gpufleet.agent.model import Fault, Process, Subject
from gpufleet.agent.sighting import FaultKind, Sighting, Source
from gpufleet.agent.sim_boards import (
    Board,
    board_of,
    columns_of,
    digest,
    facts_of,
    number_of,
    uuid_of,
)
from gpufleet.agent.sim_programme import Job, Moment, Programme, lone_programme, programme_of
from gpufleet.agent.sim_scenario import Injection
from gpufleet.agent.sim_wave import Totals

_MEMORY_STEP = 2 * 1024 * 1024
_HELD = Job(1, 0, "bob", "ipykernel_launcher.py", 0.81, "notebook")
_BUSY = Job(1, 0, "alice", "train.py", 0.78, "training")


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
        self._faulty: Programme | None = None
        wave = injection.wave(board) if injection else None
        if injection and wave:
            work = injection.scenario.work
            job = {"held": _HELD, "idle": None}.get(work, _BUSY)
            # Counters and temperature go on where the week's programme left them.
            before = self._programme.at(since_ms)
            self._carried: Totals = self._programme.totals(before)
            self._faulty = lone_programme(wave, job, since_ms, before.temperature)
        # No two boards draw quite the same power or get quite the same air.
        self._gain = 960 + self._salt % 37
        self._warmth = (self._salt >> 8) % 3000
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

    def sighting(self, time_ms: int) -> Sighting | None:
        """The Xid of its scenario, once its time has come."""
        injection = self._injection
        if injection is None or not injection.scenario.xid:
            return None
        came_ms = self._since_ms + injection.period_ms
        if time_ms < came_ms:
            return None
        pci = str(self._facts["pci_bus_id"])
        code = injection.scenario.xid
        return Sighting(FaultKind.XID, code, Source.SIM, came_ms, gpu=self.uuid, pci=pci)

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
        if self._injection is not None and time_ms >= self._since_ms:
            self._break(self._injection, values, time_ms - self._since_ms)
        return values

    def _break(self, injection: Injection, values: dict[int, int], age_ms: int) -> None:
        """What counters and states show of a fault that the wave does not."""
        name = injection.name
        after_ms = age_ms - injection.period_ms
        if name == "ecc":
            corrected = age_ms // 7_000
            values[50] += corrected
            values[52] += corrected
        if after_ms < 0:
            return
        if name in ("ecc", "xid48"):
            values[51] += 1
            values[53] += 1
        if name in ("remap", "xid48"):
            values[55] += 1
            values[56] = 1
        if name == "xid48":
            values[61] = 1
        elif name == "nvlink":
            values[47] += 1 + after_ms // 2_000
        elif name == "pcie":
            values[41] = 8
            values[42] += 1 + after_ms // 1_500

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
