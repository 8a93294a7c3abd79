"""docs/health.md says what the code does: Xid codes, limits, and facts by name."""

from __future__ import annotations

import re
from pathlib import Path

from gpufleet.alerting import health_limits as limits
from gpufleet.alerting import xid
from gpufleet.alerting.health import assess

PAGE = (Path(__file__).parents[2] / "docs" / "health.md").read_text(encoding="utf-8")


def rows(section: str) -> list[tuple[str, str]]:
    """Condition and level of each row of the table in one section."""
    text = PAGE.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [(row[0].strip(), row[1].strip()) for row in cells[1:]]


def codes(condition: str) -> set[int]:
    return {int(number) for number in re.findall(r"\d+", condition)}


def test_the_page_lists_every_known_xid_once_with_the_level_of_the_code() -> None:
    listed: list[int] = []
    for condition, level in rows("Xids"):
        for code in codes(condition):
            listed.append(code)
            assert str(xid.level(code, (0,), 0)) == level[0], code
    assert sorted(listed) == sorted(xid.KNOWN)


def test_the_page_says_how_long_an_xid_counts() -> None:
    lasts = {"until": None, "for a day": xid.DAY_MS, "for an hour": xid.HOUR_MS}
    for condition, level in rows("Xids"):
        for words, end_ms in lasts.items():
            if not level[2:].startswith(words):
                continue
            for code in codes(condition):
                if end_ms is None:
                    assert xid.counts(code, 0, 1000 * xid.DAY_MS)
                else:
                    assert xid.counts(code, 0, end_ms - 1)
                    assert not xid.counts(code, 0, end_ms)


def test_the_page_has_the_limits_of_the_code() -> None:
    text = PAGE
    for sentence in (
        f"hangs at this GPU: {limits.HUNG_POLLS} polls",
        f"{limits.RETIRED_PAGES} or more retired pages",
        f"{limits.UNCORRECTABLE_REMAPS} or more rows remapped",
        f"within {limits.SHUTDOWN_RESERVE_CELSIUS} °C of the shutdown",
        f"slowdown temperature for {limits.SLOWDOWN_HELD_MS // 1000} s",
        f"maximum operating temperature, until {limits.HYSTERESIS_CELSIUS} °C below",
        f"{limits.MARGIN_CELSIUS} °C or less to the slowdown temperature, "
        f"until {limits.MARGIN_CLEARS_CELSIUS} °C again",
        f"above {limits.FAN_NEEDED_ABOVE_CELSIUS} °C",
        f"for {limits.THERMAL_SHARE:.0%} of the last".replace("%", " %"),
        f"last {limits.THERMAL_WINDOW_MS // limits.MINUTE_MS} min",
        f"{limits.SLOWDOWNS_A_MINUTE * 10:g} hardware slowdowns in "
        f"{limits.SLOWDOWN_WINDOW_MS // limits.MINUTE_MS} min",
        f"utilisation is above {limits.BUSY_RATIO:.0%}".replace("%", " %"),
        f"{limits.NVLINK_CRC_A_SECOND} NVLink CRC errors a second",
        f"of {limits.MAX_GAP_MS // 1000} s at least",
        f"within {xid.BURST_MS // 1000} s of each other",
        f"came {xid.APPLICATION_ERRORS_AN_HOUR} times within an hour",
    ):
        assert sentence in text, sentence


def test_the_page_names_the_facts_that_count() -> None:
    hot = {
        "temperature_celsius": 200,
        "memory_temperature_celsius": 200,
        "temperature_margin_celsius": -20,
        "pcie_link_generation": 1,
        "pcie_link_width": 1,
        "utilization_ratio": 1,
    }
    bare = assess({}, hot, None, None, 0)
    named = set(re.findall(r"`([a-z_]+(?:_celsius|_max))`", PAGE)) - {"temperature_margin_celsius"}
    assert len(named) == 9
    for name in named - {"slowdown_tlimit_celsius"}:
        assert assess({name: 16 if name.endswith("max") else 1}, hot, None, None, 0) != bare, name


def test_the_example_on_the_page_is_what_the_code_says() -> None:
    found = assess({"pcie_link_width_max": 16}, {"pcie_link_width": 8}, None, None, 0)
    assert f'"reasons": ["{found.reasons[0]}"]' in PAGE
    assert f'{{"level": {found.level}, "status": "{found.status}"' in PAGE
