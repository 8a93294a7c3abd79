"""Settings from file, environment and flags; each error one sentence."""

from pathlib import Path
from typing import Any

import pytest

from gpufleet.agent.config import ConfigError, load


def from_file(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text)
    return path


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = from_file(tmp_path, 'node = "f"\ninterval = 5\nslow_interval = 60\nmethod = "sim"\n')
    environment = {"GPUFLEET_NODE": "e", "GPUFLEET_INTERVAL": "2"}
    made = load(path, environment, {"node": "g", "interval": None})
    assert (made.node, made.interval_ms, made.slow_interval_ms) == ("g", 2000, 60_000)


def test_labels_and_hubs_can_be_given_everywhere(tmp_path: Path) -> None:
    path = from_file(tmp_path, 'hub = ["127.0.0.1:1", "[::1]:2"]\n[labels]\nrack = "r1"\n')
    made = load(path, {}, {})
    assert made.hubs == ("127.0.0.1:1", "[::1]:2")
    assert made.labels == {"rack": "r1"}
    environment = {"GPUFLEET_LABELS": "rack=r2,owner=me", "GPUFLEET_HUB": "localhost:3"}
    made = load(path, environment, {})
    assert (made.labels, made.hubs) == ({"rack": "r2", "owner": "me"}, ("localhost:3",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "intervall = 1",
            "agent.toml: intervall: there is no such setting; did you mean interval?",
        ),
        ("interval = true", "agent.toml: interval must be a number, not True."),
        ("interval = 3", "interval must be one of 1, 2, 5, 10, 15, 30, 60 seconds, not 3."),
        ("node = 7", "node must be a text, not 7."),
        ('node = "a b"', "node must be a name of at most 128"),
        ('method = "cuda"', "method must be one of nvml, bash, sim, auto, not 'cuda'."),
        ('hub = "10.0.0.1:9556"', "hub must be on loopback, since this version cannot yet encrypt"),
        ('hub = "gpu-hub:9556"', "hub must be on loopback"),
        ('hub = "127.0.0.1"', "hub must be HOST:PORT, not '127.0.0.1'."),
        ('[labels]\n"a-b" = "x"', "labels must have keys of letters, digits and '_'"),
        ("[labels]\na = 1", "labels must have texts"),
        ("seed = 1.5", "seed must be a whole number"),
        ("node = ", "it is not valid TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(from_file(tmp_path, text), {}, {})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"hub": ["nowhere"]}, "--hub must be HOST:PORT, not 'nowhere'."),
        ({"hub": ["localhost:1", "b"]}, "--hub must be HOST:PORT, not ['localhost:1', 'b']."),
        ({"labels": ["rack"]}, "--label must be KEY=VALUE, not 'rack'."),
        ({"state_dir": ""}, "--state-dir must be a path, not ''."),
    ],
)
def test_a_wrong_flag_is_named_as_it_was_written(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {}, flags)
    assert str(caught.value) == sentence


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: there is no such file\."):
        load(tmp_path / "none.toml", {}, {})


def test_seventeen_labels_are_too_many() -> None:
    with pytest.raises(ConfigError, match="--label can have at most 16 labels"):
        load(None, {}, {"labels": [f"k{n}=v" for n in range(17)]})


def test_a_past_can_only_be_made_up_by_sim() -> None:
    with pytest.raises(ConfigError, match="only method sim can"):
        load(None, {}, {"method": "nvml", "backfill": "2"})
