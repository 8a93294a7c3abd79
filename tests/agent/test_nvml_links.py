"""NVLink of every generation: states, errors and bytes, by link and over all."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import fake_gpus
from support.fake_driver import missing
from support.nvml_session import session

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def test_nvlink_errors_of_blackwell_are_its_recovery_events(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.gb200(0)]) as s:
        s.start()
        assert s.values()["nvlink_errors_total"] == 3


def test_nvlink_errors_are_added_up_and_absent_while_a_part_is_missing(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set(
            {"gpu.0.nvlink.0.replay": 2, "gpu.0.nvlink.1.crc": 5, "gpu.0.nvlink.1.state": 0}
        )
        assert s.values()["nvlink_errors_total"] == 7
        link = {"replay_errors": 0, "recovery_errors": 0, "crc_errors": 0}
        assert (s.read().detail or {})["nvlinks"] == [
            {"link": 0, "up": True, "state": "active", **link, "replay_errors": 2},
            {"link": 1, "up": False, "state": "inactive", **link, "crc_errors": 5},
        ]
        s.driver.fail("gpu.0.nvlink.1.crc", 999)
        assert "nvlink_errors_total" not in s.values()
        s.driver.set({"gpu.0.nvlink.1.crc": 6})
        assert s.values()["nvlink_errors_total"] == 8


def test_bytes_over_all_links_of_nvlink_5_are_added_up_from_its_links(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.gb200(0)]) as s:
        s.start()
        values = s.values()
        assert values["nvlink_tx_bytes_total"] == 9_000_000_000
        assert values["nvlink_rx_bytes_total"] == 13_000_000_000
        assert {"nvlink_tx_bytes_total", "nvlink_rx_bytes_total"} <= s.columns()
        s.driver.forget_calls()
        s.values(slow=False)
        (batch,) = s.driver.calls("nvmlDeviceGetFieldValues")
        assert "202" not in batch.extra
        s.driver.fail("gpu.0.nvlink.1.tx_bytes", 999)
        assert "nvlink_tx_bytes_total" not in s.values()
        assert s.values()["nvlink_rx_bytes_total"] == 13_000_000_000


def test_where_a_counter_over_all_links_answers_the_links_are_not_asked_one_by_one(
    tmp_path: Path,
) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.driver.set({"gpu.0.nvlink.0.tx_bytes": 1, "gpu.0.nvlink.1.tx_bytes": 1})
        s.start()
        s.driver.forget_calls()
        assert s.values()["nvlink_tx_bytes_total"] == 4096 * 1024
        (batch,) = s.driver.calls("nvmlDeviceGetFieldValues")
        assert "202:" not in batch.extra


@pytest.mark.parametrize(
    ("state", "name", "up"),
    [
        (0, "inactive", False),
        (1, "active", True),
        (2, "sleep", True),
        (3, "traffic_disabled", False),
        (9, "9", False),
    ],
)
def test_a_link_that_sleeps_is_up_and_one_without_traffic_is_not(
    tmp_path: Path, state: int, name: str, up: bool
) -> None:
    with session(tmp_path, [fake_gpus.gb200(0)]) as s:
        s.driver.set({"gpu.0.nvlink.1.state": state})
        s.start()
        assert (s.read().detail or {})["nvlinks"][1] == {
            "link": 1,
            "up": up,
            "state": name,
            "speed_bytes_per_second": 50_000_000_000,
            "recovery_events": 1,
            "tx_bytes": 5_000_000_000,
            "rx_bytes": 7_000_000_000,
        }
