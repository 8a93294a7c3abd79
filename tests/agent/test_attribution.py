"""Container, pod and job of a process; its arguments without their secrets."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.agent.clock import SystemClock
from gpufleet.agent.config import ConfigError, load
from gpufleet.agent.model import Process, Subject
from gpufleet.agent.processes import arguments
from gpufleet.agent.processes.attribution import (
    NOWHERE,
    Place,
    PrologFiles,
    parse_cgroup,
    place_of,
    prolog_files,
)
from gpufleet.agent.processes.table import Identity, ProcessTable, Reveal
from gpufleet.agent.sampler import Sampler
from gpufleet.agent.snapshot import take
from support.agent_clock import until
from support.proc_tree import add_process, proc_tree
from support.scripted_collector import ScriptedCollector

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
POD = "12345678-9abc-def0-1234-56789abcdef0"
POD_ = POD.replace("-", "_")
SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD_}.slice"

# Paths as the named software lays them out.
PLACES: Mapping[str, tuple[str, Place]] = {
    "docker, v1, cgroupfs": (f"/docker/{ID}", Place(ID)),
    "docker, v2, systemd": (f"/system.slice/docker-{ID}.scope", Place(ID)),
    "docker in docker": (f"/docker/{OTHER}/docker/{ID}", Place(ID)),
    "podman, rootful": (f"/machine.slice/libpod-{ID}.scope/container", Place(ID)),
    "podman, rootless": (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
        Place(ID),
    ),
    "podman, in a pod": (
        f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope",
        Place(ID),
    ),
    "podman's monitor": (f"/machine.slice/libpod-conmon-{ID}.scope", NOWHERE),
    "containerd, systemd": (f"{SLICE}/cri-containerd-{ID}.scope", Place(ID, POD)),
    "containerd, systemd, v1": (
        f"/system.slice/containerd.service/kubepods-besteffort-pod{POD_}.slice:cri-containerd:{ID}",
        Place(ID, POD),
    ),
    "CRI-O": (f"{SLICE}/crio-{ID}.scope", Place(ID, POD)),
    "CRI-O's monitor": (f"{SLICE}/crio-conmon-{ID}.scope", Place(None, POD)),
    "kubernetes, cgroupfs": (f"/kubepods/besteffort/pod{POD}/{ID}", Place(ID, POD)),
    "kubernetes, guaranteed": (f"/kubepods/pod{POD}/{ID}", Place(ID, POD)),
    "kubernetes, a static pod": (
        f"/kubepods/burstable/pod{POD.replace('-', '')}/{ID}",
        Place(ID, POD.replace("-", "")),
    ),
    "seen from another cgroup namespace": (f"/../../cri-containerd-{ID}.scope", Place(ID)),
    "slurm, v1": ("/slurm/uid_1000/job_4711/step_0/task_0", Place(job="4711")),
    "slurm, v1, named node": ("/slurm_n17/uid_1000/job_4711/step_batch", Place(job="4711")),
    "slurm, v2": (
        "/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0",
        Place(job="4711"),
    ),
    "slurm, v2, named node": (
        "/system.slice/n17_slurmstepd.scope/job_4711/step_extern/user",
        Place(job="4711"),
    ),
    "docker in slurm": (
        f"/system.slice/slurmstepd.scope/job_4711/step_0/user/docker-{ID}.scope",
        Place(ID, None, "4711"),
    ),
    "a login": ("/user.slice/user-1000.slice/session-3.scope", NOWHERE),
    "slurm's own": ("/system.slice/slurmstepd.scope/system", NOWHERE),
    "root": ("/", NOWHERE),
    "a user's folder called pod": (f"/user.slice/podcast/pod{ID}", NOWHERE),
    "too long for an id": (f"/docker/{ID}0", NOWHERE),
    "too short for an id": (f"/docker/{ID[:-1]}", NOWHERE),
    "a job of nobody": ("/user.slice/job_12", NOWHERE),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_cgroup_tells_where_a_process_runs(name: str) -> None:
    path, place = PLACES[name]
    assert parse_cgroup(f"0::{path}\n") == place
    assert parse_cgroup(f"12:devices:{path}\n1:name=systemd:/\n") == place


def test_each_hierarchy_of_v1_may_tell_a_part() -> None:
    text = f"9:memory:/slurm/uid_1/job_7/step_0\n8:devices:/docker/{ID}\n0::/\n"
    assert parse_cgroup(text) == Place(ID, None, "7")


@given(st.text())
def test_garbage_is_nowhere(text: str) -> None:
    place = parse_cgroup(text)
    for part in (place.container, place.pod, place.job):
        assert part is None or part in text.replace("_", "-")


_CGROUP_PIECE = st.sampled_from(
    ["0::", "1:a,b:", "/", "docker-", ID, ".scope", "pod", POD, POD_, ".slice", ":", "\n", "-",
     "slurm", "uid_1", "job_", "23", "slurmstepd", "é", "\0", "x"]
)  # fmt: skip


@given(st.lists(_CGROUP_PIECE, max_size=16).map("".join))
def test_broken_cgroups_give_only_what_they_hold(text: str) -> None:
    place = parse_cgroup(text)
    assert place.container in (None, ID)
    assert place.pod in (None, POD)
    assert place.job is None or (place.job.isdecimal() and f"job_{place.job}" in text)


# Through /proc


def test_a_process_is_told_with_its_place(tmp_path: Path) -> None:
    path = f"{SLICE}/cri-containerd-{ID}.scope"
    add_process(proc_tree(tmp_path), 7, ["/usr/bin/train"], cgroup=f"0::{path}\n")
    who = ProcessTable(tmp_path).identify(7)
    assert (who.program, who.container, who.pod, who.job) == ("train", ID, POD, None)
    assert who.arguments is None


def test_a_kernel_without_cgroups_still_tells_user_and_program(tmp_path: Path) -> None:
    add_process(proc_tree(tmp_path), 7, ["/usr/bin/train"])
    who = ProcessTable(tmp_path).identify(7)
    assert (who.program, who.container) == ("train", None)


def test_a_pid_that_was_given_to_another_process_is_another_process(tmp_path: Path) -> None:
    proc = proc_tree(tmp_path)
    table = ProcessTable(proc, ticks_per_second=100)
    add_process(proc, 7, ["a"], start_ticks=100, cgroup=f"0::/docker/{ID}")
    before = table.identify(7)
    add_process(proc, 7, ["b"], start_ticks=900, cgroup=f"0::/docker/{OTHER}")
    after = table.identify(7)
    assert (before.program, before.container) == ("a", ID)
    assert (after.program, after.container) == ("b", OTHER)
    assert before.start_ms != after.start_ms


def test_a_pid_that_changes_hands_while_it_is_read_is_nobody(tmp_path: Path) -> None:
    """A pipe in place of the cgroup lets the other process in at the right moment."""
    proc = proc_tree(tmp_path)
    add_process(proc, 7, ["a"], start_ticks=100)
    os.mkfifo(proc / "7/cgroup")

    def come() -> None:
        with (proc / "7/cgroup").open("w") as pipe:
            add_process(proc, 7, ["b"], start_ticks=900)
            pipe.write(f"0::/docker/{ID}\n")

    other = threading.Thread(target=come)
    other.start()
    assert ProcessTable(proc).identify(7) == Identity()
    other.join()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc")
def test_this_very_process_has_a_place_that_can_be_read() -> None:
    assert isinstance(place_of(Path("/proc/self")), Place)


# Jobs by the prolog's files

GPU = Subject("gpu", "GPU-a", 3, "H100", ())


def processes(*users: str | None, key: str = "GPU-a", job: str | None = None) -> list[Process]:
    return [Process(key, pid, "C", user=user, job=job) for pid, user in enumerate(users)]


def jobs(folder: Path, given: list[Process]) -> list[str | None]:
    return [process.job for process in PrologFiles(folder).complete(GPU, given)]


@pytest.mark.parametrize("name", ["3", "GPU-a"])
def test_the_prolog_tells_the_job_by_index_or_uuid(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("4711 0\n")
    assert jobs(tmp_path, processes("root", "alice", None)) == ["4711", None, None]


def test_without_a_user_every_process_of_the_gpu_is_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "3").write_text("4711_12")
    assert jobs(tmp_path, processes("root", None)) == ["4711_12", "4711_12"]


def test_the_kernels_word_goes_before_the_prologs(tmp_path: Path) -> None:
    (tmp_path / "3").write_text("4711 0\n")
    assert jobs(tmp_path, processes("root", job="12")) == ["12"]


def test_a_mig_device_has_the_job_of_its_own_uuid_only(tmp_path: Path) -> None:
    (tmp_path / "3").write_text("4711 0\n")
    assert jobs(tmp_path, processes("root", key="MIG-b")) == [None]
    (tmp_path / "MIG-b").write_text("4712 0\n")
    assert jobs(tmp_path, processes("root", key="MIG-b")) == ["4712"]


@pytest.mark.parametrize("text", ["", "\n", "none\n", "12;rm 0", "\0\0", "x" * 10_000])
def test_a_file_that_says_no_job_tells_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "3").write_text(text)
    assert jobs(tmp_path, processes("root")) == [None]


def test_a_key_that_is_a_path_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("4711 0\n")
    folder = tmp_path / "jobs"
    folder.mkdir()
    assert jobs(folder, processes("root", key="../secret")) == [None]


# Arguments


def test_arguments_and_environment_are_told_only_where_asked_for(tmp_path: Path) -> None:
    add_process(
        proc_tree(tmp_path),
        7,
        ["python3", "train.py", "--lr", "1e-4"],
        environ=["HOME=/root", "CUDA_VISIBLE_DEVICES=0,1", "WANDB_API_KEY=abc"],
    )

    def told(**reveal: object) -> str | None:
        return ProcessTable(tmp_path, reveal=Reveal(**reveal)).identify(7).arguments  # type: ignore[arg-type]

    assert told() is None
    assert told(arguments=True) == "python3 train.py --lr 1e-4"
    assert told(environment=("CUDA_VISIBLE_DEVICES", "ABSENT")) == "CUDA_VISIBLE_DEVICES=0,1"
    assert told(arguments=True, environment=("WANDB_API_KEY",)) == (
        "WANDB_API_KEY=*** python3 train.py --lr 1e-4"
    )


AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
HIDDEN: Mapping[str, list[str]] = {
    "a password after its option": ["x", "--password", "hunter2"],
    "a password that begins with a dash": ["x", "--password", "-hunter2"],
    "a token with =": ["x", "--token=hunter2"],
    "a name in camel case": ["x", "--apiKey=hunter2"],
    "a name with dots": ["x", "trainer.logger.api_key=hunter2"],
    "a variable": ["env", "WANDB_API_KEY=hunter2", "python"],
    "a password with commas": ["x", "PGPASSWORD=hunter2,hunter2"],
    "a URL's user": ["x", "postgresql://me:hunter2@db/x"],
    "a URL's token": ["x", "https://hunter2@github.com/x"],
    "a URL's query": ["x", "https://host/x?a=1&access_token=hunter2&b=2"],
    "a URL in an option": ["x", "--callback=https://host/?token=hunter2"],
    "a header": ["curl", "-H", "Authorization: Basic hunter2 hunter2"],
    "a bearer": ["curl", "-H", "X: Bearer hunter2"],
    "curl's user": ["curl", "-u", "me:hunter2", "host"],
    "JSON": ["x", '{"user": "me", "password": "a hunter2 b"}'],
    "code": ["python", "-c", "login(token='hunter2')"],
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_secret_is_masked(name: str) -> None:
    text = arguments.told(HIDDEN[name])
    assert text is not None
    assert "hunter2" not in text
    assert arguments.MASK in text


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        AWS_SECRET,
        HEX,
        HEX[:32].upper(),
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "hf_abcdefghijklmnopqrstuvwx",
        "sk-proj-abcdefghij1234567890",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_def",
        "dGhpcyBpcyBhIHNlY3JldCB0aGF0IGlzIGxvbmc=",
    ],
)
def test_what_is_a_key_by_its_looks_is_masked_anywhere(secret: str) -> None:
    for words in (["x", secret], ["x", f"--value={secret}"], ["x", "-c", f"f('{secret}')"]):
        text = arguments.told(words)
        assert text is not None
        assert secret not in text
        assert arguments.MASK in text


@pytest.mark.parametrize(
    "words",
    [
        ["python3", "-u", "train.py", "--lr", "1e-4", "--batch-size=32", "--pin-memory"],
        ["python", "-m", "vllm", "--model", "meta-llama/Meta-Llama-3-70B-Instruct", "--port=80"],
        ["x", "--max-tokens", "512", "--tokenizer", "gpt2", "--num_tokens=8", "--authors", "me"],
        ["x", "/data/experiments/2024-05-01_resnet50_imagenet/checkpoints/epoch_0090.pt"],
        ["x", "--gpu", "GPU-509665ad-b600-ac93-3616-d754b23d636d"],
        ["x", "https://host:8080/a/path?step=10", "-u", "b"],
        ["x", ""],
    ],
)
def test_what_is_no_secret_stays(words: list[str]) -> None:
    assert arguments.told(words) == " ".join(words)


def test_an_option_without_a_value_hides_nothing_of_the_next() -> None:
    words = ["x", "--password", "--verbose", "yes", "--token"]
    assert arguments.told(words) == " ".join(words)


def test_arguments_are_printable_and_bounded() -> None:
    text = arguments.told(["a\x1b[31m\nb", "x " * 10_000])
    assert text is not None
    assert text.isprintable()
    assert len(text) == arguments.LONGEST


@given(st.lists(st.text(max_size=200), max_size=8))
def test_any_arguments_can_be_told(words: list[str]) -> None:
    text = arguments.told(words)
    assert text is None or (text.isprintable() and len(text) <= arguments.LONGEST)


@given(
    st.sampled_from(["--password", "--api-key", "--hf_token", "--secret"]),
    st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=12),
    st.booleans(),
)
def test_the_value_of_a_secret_option_never_shows(name: str, value: str, joined: bool) -> None:
    quotes = set("'\"&")
    if value.startswith("--") or quotes & set(value):
        return
    words = [f"{name}={value}"] if joined else [name, value]
    assert value not in (arguments.told(words) or "")


def test_agent_and_snapshot_tell_the_same_jobs(tmp_path: Path) -> None:
    (tmp_path / "GPU-a").write_text("4711 0")
    collector = ScriptedCollector("GPU-a", "GPU-b")
    for key in ("GPU-a", "GPU-b"):
        collector.listed[key] = tuple(processes("root", "alice", key=key))
    files, clock = prolog_files("nvml", tmp_path), SystemClock()
    snapshot = take(collector, "n1", clock, files)
    sampler = Sampler(collector, clock, random.Random(1), prolog=files)
    until(sampler.session.advance, "the collector is open")
    sampler.collect(1_000, 1_000, 30_000)
    listed = sampler.list_processes(60_000)
    sampler.close()
    assert listed is not None
    assert [process.job for process in listed] == ["4711", None, None, None]
    told = [process["job"] for gpu in snapshot["gpus"] for process in gpu["processes"]]
    assert told == ["4711", None, None, None]


def test_agent_and_snapshot_tell_the_job_that_a_gpu_was_given_to_without_any_process(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "gpustat"
    collector = ScriptedCollector("GPU-a", "GPU-b")
    files, clock = prolog_files("nvml", folder), SystemClock()
    sampler = Sampler(collector, clock, random.Random(1), prolog=files)
    until(sampler.session.advance, "the collector is open")

    def told(tick_ms: int) -> list[object]:
        sampler.list_processes(60_000)
        readings = sampler.collect(tick_ms, 1_000, 30_000).readings
        return [(readings[key].detail or {}).get("allocation", "-") for key in ("GPU-a", "GPU-b")]

    sampler.collect(1_000, 1_000, 30_000)
    assert told(2_000) == ["-", "-"]
    folder.mkdir()
    (folder / "GPU-a").write_text("4711 0")
    assert told(3_000) == [{"job": "4711", "user": "root"}, None]
    snapshot = take(collector, "n1", clock, files)
    assert snapshot["gpus"][0]["detail"]["allocation"] == {"job": "4711", "user": "root"}
    (folder / "GPU-a").unlink()
    assert told(4_000) == [None, None]
    sampler.close()


def test_no_job_of_this_machine_runs_on_a_simulated_gpu(tmp_path: Path) -> None:
    assert prolog_files("sim", tmp_path) is None


# The settings


def test_the_options_can_be_set_in_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('process_arguments = true\nprocess_environment = ["SLURM_JOB_ID"]\n')
    settings = load(file, {"GPUFLEET_PROLOG_DIR": "/run/jobs"}, {"node": "n1"})
    assert settings.reveal == Reveal(arguments=True, environment=("SLURM_JOB_ID",))
    assert settings.prolog_dir == Path("/run/jobs")
    settings = load(file, {"GPUFLEET_PROCESS_ARGUMENTS": "false"}, {"node": "n1"})
    assert settings.reveal.arguments is False


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("GPUFLEET_PROCESS_ARGUMENTS", "maybe", "must be true or false"),
        ("GPUFLEET_PROCESS_ENVIRONMENT", "A,B C", "must be a list of names of variables"),
    ],
)
def test_a_wrong_option_is_told(key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(None, {key: value}, {"node": "n1"})
