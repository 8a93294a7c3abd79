"""The hub's settings: where they come from and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.hub.config import ConfigError, load


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
