"""One picture as text, and the command line around it."""

from __future__ import annotations

import subprocess

import pytest

from support.processes import command, environment, free_port
from support.tui_hub import TuiHub, calm, hostile


def once(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    extra = {"LC_ALL": "C.UTF-8", "COLUMNS": "100", **environ}
    return subprocess.run(
        command("tui", *arguments), env=environment(extra), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip


def test_a_pipe_gets_one_picture_without_any_colour_or_box() -> None:
    with TuiHub(calm(3)) as hub:
        run = once(hub.url)
    assert (run.returncode, run.stderr) == (0, "")
    assert "\x1b" not in run.stdout
    assert "│" not in run.stdout
    assert "node-1 / GPU 2" in run.stdout
    assert all(len(line) <= 100 and line == line.rstrip() for line in run.stdout.splitlines())


def test_filter_sort_group_and_width_count_for_the_text() -> None:
    with TuiHub(calm(16)) as hub:
        run = once(hub.url, "--filter", "node=node-2", "--group", "node", "--once", COLUMNS="60")
        users = once(hub.url, "--view", "users")
        alerts = once(hub.url, "--view", "alerts")
    assert "node-1" not in run.stdout
    assert "▾ node-2 8" in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 60
    assert "user3" in users.stdout
    assert "Nothing fires" in alerts.stdout


def test_a_locale_without_unicode_gets_ascii() -> None:
    with TuiHub(hostile()) as hub:
        run = once(hub.url, LC_ALL="C")
        flag = once(hub.url, "--ascii")
    assert run.returncode == flag.returncode == 0
    assert run.stdout.isascii()
    assert flag.stdout.isascii()


def test_nothing_that_passes_is_said() -> None:
    with TuiHub(calm(1)) as hub:
        assert "No GPU passes the filter." in once(hub.url, "--filter", "temp>999").stdout
    with TuiHub(calm(0)) as hub:
        assert "knows no GPU" in once(hub.url).stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--filter", "tmp>1"), "did you mean 'temp'"),
        (("--sort", "tmp"), "--sort is one of place"),
        (("--group", "rack"), "label.NAME"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: tuple[str, ...], word: str) -> None:
    with TuiHub(calm(1)) as hub:
        run = once(hub.url, *arguments)
    assert (run.returncode, run.stdout) == (1, "")
    assert word in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_hub_that_is_not_there_is_one_sentence() -> None:
    run = once(f"http://127.0.0.1:{free_port()}")
    assert run.returncode == 1
    assert run.stderr.startswith("gpufleet tui: The hub at ")
    assert run.stderr.count("\n") == 1
