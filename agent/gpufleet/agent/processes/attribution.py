"""Whose work a process is: container, Kubernetes pod and Slurm job, from its cgroup or the GPU.

The cgroup is the kernel's word, in the layouts that docker, containerd, CRI-O, podman, Kubernetes
(systemd and cgroupfs drivers) and Slurm make, on cgroup v1 and v2. Where it does not tell the job,
a file that Slurm's prolog leaves for each GPU may: ``<folder>/<GPU's index or UUID>`` holds
``JOBID UID``, as jobstats has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpufleet.agent.model import Json, Process, Reading, Subject
from gpufleet.agent.processes.users import Users

PROLOG_FOLDER = Path("/run/gpustat")
_LONGEST_FILE = 65_536

_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
_MONITOR = re.compile(r"(?:^|/)(?:lib)?(?:pod|crio)-conmon-[0-9a-f]{64}\.scope(?=/|$)")
_POD = re.compile(
    r"(?:^|[/-])pod([0-9a-f]{8}([-_]?)[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{12})"
    r"(?=\.slice|[/:]|$)"
)
_SLURM = re.compile(
    r"(?:/slurm[^/]*/uid_[0-9]{1,10}|[/_]slurmstepd\.scope)/job_([0-9]{1,20})(?=/|$)"
)
_PROLOG = re.compile(r"\s*([0-9][0-9A-Za-z_.+-]{0,63})(?:\s+([0-9]{1,10}))?\s*(?:\n|$)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process runs; ``None``: nowhere of that kind, or not known."""

    container: str | None = None
    pod: str | None = None
    job: str | None = None


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Allocation:
    """The job that a GPU is given to, and whose it is, as far as that is known."""

    job: str
    user: str | None = None


def with_allocations(
    readings: Mapping[str, Reading], allocations: Mapping[str, Allocation | None]
) -> dict[str, Reading]:
    """Readings whose detail document tells the job that the GPU was given to; null: to none."""
    found = dict(readings)
    for key in allocations.keys() & readings.keys():
        given = allocations[key]
        told: Json = None if given is None else {"job": given.job, "user": given.user}
        detail = {**(readings[key].detail or {}), "allocation": told}
        found[key] = replace(readings[key], detail=detail)
    return found


def parse_cgroup(text: str) -> Place:
    """What /proc/PID/cgroup tells: lines of ``hierarchy:controllers:path``."""
    place = NOWHERE
    for line in text.split("\n"):
        parts = line.split(":", 2)
        if len(parts) != 3 or not parts[0].isdecimal():
            continue
        found = _place(parts[2])
        place = Place(
            place.container or found.container, place.pod or found.pod, place.job or found.job
        )
    return place


def _place(path: str) -> Place:
    # What is deepest counts: a container in a container is the one that the process is in.
    containers = [] if _MONITOR.search(path) else _CONTAINER.findall(path)
    pods, jobs = _POD.findall(path), _SLURM.findall(path)
    return Place(
        containers[-1] if containers else None,
        pods[-1][0].replace("_", "-") if pods else None,
        jobs[-1] if jobs else None,
    )


def place_of(folder: Path) -> Place:
    """The place of the process whose /proc folder this is; nowhere where the file is not there."""
    try:
        with (folder / "cgroup").open(errors="replace") as file:
            return parse_cgroup(file.read(_LONGEST_FILE))
    except FileNotFoundError:
        return NOWHERE


class PrologFiles:
    """The job of each GPU as Slurm's prolog wrote it."""

    def __init__(self, folder: Path = PROLOG_FOLDER, users: Users | None = None) -> None:
        self._folder = folder
        self._users = users or Users()
        self._told = False

    def complete(self, subject: Subject, processes: Sequence[Process]) -> Sequence[Process]:
        """Processes of one GPU, and of its MIG devices, with the job of it where they have none.

        Only those of the job's own user: other users' and the system's processes are not its work.
        """
        jobs: dict[str, Allocation | None] = {}
        completed = []
        for process in processes:
            key = process.subject_key
            if process.job is None:
                if key not in jobs:
                    own = str(subject.index) if key == subject.key else ""
                    jobs[key] = self._read(key) or self._read(own)
                found = jobs[key]
                if found is not None and found.user in (None, process.user):
                    process = replace(process, job=found.job)
            completed.append(process)
        return completed

    def allocations(self, subjects: Sequence[Subject]) -> Mapping[str, Allocation | None]:
        """By the GPU's key the job that it was given to, whether or not it runs anything there.

        Empty until the folder is there: then nothing is known of any GPU.
        """
        self._told = self._told or self._folder.is_dir()
        if not self._told:
            return {}
        gpus = [subject for subject in subjects if subject.kind == "gpu"]
        return {gpu.key: self._read(gpu.key) or self._read(str(gpu.index)) for gpu in gpus}

    def _read(self, name: str) -> Allocation | None:
        if "/" in name or name in ("", ".", ".."):
            return None
        try:
            with (self._folder / name).open(errors="replace") as file:
                match = _PROLOG.match(file.read(256))
        except OSError:
            return None
        if match is None:
            return None
        job, uid = match.groups()
        return Allocation(job, None if uid is None else self._users.name(int(uid)))


def prolog_files(method: str, folder: Path) -> PrologFiles | None:
    """The prolog's files for GPUs of a method; none for simulated ones, on which no job runs."""
    return None if method == "sim" else PrologFiles(folder)
