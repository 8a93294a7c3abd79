"""Processes in nvidia-smi's log, one per pid of a GPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpufleet.agent.processes.table import program_name
from gpufleet.agent.smi.answers import Leaves, count, number, word

_LARGEST_PID = 1 << 32


@dataclass(frozen=True, slots=True)
class SmiProcess:
    """One pid on one GPU: memory over all its MIG instances; type C, G, C+G or M.

    ``program`` is nvidia-smi's own word for it, without arguments, for where /proc has none.
    """

    pid: int
    type: str
    memory_bytes: int | None
    program: str | None


def gpu_processes(parts: Iterable[Leaves]) -> tuple[SmiProcess, ...]:
    """By pid; a process without a readable pid is left out."""
    types: dict[int, set[str]] = {}
    memory: dict[int, dict[tuple[str, str], int]] = {}
    programs: dict[int, str | None] = {}
    for leaves in parts:
        pid = count(leaves, "pid")
        if pid is None or not 0 < pid < _LARGEST_PID:
            continue
        said = word(leaves, "type") or ""
        types.setdefault(pid, set()).update(set(said.split("+")) & {"C", "G", "M"})
        used = number(leaves, "MiB", "used_memory")
        known = memory.setdefault(pid, {})
        if used is not None and used >= 0:
            # Listed twice, as C and as G, a process has the same memory in both.
            place = (leaves.get("gpu_instance_id", ""), leaves.get("compute_instance_id", ""))
            known[place] = max(known.get(place, 0), round(used) * (1 << 20))
        if programs.get(pid) is None:
            programs[pid] = _program(leaves)
    return tuple(
        SmiProcess(
            pid,
            "M" if "M" in letters else "+".join(sorted(letters)),
            sum(memory[pid].values()) if memory[pid] else None,
            programs[pid],
        )
        for pid, letters in sorted(types.items())
    )


def _program(leaves: Leaves) -> str | None:
    """The program's name: the rest of the line are arguments, which may hold secrets."""
    said = word(leaves, "process_name")
    if said is None or said.lower() in ("not found", "insufficient permissions"):
        return None
    if "\\" in said:  # Windows: no arguments, but spaces in folders
        said = said.rpartition("\\")[2].replace(" ", "_")
    return program_name(b"\0".join(part.encode() for part in said.split()), "")
