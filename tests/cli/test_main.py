"""The command line: quick, one sentence for what goes wrong, the right exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib import metadata

import pytest

from gpufleet.cli.main import COMMANDS, main

HEAVY = [
    *("grpc", "google", "pynvml", "numpy", "sqlalchemy", "alembic", "fastapi", "uvicorn"),
    *("pydantic", "orjson", "prometheus_client", "asyncio", "http.client"),
]

PROBE = """
import sys
from gpufleet.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print("loaded:", *sorted({name for name in %s if name in sys.modules}))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def gpufleet(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "gpufleet.cli", *arguments)


STAND_IN = """
import os, signal, sys, types
from gpufleet.cli import main

def run(args):
    {body}

module = types.ModuleType("stand_in")
module.add_arguments = lambda parser: None
module.run = run
sys.modules["stand_in"] = module
main.COMMANDS["demo"] = main.Command("stand_in", "stand in", "agent,hub")
sys.exit(main.main({arguments}))
"""


def stand_in(body: str, *before: str) -> str:
    """A program in which `gpufleet demo` runs this body."""
    return STAND_IN.format(body=body.replace("\n", "\n    "), arguments=[*before, "demo"])


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["hub", "serve", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    run = run_python("-c", PROBE % HEAVY, *arguments)
    assert run.returncode == 0
    assert run.stdout.splitlines()[-1].strip() == "loaded:"


def test_help_lists_every_command() -> None:
    run = gpufleet("--help")
    assert run.returncode == 0
    assert all(f"    {name} " in run.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_has_help(name: str) -> None:
    run = gpufleet(name, "--help")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(f"usage: gpufleet {name}")


def test_the_version_is_that_of_the_installation() -> None:
    try:
        expected = f"gpufleet {metadata.version('gpufleet')}"
    except metadata.PackageNotFoundError:
        expected = "gpufleet, run from source without an installation"
    run = gpufleet("--version")
    assert (run.returncode, run.stdout.strip()) == (0, expected)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "COMMAND"),
        (["nonsense"], "'nonsense'"),
        (["hub"], "ACTION"),
        (["hub", "serve", "--htp-port", "1"], "did you mean --http-port?"),
        (["hub", "serve", "--http-port"], "expected one argument"),
        (["demo", "--nodes", "none"], "--nodes"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_status_2(arguments: list[str], sentence: str) -> None:
    run = gpufleet(*arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert sentence in run.stderr
    assert "--help" in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_missing_extra_is_named_with_the_command_that_installs_it() -> None:
    run = run_python("-c", stand_in("import grpc_of_nowhere"))
    assert run.returncode == 1
    assert "pip install 'gpufleet[agent,hub]'" in run.stderr
    assert "'grpc_of_nowhere'" in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_missing_database_driver_is_named_with_its_own_extra() -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'psycopg'\", name='psycopg')"
    run = run_python("-c", stand_in(missing))
    assert run.returncode == 1
    assert "pip install 'gpufleet[postgres]'" in run.stderr


def test_an_unexpected_error_is_one_sentence() -> None:
    run = run_python("-c", stand_in(r"raise ValueError('the moon\nis full')"))
    assert run.returncode == 1
    assert "ValueError: the moon is full. gpufleet --debug demo" in run.stderr
    assert run.stderr.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    run = run_python("-c", stand_in("raise ValueError", "--debug"))
    assert run.returncode == 1
    assert "Traceback (most recent call last)" in run.stderr


def test_ctrl_c_ends_quietly_with_130() -> None:
    run = run_python("-c", stand_in("os.kill(os.getpid(), signal.SIGINT)\nsignal.pause()"))
    assert (run.returncode, run.stderr) == (128 + signal.SIGINT, "")


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    program = stand_in("for _ in range(100000): print('x' * 80)\nreturn 0")
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.wait(60) == 128 + signal.SIGPIPE


def test_a_commands_status_is_returned() -> None:
    assert run_python("-c", stand_in("return 7")).returncode == 7


def test_main_takes_its_arguments_as_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: gpufleet")
