"""A small /proc for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

BOOT_SECONDS = 1_700_000_000


def proc_tree(folder: Path) -> Path:
    """An empty /proc of a machine started at BOOT_SECONDS."""
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(f"cpu  1 2 3 4\nintr 5\nbtime {BOOT_SECONDS}\nprocesses 9\n")
    return folder


def add_process(
    proc: Path,
    pid: int,
    arguments: Sequence[str],
    *,
    comm: str = "comm",
    uid: int = 0,
    start_ticks: int = 12_345,
    cgroup: str | None = None,
    environ: Sequence[str] = (),
) -> None:
    """A process; ``start_ticks`` are hundredths of a second after the start of the machine."""
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    before = "S 1 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0"
    (folder / "stat").write_text(f"{pid} ({comm}) {before} {start_ticks} 1000 50\n")
    (folder / "status").write_text(f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    (folder / "comm").write_text(f"{comm}\n")
    (folder / "environ").write_bytes(b"".join(e.encode() + b"\0" for e in environ))
    if cgroup is not None:
        (folder / "cgroup").write_text(cgroup)
    (folder / "cmdline").write_bytes(b"".join(a.encode() + b"\0" for a in arguments))
