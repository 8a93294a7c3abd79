"""The GPU models that the simulator knows, with the limits that such boards really have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from gpufleet.agent.model import Json

_MIB = 1024 * 1024
_MHZ = 1_000_000


@dataclass(frozen=True, slots=True)
class Board:
    """One GPU model. Powers are watts, clocks MHz, temperatures degrees Celsius.

    ``memory_limit`` is the memory's greatest operating temperature; ``None`` where the board has
    no such sensor. ``full_temperature`` is what the core settles at when it draws its limit.
    """

    name: str
    architecture: str
    compute_capability: str
    cores: int
    memory_bus_bits: int
    memory_bytes: int
    reserved_bytes: int
    idle_watts: int
    limit_watts: int
    limit_min_watts: int
    limit_max_watts: int
    clock_idle: int
    clock_max: int
    memory_clock_idle: int
    memory_clock_max: int
    video_clock_idle: int
    video_clock_max: int
    idle_performance_state: int
    idle_pcie_generation: int
    pcie_generation: int
    full_temperature: int
    operating_limit: int
    slowdown: int
    shutdown: int
    memory_limit: int | None
    nvlinks: int
    ecc: bool
    gpm: bool
    margin: bool
    fans: int
    vbios: str
    board_part: str
    retires_pages: bool = False

    @property
    def remaps_rows(self) -> bool:
        """Whether spare rows take the place of bad ones (Ampere and later, with ECC)."""
        return self.ecc and not self.retires_pages


H100 = Board(
    name="NVIDIA H100 80GB HBM3",
    architecture="Hopper",
    compute_capability="9.0",
    cores=16896,
    memory_bus_bits=5120,
    memory_bytes=81559 * _MIB,
    reserved_bytes=479 * _MIB,
    idle_watts=70,
    limit_watts=700,
    limit_min_watts=200,
    limit_max_watts=700,
    clock_idle=345,
    clock_max=1980,
    memory_clock_idle=2619,
    memory_clock_max=2619,
    video_clock_idle=765,
    video_clock_max=1545,
    idle_performance_state=0,
    idle_pcie_generation=5,
    pcie_generation=5,
    full_temperature=67,
    operating_limit=87,
    slowdown=89,
    shutdown=95,
    memory_limit=95,
    nvlinks=18,
    ecc=True,
    gpm=True,
    margin=True,
    fans=0,
    vbios="96.00.A5.00.01",
    board_part="692-2G520-0200-000",
)

A100 = Board(
    name="NVIDIA A100-SXM4-80GB",
    architecture="Ampere",
    compute_capability="8.0",
    cores=6912,
    memory_bus_bits=5120,
    memory_bytes=81920 * _MIB,
    reserved_bytes=624 * _MIB,
    idle_watts=58,
    limit_watts=400,
    limit_min_watts=100,
    limit_max_watts=400,
    clock_idle=210,
    clock_max=1410,
    memory_clock_idle=1593,
    memory_clock_max=1593,
    video_clock_idle=585,
    video_clock_max=1290,
    idle_performance_state=0,
    idle_pcie_generation=4,
    pcie_generation=4,
    full_temperature=64,
    operating_limit=85,
    slowdown=89,
    shutdown=92,
    memory_limit=95,
    nvlinks=12,
    ecc=True,
    gpm=False,
    margin=False,
    fans=0,
    vbios="92.00.45.00.05",
    board_part="692-2G506-0212-002",
)

L40S = Board(
    name="NVIDIA L40S",
    architecture="Ada",
    compute_capability="8.9",
    cores=18176,
    memory_bus_bits=384,
    memory_bytes=46068 * _MIB,
    reserved_bytes=609 * _MIB,
    idle_watts=35,
    limit_watts=350,
    limit_min_watts=100,
    limit_max_watts=350,
    clock_idle=210,
    clock_max=2520,
    memory_clock_idle=405,
    memory_clock_max=9001,
    video_clock_idle=1185,
    video_clock_max=1965,
    idle_performance_state=8,
    idle_pcie_generation=4,
    pcie_generation=4,
    full_temperature=69,
    operating_limit=88,
    slowdown=90,
    shutdown=93,
    memory_limit=None,
    nvlinks=0,
    ecc=True,
    gpm=False,
    margin=True,
    fans=0,
    vbios="95.02.66.00.15",
    board_part="900-2G133-A880-000",
)

RTX_4090 = Board(
    name="NVIDIA GeForce RTX 4090",
    architecture="Ada",
    compute_capability="8.9",
    cores=16384,
    memory_bus_bits=384,
    memory_bytes=24564 * _MIB,
    reserved_bytes=346 * _MIB,
    idle_watts=22,
    limit_watts=450,
    limit_min_watts=150,
    limit_max_watts=500,
    clock_idle=210,
    clock_max=2760,
    memory_clock_idle=405,
    memory_clock_max=10501,
    video_clock_idle=1185,
    video_clock_max=2415,
    idle_performance_state=8,
    idle_pcie_generation=1,
    pcie_generation=4,
    full_temperature=70,
    operating_limit=88,
    slowdown=90,
    shutdown=95,
    memory_limit=None,
    nvlinks=0,
    ecc=False,
    gpm=False,
    margin=True,
    fans=2,
    vbios="95.02.3C.00.01",
    board_part="",
)

V100 = Board(
    name="Tesla V100-SXM2-32GB",
    architecture="Volta",
    compute_capability="7.0",
    cores=5120,
    memory_bus_bits=4096,
    memory_bytes=32768 * _MIB,
    reserved_bytes=258 * _MIB,
    idle_watts=42,
    limit_watts=300,
    limit_min_watts=150,
    limit_max_watts=300,
    clock_idle=135,
    clock_max=1530,
    memory_clock_idle=877,
    memory_clock_max=877,
    video_clock_idle=555,
    video_clock_max=1372,
    idle_performance_state=0,
    idle_pcie_generation=3,
    pcie_generation=3,
    full_temperature=62,
    operating_limit=83,
    slowdown=87,
    shutdown=90,
    memory_limit=85,
    nvlinks=6,
    ecc=True,
    gpm=False,
    margin=False,
    fans=0,
    vbios="88.00.43.00.03",
    board_part="900-2G503-0010-000",
    retires_pages=True,
)

_MIXED = (H100, RTX_4090, A100, L40S)
_BY_NODE = {"h100": H100, "a100": A100, "l40s": L40S, "rtx4090": RTX_4090, "v100": V100}


def digest(*parts: object) -> int:
    """64 bits that depend on every part and on nothing else (``hash`` differs between starts)."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def number_of(node: str) -> int | None:
    """The number that a node's name ends in: 7 for ``gpu-07``, ``None`` for ``lab``."""
    digits = node[len(node.rstrip("0123456789")) :]
    return int(digits[-9:]) if digits else None


def board_of(seed: int, node: str, index: int) -> Board:
    """Numbered nodes hold one model each, every fourth one (and any other name) a mixture.

    A node that is named after a model, as in ``v100-3``, holds that one.
    """
    named = _BY_NODE.get(node.partition("-")[0])
    if named is not None:
        return named
    number = number_of(node)
    if number is not None:
        slot = (number + seed - 2) % 4
        if slot < 3:
            return (H100, A100, L40S)[slot]
    return _MIXED[index % 4]


def uuid_of(seed: int, node: str, index: int) -> str:
    """The UUID in the driver's format, the same for ever."""
    text = f"{digest('uuid', seed, node, index):016x}{digest('uuid2', seed, node, index):016x}"
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def columns_of(board: Board) -> tuple[int, ...]:
    """Catalogue ids that a board answers, ascending; what it has no sensor for is not there."""
    ids = [1, 2, 3, 4, 10, 11, 12, 13, 20, 23, 24, 25, 26, 30, 31, 32, 33, 34]
    ids += [40, 41, 42, 43, 44, 61, 70, 71, 72]
    if board.gpm:
        ids += [5, 6, 7]
    if board.memory_limit is not None:
        ids.append(21)
    if board.margin:
        ids.append(22)
    if board.fans:
        ids.append(27)
    if board.nvlinks:
        ids += [45, 46, 47]
    if board.ecc:
        ids += [50, 51, 52, 53]
        ids += [58, 59, 60] if board.retires_pages else [54, 55, 56, 57, 62]
    return tuple(sorted(ids))


def facts_of(board: Board, seed: int, node: str, index: int) -> Mapping[str, Json]:
    """Static facts in base units; a fact that the board does not have is absent."""
    facts: dict[str, Json] = {
        "uuid": uuid_of(seed, node, index),
        "name": board.name,
        "minor_number": index,
        "pci_bus_id": f"00000000:{(0x1A + 0x11 * index) % 256:02X}:00.0",
        "vbios": board.vbios,
        "architecture": board.architecture,
        "compute_capability": board.compute_capability,
        "cores": board.cores,
        "memory_bus_width_bits": board.memory_bus_bits,
        "power_limit_default_watts": float(board.limit_watts),
        "power_limit_min_watts": float(board.limit_min_watts),
        "power_limit_max_watts": float(board.limit_max_watts),
        "clock_graphics_max_hertz": board.clock_max * _MHZ,
        "clock_sm_max_hertz": board.clock_max * _MHZ,
        "clock_memory_max_hertz": board.memory_clock_max * _MHZ,
        "clock_video_max_hertz": board.video_clock_max * _MHZ,
        "pcie_link_generation_max": board.pcie_generation,
        "pcie_link_width_max": 16,
        "max_operating_temperature_celsius": board.operating_limit,
        "slowdown_temperature_celsius": board.slowdown,
        "shutdown_temperature_celsius": board.shutdown,
        "persistence_mode": "enabled",
    }
    if board.board_part:
        facts["board_part_number"] = board.board_part
        facts["serial"] = str(1_650_000_000_000 + digest("serial", seed, node, index) % 10**9)
    if board.memory_limit is not None:
        facts["memory_max_temperature_celsius"] = board.memory_limit
    if board.ecc:
        facts["ecc_mode"] = facts["ecc_mode_pending"] = "enabled"
    if board.gpm or board.architecture == "Ampere":
        facts["mig_mode"] = facts["mig_mode_pending"] = "disabled"
    if board.nvlinks:
        facts["nvlink_count"] = board.nvlinks
    if board.fans:
        facts["fan_count"] = board.fans
    return facts
