"""The repository itself: scripts run on their own, metadata and documents agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
_PLAIN = (p for p in (ROOT / "scripts").iterdir() if p.is_file() and not p.suffix)
SCRIPTS = [*sorted(_PLAIN), ROOT / ".ci/run"]


@pytest.mark.parametrize("script", SCRIPTS, ids=[p.name for p in SCRIPTS])
def test_a_script_is_executable_and_the_shell_can_read_it(script: Path) -> None:
    assert os.access(script, os.X_OK)
    first = script.read_text(encoding="utf-8").splitlines()[0]
    if "python" not in first:
        shell = "bash" if "bash" in first else "sh"
        assert subprocess.run([shell, "-n", script], check=False).returncode == 0


@pytest.mark.parametrize("script", ["demo", "test"])
def test_a_machine_without_python_is_told_what_to_install(tmp_path: Path, script: str) -> None:
    dirname = shutil.which("dirname")
    assert dirname
    (tmp_path / "dirname").symlink_to(dirname)
    run = subprocess.run(
        ["/bin/sh", ROOT / "scripts" / script],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "apt-get install python3 python3-venv" in run.stderr
    assert run.stderr.count("\n") == 1


def test_every_part_is_in_the_wheel_and_in_an_editable_install() -> None:
    parts = {p.parent.name for p in ROOT.glob("*/gpufleet") if any(p.rglob("*.py"))}
    hatch = PYPROJECT["tool"]["hatch"]["build"]
    assert {f"{part}/gpufleet" for part in parts} == set(hatch["targets"]["wheel"]["packages"])
    assert parts <= set(hatch["dev-mode-dirs"])


def test_the_changelog_names_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {PYPROJECT['project']['version']}" in changelog


def test_every_entry_of_the_changelog_is_typed() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = [line for line in changelog.splitlines() if line.startswith("* ")]
    assert entries
    assert all(re.match(r"\* \[(CHANGE|FEATURE|ENHANCEMENT|BUGFIX)\] ", e) for e in entries)


DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=[p.name for p in DOCUMENTS])
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert not missing


def test_a_skip_fails_where_nothing_may_be_skipped(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_skips(): pytest.skip('no such tool')\n"
        "@pytest.mark.hardware\n"
        "def test_wants_a_gpu(): pytest.skip('no GPU')\n"
        "@pytest.mark.xfail\n"
        "def test_known_to_fail(): assert False\n"
    )
    (tmp_path / "test_module.py").write_text(
        "import pytest\npytest.skip('no library', allow_module_level=True)\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = hardware\n")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "support.skips",
            "-rs",
            "--continue-on-collection-errors",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "this was skipped: no such tool" in run.stdout
    assert "this was skipped: no library" in run.stdout
    assert re.search(r"1 failed, 1 skipped, 1 xfailed, 1 error", run.stdout)
