"""dcgmi: its reports in both forms, its numbers, and what is said when it does not answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.agent.smi.dcgm import AVAILABLE, Dcgm, DcgmLook
from gpufleet.agent.smi.dcgm_health import HealthReport, NotAReport, from_json, from_table
from gpufleet.agent.smi.dcgm_tables import NotATable, discovered, readings
from gpufleet.alerting.health import DcgmFinding
from support.fake_smi import UUID, FakeSmi

CAPPING = (
    "Detected clocks event due to power violation in GPU 0. Monitor the power conditions. "
    "This GPU can still perform workload."
)

TABLE = """\
+---------------------------+----------------------------------------------------------+
| Health Monitor Report                                                                |
+===========================+==========================================================+
| Overall Health            | Failure                                                  |
| GPU                       |                                                          |
| -> 0                      | Warning                                                  |
|    -> Errors              |                                                          |
|       -> Power system     | Warning                                                  |
|                           | Detected clocks event due to power violation in GPU 0.   |
|                           | Monitor the power conditions. This GPU can still         |
|                           | perform workload.                                        |
| -> 3                      | Failure                                                  |
|    -> Errors              |                                                          |
|       -> Memory system    | Failure                                                  |
|                           | 2 pages are pending retirement in GPU 3.                 |
|       -> PCIe system      | Warning                                                  |
|                           | Detected 9 PCIe replays.                                 |
| Switch                    |                                                          |
| -> 0                      | Failure                                                  |
|    -> Errors              |                                                          |
|       -> NVLINK system    | Failure                                                  |
|                           | A switch failed.                                         |
+---------------------------+----------------------------------------------------------+
"""

WATCHES = "Error: Health watches not enabled. Please enable watches. \n"
NO_ENGINE = "Error: unable to establish a connection to the specified host: localhost\n"


def subsystem(verdict: str, *lines: str) -> dict[str, Any]:
    return {"value": verdict, "overflow": list(lines)}


def report(overall: str, **kinds: dict[str, dict[str, Any]]) -> str:
    """The JSON of dcgmi's output tree: kind → number → subsystem."""
    body: dict[str, Any] = {"Overall Health": {"value": overall}}
    for kind, entities in kinds.items():
        body[kind] = {
            "children": {
                number: {"value": "Warning", "children": {"Errors": {"children": errors}}}
                for number, errors in entities.items()
            }
        }
    return json.dumps({"body": body, "header": ["Health Monitor Report"]})


JSON = report(
    "Failure",
    GPU={
        "0": {
            "Power system": subsystem(
                "Warning",
                "Detected clocks event due to power violation in GPU 0.",
                "Monitor the power conditions. This GPU can still",
                "perform workload.",
            )
        },
        "3": {
            "Memory system": subsystem("Failure", "2 pages are pending retirement in GPU 3."),
            "PCIe system": subsystem("Warning", "Detected 9 PCIe replays."),
        },
    },
    Switch={"0": {"NVLINK system": subsystem("Failure", "A switch failed.")}},
)

EXPECTED = HealthReport(
    "Failure",
    {
        0: (DcgmFinding("Power", False, CAPPING, power_capping=True),),
        3: (
            DcgmFinding("Memory", True, "2 pages are pending retirement in GPU 3."),
            DcgmFinding("PCIe", False, "Detected 9 PCIe replays."),
        ),
    },
)


@pytest.mark.parametrize(("read", "text"), [(from_json, JSON), (from_table, TABLE)])
def test_json_and_table_say_the_same_and_a_switch_is_no_gpu(read: Any, text: str) -> None:
    assert read(text) == EXPECTED


@pytest.mark.parametrize("overall", ["Healthy", "Warning", "Failure"])
def test_a_report_without_incidents(overall: str) -> None:
    assert from_json(report(overall)) == HealthReport(overall, {})
    assert from_json("Some line before\n" + report(overall)) == HealthReport(overall, {})


@pytest.mark.parametrize(
    ("sentence", "capping"),
    [
        (CAPPING, True),
        ("Detected clock throttling due to power violation in GPU 1.", True),
        ("Detected clocks event due to thermal violation in GPU 1.", False),
        ("Cannot reliably read the power usage for GPU 1.", False),
    ],
)
def test_only_ordinary_power_capping_is_marked_as_such(sentence: str, capping: bool) -> None:
    read = from_json(report("Warning", GPU={"0": {"Power system": subsystem("Warning", sentence)}}))
    assert read.findings[0][0].power_capping is capping


def test_a_power_failure_is_not_capping() -> None:
    read = from_json(report("Failure", GPU={"0": {"Power system": subsystem("Failure", CAPPING)}}))
    assert not read.findings[0][0].power_capping


@pytest.mark.parametrize("text", [WATCHES, NO_ENGINE, "", "{", '{"body": 3}', '{"body": {}}', "[]"])
def test_what_is_no_report(text: str) -> None:
    for read in (from_json, from_table):
        with pytest.raises(NotAReport):
            read(text)


DISCOVERY = f"""\
2 GPUs found (Active).
+--------+----------------------------------------------------------------------+
| GPU ID | Device Information                                                   |
+--------+----------------------------------------------------------------------+
| 0      | Name: <<<NULL>>>                                                     |
|        | PCI Bus ID: 00000000:18:00.0                                         |
|        | Device UUID: {UUID.format(0)}                |
+--------+----------------------------------------------------------------------+
| 3      | Name: NVIDIA H100 80GB HBM3                                          |
|        | PCI Bus ID: 00000000:19:00.0                                         |
|        | Device UUID: {UUID.format(1)}                |
+--------+----------------------------------------------------------------------+
1 NvSwitches found.
+-----------+
| Switch ID |
+-----------+
| 7         |
+-----------+
1 ConnectX found.
+----------+
| ConnectX |
+----------+
| 0        |
+----------+
1 CPUs found.
+--------+----------------------------------------------------------------------+
| CPU ID | Device Information                                                   |
+--------+----------------------------------------------------------------------+
| 0      | Device UUID: GPU-not-a-gpu                                           |
+--------+----------------------------------------------------------------------+
"""


def test_discovery_gives_the_uuids_of_gpus_only() -> None:
    assert discovered(DISCOVERY) == {0: UUID.format(0), 3: UUID.format(1)}
    assert discovered("0 GPUs found.\n") == {}
    with pytest.raises(NotATable):
        discovered(NO_ENGINE)


DMON = """\
#Entity   TOTEC               SMACT
ID
GPU 0     1234567890          0.123
GPU 3     N/A                 N/A
GPU 4     9223372036854775794 4294967295
GPU 5     1
GPU-I 0   5                   5
"""


def test_dmon_gives_readings_by_number() -> None:
    assert readings(DMON, 2) == {0: (1234567890, 0.123), 3: (None, None), 4: (None, None)}


@given(st.text(max_size=300))
def test_garbage_is_refused_or_says_nothing(text: str) -> None:
    for read in (from_json, from_table):
        with pytest.raises(NotAReport):
            read(text)
    assert readings(text, 3) == {} or "GPU" in text


@given(st.integers(0, len(JSON)), st.integers(0, 30), st.text(max_size=8))
def test_a_damaged_report_never_raises_anything_else(at: int, length: int, filling: str) -> None:
    for read, whole in ((from_json, JSON), (from_table, TABLE), (discovered, DISCOVERY)):
        try:
            read(whole[:at] + filling + whole[at + length :])
        except (NotAReport, NotATable):
            continue


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["body", "children", "value", "overflow", "GPU", "0", "Errors"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_any_json_in_place_of_the_body_is_taken_or_refused(value: Any) -> None:
    body = {"Overall Health": {"value": "Healthy"}, "GPU": value}
    found = from_json(json.dumps({"body": body}))
    assert all(finding for finding in found.findings.values())


# The program


class Now:
    """A monotonic clock."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def fake(tmp_path: Path) -> FakeSmi:
    smi = FakeSmi(tmp_path / "smi", dcgmi=True)
    smi.answer("discovery", DISCOVERY)
    smi.answer("health-json", JSON)
    smi.answer("dmon", "#Entity TOTEC\nID\nGPU 0 123456\nGPU 3 N/A\nGPU 9 5\n")
    return smi


@pytest.fixture
def dcgm(fake: FakeSmi, now: Now) -> Iterator[Dcgm]:
    dcgm = Dcgm(fake.environment, clock=now)
    yield dcgm
    dcgm.wait(30)


def look(dcgm: Dcgm) -> DcgmLook:
    dcgm.refresh()
    dcgm.wait(30)
    newest = dcgm.newest()
    assert newest is not None
    return newest


def test_findings_and_energy_are_told_by_uuid(dcgm: Dcgm, fake: FakeSmi) -> None:
    seen = look(dcgm)
    assert (seen.state, seen.health) == (AVAILABLE, "Failure")
    assert seen.findings == {
        UUID.format(0): EXPECTED.findings[0],
        UUID.format(1): EXPECTED.findings[3],
    }
    assert seen.energy_millijoules == {UUID.format(0): 123456}
    assert fake.calls("dcgmi") == ["discovery -l", "health -c -j", "dmon -e 156 -c 1"]


def test_watches_are_never_set(dcgm: Dcgm, fake: FakeSmi) -> None:
    fake.answer("health-json", WATCHES, code=255)
    seen = look(dcgm)
    assert seen.state == (
        "dcgm health unavailable: its health watches are not enabled; if nobody else uses this "
        "host engine, run dcgmi health -s a."
    )
    assert seen.findings == {}
    assert seen.energy_millijoules == {UUID.format(0): 123456}
    assert not [call for call in fake.calls("dcgmi") if "-s" in call.split()]


def test_health_is_asked_once_a_minute_at_most(dcgm: Dcgm, fake: FakeSmi, now: Now) -> None:
    for _ in range(60):
        look(dcgm)
        now.seconds += 3.0
    calls = fake.calls("dcgmi")
    assert calls.count("health -c -j") == 3
    assert calls.count("dmon -e 156 -c 1") == 6
    assert look(dcgm).findings  # what was found stays in between


def test_the_table_is_read_where_there_is_no_json(dcgm: Dcgm, fake: FakeSmi) -> None:
    fake.answer("health-json", "PARSE ERROR: Argument: -j\n", code=1)
    fake.answer("health", TABLE)
    assert look(dcgm).findings[UUID.format(1)] == EXPECTED.findings[3]


def test_an_exit_status_alone_takes_nothing_away(dcgm: Dcgm, fake: FakeSmi) -> None:
    fake.answer("discovery", DISCOVERY, code=223)  # the module of NvSwitches is switched off
    assert look(dcgm).state == AVAILABLE


def test_no_host_engine_is_said_with_its_mend(dcgm: Dcgm, fake: FakeSmi) -> None:
    fake.answer("discovery", NO_ENGINE, code=234)
    assert look(dcgm).state == (
        "dcgm unavailable: unable to establish a connection to the specified host: localhost; "
        "start the service nvidia-dcgm."
    )
    assert fake.calls("dcgmi") == ["discovery -l"]


@pytest.mark.parametrize("code", [-33, -37])
def test_a_module_that_is_not_loaded(dcgm: Dcgm, fake: FakeSmi, code: int) -> None:
    said = f"Error: Unable to check health watches. Return: {code}\n"
    fake.answer("health-json", said, code=1)
    fake.answer("health", said, code=1)
    assert look(dcgm).state == (
        f"dcgm health unavailable: dcgmi says 'Unable to check health watches. Return: {code}'."
    )


def test_no_dcgmi_at_all(dcgm: Dcgm, fake: FakeSmi) -> None:
    fake.remove("dcgmi")
    assert look(dcgm).state == (
        "dcgm unavailable: there is no dcgmi on the PATH (package datacenter-gpu-manager)."
    )


def test_an_empty_answer_is_said_as_such(dcgm: Dcgm, fake: FakeSmi) -> None:
    fake.answer("discovery", "", code=3)
    assert look(dcgm).state == "dcgm unavailable: dcgmi ended with status 3 and said nothing."


def test_it_comes_back(dcgm: Dcgm, fake: FakeSmi, now: Now) -> None:
    fake.answer("discovery", NO_ENGINE, code=234)
    look(dcgm)
    fake.answer("discovery", DISCOVERY)
    now.seconds += 31
    seen = look(dcgm)
    assert (seen.state, seen.health) == (AVAILABLE, "Failure")


def test_an_old_look_is_no_look(dcgm: Dcgm, now: Now) -> None:
    look(dcgm)
    now.seconds += 181
    assert dcgm.newest() is None
