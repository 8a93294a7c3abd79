"""The hub's settings: where they come from and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.hub.app import retention_of
from gpufleet.hub.config import ConfigError, load
from gpufleet.hub.store.retention import Retention


def test_flags_come_before_variables_and_those_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("database_seconds = 4\nhttp_port = 1001\ngrpc_port = 1002\n")
    variables = {"GPUFLEET_DATABASE_SECONDS": "2.5", "GPUFLEET_HTTP_PORT": "2001"}
    config = load(file, variables, {"http_port": "3001", "grpc_port": None})
    assert (config.database_seconds, config.http_port, config.grpc_port) == (2.5, 3001, 1002)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", "601"])
def test_a_deadline_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(
        ConfigError, match="GPUFLEET_DATABASE_SECONDS must be seconds from 1 to 600"
    ):
        load(None, {"GPUFLEET_DATABASE_SECONDS": value}, {})


@pytest.mark.parametrize(
    ("value", "size"),
    [("10000000", 10_000_000), ("500M", 500_000_000), ("20Gi", 20 << 30), ("1.5TB", 1_500 * 10**9)],
)
def test_retention_comes_from_settings(value: str, size: int) -> None:
    config = load(
        None, {"GPUFLEET_RETENTION_BYTES": value, "GPUFLEET_RETENTION_SAMPLES_DAYS": "1.5"}, {}
    )
    kept = retention_of(config)
    assert kept == Retention(samples_ms=36 * 3_600_000, max_bytes=size)


def test_without_settings_retention_is_the_usual_one() -> None:
    assert retention_of(load(None, {}, {})) == Retention()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("BYTES", "20 apples", "must be bytes, at least 10M, such as 500M, 20G or 20Gi"),
        ("BYTES", "1M", "must be bytes, at least 10M"),
        ("BYTES", "-1", "must be bytes, at least 10M"),
        ("SAMPLES_DAYS", "0", "must be days from 1 to 36500, not '0'"),
        ("MINUTES_DAYS", "nan", "must be days from 1 to 36500"),
        ("HOURS_DAYS", "for ever", "must be days from 1 to 36500"),
        ("EVENTS_DAYS", "40000", "must be days from 1 to 36500"),
    ],
)
def test_a_retention_that_is_none_is_refused(name: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"GPUFLEET_RETENTION_{name} {sentence}"):
        load(None, {f"GPUFLEET_RETENTION_{name}": value}, {})
