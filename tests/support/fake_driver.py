"""Builds the fake NVIDIA driver of tests/fake_nvml, scripts it and reads what was called."""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .fake_gpus import Gpu, Value

SOURCES = Path(__file__).parent.parent / "fake_nvml"
LIBRARY = "libnvidia-ml.so.1"
FLAVOURS: Mapping[str, Sequence[str]] = {
    "current": (),
    "old": ("-DFLAVOUR_OLD",),
    "535": ("-DFLAVOUR_535",),
}


def missing() -> str | None:
    """Why the fake driver cannot be built here, or None: for ``pytest.mark.skipif``."""
    if shutil.which("gcc") is None:
        return "gcc is not installed"
    return None if _header() else "PyPI nvidia-nvml-dev (nvml.h) is not installed"


def _header() -> Path | None:
    try:
        files = metadata.files("nvidia-nvml-dev") or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in files if f.name == "nvml.h"), None)


@functools.cache
def build(flavour: str = "current") -> Path:
    """The folder that holds the compiled library; built once per process, removed at its end."""
    header = _header()
    if header is None:
        raise RuntimeError("PyPI nvidia-nvml-dev (nvml.h) is not installed")
    folder = Path(tempfile.mkdtemp(prefix="fake-nvml-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = ["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    command += [f"-Wl,-soname,{LIBRARY}", f"-I{header.parent}", *FLAVOURS[flavour]]
    command += ["-o", str(folder / LIBRARY), *map(str, sorted(SOURCES.glob("*.c")))]
    done = subprocess.run([*command, "-lm", "-lpthread"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the fake driver does not compile:\n{done.stderr}")
    return folder


@dataclass(frozen=True, slots=True)
class Call:
    """One line of the call log; ``slot`` is -1 for calls without a GPU."""

    pid: int
    function: str
    slot: int
    extra: str


class FakeDriver:
    """One scripted driver: a state file, a call log, and ways to run code on it.

    Keys are those of tests/fake_nvml/README.md. Every change replaces the state file atomically and
    is seen by the next call of every process that uses it.
    """

    def __init__(self, folder: Path, gpus: Sequence[Gpu] = (), *, flavour: str = "current") -> None:
        self.folder = folder
        self.flavour = flavour
        self.state_file = folder / "nvml-state"
        self.log_file = folder / "nvml-calls"
        self._state: dict[str, Value] = {
            "driver_version": "590.48.01",
            "nvml_version": "13.590.48.01",
            "cuda_version": 13010,
            "since": f"{time.time():.3f}",
            "count": len(gpus),
        }
        for slot, gpu in enumerate(gpus):
            self._state.update({f"gpu.{slot}.{key}": value for key, value in gpu.items()})
        self._write()

    def _write(self) -> None:
        fresh = self.state_file.with_suffix(".new")
        fresh.write_text("".join(f"{key} = {value}\n" for key, value in self._state.items()))
        fresh.replace(self.state_file)

    def set(self, changes: Mapping[str, Value]) -> None:
        """Change or add keys, all at once."""
        self._state.update(changes)
        self._write()

    def unset(self, *keys: str) -> None:
        """Take keys away: what they named is not supported any more, or no longer scripted."""
        for key in keys:
            self._state.pop(key, None)
        self._write()

    def fail(self, key: str, code: int) -> None:
        """Let a value answer with an error: ``fail("gpu.0.power", 3)``, ``fail("gpu.1.*", 15)``."""
        self.set({key: f"!{code}"})

    def hang(self, slot: int | None = None, milliseconds: int | None = None) -> None:
        """Block every call of one GPU (or of all), for ever or so long each."""
        key = "hang" if slot is None else f"gpu.{slot}.hang"
        self.set({key: "forever" if milliseconds is None else milliseconds})

    def unhang(self, slot: int | None = None) -> None:
        """Let the calls that hang go on."""
        self.unset("hang" if slot is None else f"gpu.{slot}.hang")

    def reload(self) -> None:
        """Load the driver anew: UNINITIALIZED until nvmlInit; counters are yours to set."""
        self.set({"reload": int(self._state.get("reload", 0)) + 1})

    def xid(self, slot: int, code: int) -> None:
        """Add an Xid event."""
        number = 1 + sum(key.startswith("xid.") for key in self._state)
        self.set({f"xid.{number}": f"{slot} {code}"})

    def env(self, *, log: bool = True) -> dict[str, str]:
        """Environment for a subprocess: this one's, with the fake driver and the import path."""
        paths = [str(build(self.flavour)), os.environ.get("LD_LIBRARY_PATH", "")]
        added = {
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths)),
            "FAKE_NVML_STATE": str(self.state_file),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        if log:
            added["FAKE_NVML_LOG"] = str(self.log_file)
        return {**os.environ, **added}

    def python(self, code: str, *, library: bool = True, timeout: float = 60) -> str:
        """Run Python code on this driver in a process of its own; what it printed.

        Without ``library`` there is no libnvidia-ml at all (unless the machine has one).
        """
        env = self.env() if library else {**self.env(), "LD_LIBRARY_PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            raise AssertionError(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    @contextmanager
    def installed(self, *, log: bool = True) -> Iterator[FakeDriver]:
        """Make this the driver of this very process (flavour ``current`` only).

        pynvml asks for libnvidia-ml.so.1 by name and gets what is already loaded under that SONAME.
        """
        if self.flavour != "current":
            raise ValueError("a process holds one libnvidia-ml: run other flavours with python()")
        library = ctypes.CDLL(str(build() / LIBRARY))
        configure = library.fake_nvml_configure
        configure.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        configure(os.fsencode(self.state_file), os.fsencode(self.log_file) if log else None)
        try:
            yield self
        finally:
            self.unset(*(key for key in self._state if "hang" in key.split(".")))
            while library.nvmlShutdown() == 0:
                pass
            configure(None, None)

    def calls(self, function: str | None = None, slot: int | None = None) -> list[Call]:
        """What was called so far, in order; of one function or GPU if given."""
        if not self.log_file.exists():
            return []
        found = []
        for line in self.log_file.read_text().splitlines():
            pid, name, at, *extra = line.split(" ", 3)
            call = Call(int(pid), name, int(at), extra[0] if extra else "")
            if function in (None, call.function) and slot in (None, call.slot):
                found.append(call)
        return found

    def forget_calls(self) -> None:
        """Empty the call log."""
        if self.log_file.exists():
            os.truncate(self.log_file, 0)
