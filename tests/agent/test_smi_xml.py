"""The traps of nvidia-smi's XML, each by its name; logs are written by hand."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpufleet.agent.model import FaultState
from gpufleet.agent.smi.leaves import read_leaves
from gpufleet.agent.smi.log import NotALog, SmiGpu, parse
from gpufleet.agent.smi.mig import mig_names
from gpufleet.proto.catalog import BY_ID
from support.fake_smi import UUID, gpu, log, mig_device, process

ABSENT = (
    "N/A",
    "[N/A]",
    "Not Supported",
    "[Not Supported]",
    "Requested functionality has been deprecated",
    "[Function Not Found]",
    "Function Not Found",
    "Insufficient Permissions",
    "[Insufficient Permissions]",
    "GPU is lost",
    "[GPU is lost]",
    "[GPU requires reset]",
    "GPU requires reset",
    "Unknown Error",
    "[Unknown Error]",
    "ERR!",
    "-",
    "",
    "[REDACTED]",
    "REDACTED",
)


def one(changes: dict[str, str | None] | None = None) -> SmiGpu:
    (read,) = parse(log([gpu(0, changes)]).encode()).gpus
    return read


def values(changes: dict[str, str | None] | None = None) -> dict[str, float | int]:
    return named(one(changes))


def named(read: SmiGpu) -> dict[str, float | int]:
    return {BY_ID[id].name: BY_ID[id].value(raw) for id, raw in read.values.items()}


# Absent tokens


@pytest.mark.parametrize("token", ABSENT)
@pytest.mark.parametrize(
    ("path", "metric"),
    [
        ("temperature/gpu_temp", "temperature_celsius"),
        ("utilization/gpu_util", "utilization_ratio"),
        ("fb_memory_usage/used", "memory_used_bytes"),
        ("clocks/sm_clock", "clock_sm_hertz"),
        ("performance_state", "performance_state"),
        ("gpu_recovery_action", "recovery_action"),
        ("pci/replay_counter", "pcie_replay_total"),
    ],
)
def test_an_absent_token_is_no_value(token: str, path: str, metric: str) -> None:
    assert metric in values()
    assert metric not in values({path: token})


@pytest.mark.parametrize("token", ABSENT)
def test_an_absent_token_is_no_fact(token: str) -> None:
    assert one().facts["serial"] == "1320021000001"
    assert "serial" not in one({"serial": token}).facts


def test_none_is_an_answer() -> None:
    assert values({"gpu_recovery_action": "None"})["recovery_action"] == 0
    mode = {"gpu_virtualization_mode/virtualization_mode": "None"}
    assert one(dict(mode)).facts["virtualization_mode"] == "none"


def test_not_active_is_an_answer() -> None:
    assert values()["throttle_reasons"] == 0


def test_one_unknown_error_in_one_leaf_does_not_break_the_gpu() -> None:
    read = one({"addressing_mode": "Unknown Error", "fan_speed": "Unknown Error"})
    assert read.fault is None
    assert named(read)["temperature_celsius"] == 45


def test_a_value_in_another_unit_is_no_value() -> None:
    assert "power_watts" not in values(
        {
            "gpu_power_readings/instant_power_draw": "312250 mW",
            "gpu_power_readings/average_power_draw": "310000 mW",
        }
    )
    assert "memory_total_bytes" not in values({"fb_memory_usage/total": "81559 MB"})


# Schemas


def test_v13_has_instant_and_average_power() -> None:
    read = values()
    assert (read["power_watts"], read["power_average_watts"]) == (312.25, 310.0)
    assert read["power_limit_watts"] == 700.0


def test_v12_has_one_power_draw() -> None:
    read = values(
        {
            "gpu_power_readings/instant_power_draw": None,
            "gpu_power_readings/average_power_draw": None,
            "gpu_power_readings/power_draw": "67.03 W",
        }
    )
    assert read["power_watts"] == 67.03
    assert "power_average_watts" not in read


def test_legacy_power_readings_in_v12() -> None:
    read = values(
        {
            "gpu_power_readings/instant_power_draw": None,
            "gpu_power_readings/average_power_draw": None,
            "gpu_power_readings/current_power_limit": None,
            "power_readings/power_draw": "4.61 W",
            "power_readings/power_limit": "80.00 W",
            "power_readings/enforced_power_limit": "75.00 W",
        }
    )
    assert (read["power_watts"], read["power_limit_watts"]) == (4.61, 75.0)


def test_module_power_is_never_the_gpus() -> None:
    module = {
        "gpu_power_readings/instant_power_draw": "N/A",
        "gpu_power_readings/average_power_draw": "N/A",
        "gpu_power_readings/current_power_limit": "N/A",
        "module_power_readings/instant_power_draw": "467.68 W",
        "module_power_readings/average_power_draw": "467.17 W",
        "module_power_readings/current_power_limit": "2500.00 W",
    }
    read = one(dict(module))
    assert {"power_watts", "power_average_watts", "power_limit_watts"}.isdisjoint(named(read))
    assert read.detail["module_power_watts"] == 467.68
    assert read.detail["module_power_limit_watts"] == 2500.0


OLD_ECC: dict[str, str | None] = {
    "ecc_errors/volatile/sram_correctable": None,
    "ecc_errors/volatile/sram_uncorrectable_parity": None,
    "ecc_errors/volatile/sram_uncorrectable_secded": None,
    "ecc_errors/volatile/dram_correctable": None,
    "ecc_errors/volatile/dram_uncorrectable": None,
}


def test_ecc_of_v11_is_single_and_double_bit() -> None:
    read = values(
        {
            **OLD_ECC,
            "ecc_errors/volatile/single_bit/device_memory": "2",
            "ecc_errors/volatile/single_bit/total": "3",
            "ecc_errors/volatile/double_bit/total": "1",
        }
    )
    assert read["ecc_corrected_volatile_total"] == 3
    assert read["ecc_uncorrected_volatile_total"] == 1


def test_ecc_of_later_ones_is_dram_and_sram_together() -> None:
    read = values(
        {
            "ecc_errors/volatile/sram_correctable": "1",
            "ecc_errors/volatile/sram_uncorrectable_parity": "2",
            "ecc_errors/volatile/sram_uncorrectable_secded": "4",
            "ecc_errors/volatile/dram_correctable": "8",
            "ecc_errors/volatile/dram_uncorrectable": "16",
        }
    )
    assert read["ecc_corrected_volatile_total"] == 9
    assert read["ecc_uncorrected_volatile_total"] == 22


def test_ecc_that_is_not_there_is_not_0() -> None:
    assert "ecc_corrected_volatile_total" not in values(dict.fromkeys(OLD_ECC, "N/A"))


def test_a_part_of_an_ecc_sum_that_cannot_be_read_takes_the_sum_away() -> None:
    read = values({"ecc_errors/volatile/dram_uncorrectable": "Unknown Error"})
    assert "ecc_uncorrected_volatile_total" not in read
    assert read["ecc_corrected_volatile_total"] == 0


def test_remapped_rows_collapse_to_text() -> None:
    rows = {
        "remapped_rows/remapped_row_corr": "3",
        "remapped_rows/remapped_row_unc": "1",
        "remapped_rows/remapped_row_pending": "Yes",
        "remapped_rows/remapped_row_failure": "No",
    }
    read = values(dict(rows))
    assert (read["remapped_rows_correctable"], read["remapped_rows_pending"]) == (3, 1)
    assert read["remapped_rows_failed"] == 0
    collapsed = values({"remapped_rows": "N/A"})
    assert not {name for name in collapsed if name.startswith("remapped_rows")}


def test_no_doctype() -> None:
    text = log([gpu()])
    text = text.replace('<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">\n', "")
    assert named(parse(text.encode()).gpus[0])["temperature_celsius"] == 45


def test_no_xml_declaration() -> None:
    text = log([gpu()]).removeprefix('<?xml version="1.0" ?>\n')
    text = text.replace('<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">\n', "")
    assert len(parse(b"warning: something\n" + text.encode()).gpus) == 1


def test_fewer_gpus_than_attached() -> None:
    read = parse(log([gpu(0)], attached=4).encode())
    assert (read.attached, len(read.gpus), read.whole) == (4, 1, True)


def test_old_drivers_ask_for_a_reset_in_their_own_way() -> None:
    old: dict[str, str | None] = {"gpu_recovery_action": None}
    assert "recovery_action" not in values(old)
    assert values({**old, "gpu_reset_status/reset_required": "No"})["recovery_action"] == 0
    assert values({**old, "gpu_reset_status/reset_required": "Yes"})["recovery_action"] == 1
    both = {
        "gpu_reset_status/reset_required": "Yes",
        "gpu_reset_status/drain_and_reset_recommended": "Yes",
    }
    assert values({**old, **both})["recovery_action"] == 4


@pytest.mark.parametrize(
    ("said", "action"),
    [("Reset", 1), ("Reboot", 2), ("Drain P2P", 3), ("Drain and Reset", 4)],
)
def test_recovery_actions_by_their_words(said: str, action: int) -> None:
    assert values({"gpu_recovery_action": said})["recovery_action"] == action


def test_an_unknown_recovery_action_is_told_and_not_guessed() -> None:
    read = one({"gpu_recovery_action": "Polish"})
    assert "recovery_action" not in named(read)
    assert read.detail["recovery_action_unknown"] == "Polish"


# Lies


@pytest.mark.parametrize(("brand", "speed"), [("NVIDIA", None), ("Tesla", None), ("GeForce", 0.0)])
def test_fan_0_percent_on_a_passive_board(brand: str, speed: float | None) -> None:
    read = values({"fan_speed": "0 %", "product_brand": brand})
    assert read.get("fan_speed_ratio") == speed


def test_a_fan_that_turns_is_one_whatever_the_brand() -> None:
    assert values({"fan_speed": "31 %"})["fan_speed_ratio"] == 0.31
    assert "fan_speed_ratio" not in values({"fan_speed": "255 %"})


@pytest.mark.parametrize("percent", ["101 %", "4294967295 %", "-1 %", "100.5 %"])
def test_utilization_over_100_is_rejected(percent: str) -> None:
    assert "utilization_ratio" not in values({"utilization/gpu_util": percent})
    assert values({"utilization/gpu_util": "100 %"})["utilization_ratio"] == 1.0


GUEST: dict[str, str | None] = {
    "gpu_virtualization_mode/virtualization_mode": "VGPU",
    "temperature/gpu_temp": "0 C",
    "temperature/memory_temp": "0 C",
    "temperature/gpu_temp_max_threshold": "0 C",
    "gpu_power_readings/instant_power_draw": "0.00 W",
    "gpu_power_readings/average_power_draw": "0.00 W",
    "clocks/graphics_clock": "0 MHz",
    "clocks/sm_clock": "0 MHz",
    "clocks/mem_clock": "2619 MHz",
    "clocks/video_clock": "0 MHz",
}


def test_vgpu_zeros_are_no_readings() -> None:
    read = one(GUEST)
    gone = {"temperature_celsius", "memory_temperature_celsius", "power_watts"}
    gone |= {"power_average_watts", "clock_sm_hertz", "clock_graphics_hertz", "clock_video_hertz"}
    assert gone.isdisjoint(named(read))
    assert named(read)["clock_memory_hertz"] == 2_619_000_000
    assert named(read)["utilization_ratio"] == 0.37
    assert "shutdown_temperature_celsius" not in read.facts
    assert read.facts["virtualization_mode"] == "vgpu"


def test_zero_degrees_at_zero_hertz_are_no_reading_anywhere() -> None:
    still = {**GUEST, "clocks/mem_clock": "0 MHz"}
    still["gpu_virtualization_mode/virtualization_mode"] = "None"
    assert "temperature_celsius" not in values(still)


def test_zero_degrees_at_work_are_a_reading() -> None:
    assert values({"temperature/gpu_temp": "0 C"})["temperature_celsius"] == 0


def test_a_board_without_memory_of_its_own_has_no_memory_values() -> None:
    for size in ("0 MiB", "N/A", "17592186044415 MiB"):
        read = values({"fb_memory_usage/total": size, "fb_memory_usage/used": "0 MiB"})
        if size != "17592186044415 MiB":
            assert not {name for name in read if name.startswith("memory_") and "bytes" in name}
    assert "memory_used_bytes" not in values({"fb_memory_usage/used": "99999999 MiB"})


def test_signed_tlimit_thresholds() -> None:
    facts = one(
        {
            "temperature/gpu_temp_max_tlimit_threshold": "-5 C",
            "temperature/gpu_temp_slow_tlimit_threshold": "-2 C",
            "temperature/gpu_temp_max_gpu_tlimit_threshold": "0 C",
            "temperature/gpu_temp_max_mem_tlimit_threshold": "N/A",
        }
    ).facts
    assert facts["shutdown_tlimit_celsius"] == -5
    assert facts["slowdown_tlimit_celsius"] == -2
    assert facts["max_operating_tlimit_celsius"] == 0
    assert "memory_max_tlimit_celsius" not in facts
    assert "shutdown_temperature_celsius" not in facts


def test_throttle_reasons_under_both_names_and_unknown_ones() -> None:
    new = "clocks_event_reasons/clocks_event_reason_"
    old = "clocks_throttle_reasons/clocks_throttle_reason_"
    assert values({f"{new}sw_power_cap": "Active"})["throttle_reasons"] == 0x4
    active = {
        f"{new}gpu_idle": None,
        f"{new}sw_power_cap": None,
        f"{old}gpu_idle": "Not Active",
        f"{old}hw_thermal_slowdown": "Active",
        f"{old}hw_power_brake_slowdown": "Active",
        f"{old}display_clocks_setting": "Active",
    }
    assert values(active)["throttle_reasons"] == 0x40 | 0x80 | 0x100
    read = one({f"{new}full_moon": "Active"})
    assert named(read)["throttle_reasons"] == 0
    assert read.detail["throttle_reasons_unknown"] == ["full_moon"]
    assert "throttle_reasons" not in values({f"{new}gpu_idle": "Unknown Error"})


def test_throttle_times_are_microseconds_and_not_added_up() -> None:
    name = "clocks_event_reasons_counters/clocks_event_reasons_counters_"
    read = values(
        {
            f"{name}sw_power_cap": "770461242 us",
            f"{name}sw_therm_slowdown": "3000000 us",
            f"{name}hw_therm_slowdown": "2000000 us",
        }
    )
    assert read["throttle_power_seconds_total"] == 770.461
    assert read["throttle_thermal_seconds_total"] == 3.0


def test_wddm_processes_have_no_memory_and_no_name() -> None:
    listed = [process(4711, used_memory="N/A", process_name="", type="C+G")]
    (read,) = parse(log([gpu(0, processes=listed)]).encode()).gpus
    (found,) = read.processes
    assert (found.pid, found.type, found.memory_bytes, found.program) == (4711, "C+G", None, None)


def test_arguments_of_processes_are_not_told() -> None:
    name = "/usr/bin/python3 /srv/train.py --token=hunter2"
    windows = "C:\\Program Files\\Some App\\app.exe"
    listed = [process(1, process_name=name), process(2, process_name=windows)]
    (read,) = parse(log([gpu(0, processes=listed)]).encode()).gpus
    assert [p.program for p in read.processes] == ["python3 train.py", "app.exe"]


def test_a_process_that_is_listed_twice_is_one() -> None:
    listed = [
        process(7, type="C", used_memory="100 MiB"),
        process(7, type="G", used_memory="100 MiB"),
        process(7, type="C", used_memory="30 MiB", gpu_instance_id="3", compute_instance_id="0"),
        {**process(8), "pid": "none"},
    ]
    (read,) = parse(log([gpu(0, processes=listed)]).encode()).gpus
    (found,) = read.processes
    assert (found.pid, found.type, found.memory_bytes) == (7, "C+G", 130 << 20)


# Faults

READINGS = (
    "fan_speed",
    "performance_state",
    "temperature/gpu_temp",
    "temperature/memory_temp",
    "utilization/gpu_util",
    "utilization/memory_util",
    "fb_memory_usage/total",
    "fb_memory_usage/used",
    "fb_memory_usage/free",
    "gpu_power_readings/instant_power_draw",
    "gpu_power_readings/average_power_draw",
    "clocks/graphics_clock",
    "clocks/sm_clock",
    "clocks/mem_clock",
    "clocks/video_clock",
)


@pytest.mark.parametrize(
    ("token", "state", "code"),
    [
        ("GPU is lost", FaultState.LOST, 15),
        ("[GPU requires reset]", FaultState.RESET_REQUIRED, 16),
        ("Insufficient Permissions", FaultState.NO_PERMISSION, 4),
        ("Unknown Error", FaultState.ERROR, 999),
        ("ERR!", FaultState.ERROR, 0),
    ],
)
def test_a_gpu_of_which_nothing_can_be_read(token: str, state: FaultState, code: int) -> None:
    text = log([gpu(0), gpu(1, dict.fromkeys(READINGS, token)), gpu(2)])
    well, sick, other = parse(text.encode()).gpus
    assert sick.fault is not None
    assert (sick.fault.state, sick.fault.code) == (state, code)
    assert sick.fault.sentence.startswith("GPU 1 (00000000:19:00.0) ")
    assert sick.facts["name"] == "NVIDIA H100 80GB HBM3"  # static facts stay
    assert well.fault is None
    assert other.fault is None


def test_one_leaf_that_says_gpu_is_lost_is_enough() -> None:
    read = one({"pci/replay_counter": "GPU is lost"})
    assert read.fault is not None
    assert read.fault.state is FaultState.LOST


@pytest.mark.parametrize(
    ("line", "index", "bus_id", "state"),
    [
        (
            "Unable to determine the device handle for GPU1: 0000:34:00.0: Unknown Error",
            1,
            "00000000:34:00.0",
            FaultState.ERROR,
        ),
        (
            "Unable to determine the device handle for GPU0000:08:00.0: Unknown Error",
            None,
            "00000000:08:00.0",
            FaultState.ERROR,
        ),
        (
            "Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost.  "
            "Reboot the system to recover this GPU",
            None,
            "00000000:01:00.0",
            FaultState.LOST,
        ),
        (
            "Unable to determine the device handle for gpu 0000:18:00.0: Unknown Error",
            None,
            "00000000:18:00.0",
            FaultState.ERROR,
        ),
        (
            "Unable to determine the device handle for GPU1: Unknown Error",
            1,
            None,
            FaultState.ERROR,
        ),
        (
            "Unable to determine the device handle for GPU2: 0000:AF:00.0: "
            "Insufficient Permissions",
            2,
            "00000000:AF:00.0",
            FaultState.NO_PERMISSION,
        ),
    ],
)
@pytest.mark.parametrize("where", ["before", "after", "stderr"])
def test_a_handle_error_for_one_gpu_beside_the_log(
    line: str, index: int | None, bus_id: str | None, state: FaultState, where: str
) -> None:
    text = log([gpu(0), gpu(3)])
    output = {"before": f"{line}\n{text}", "after": f"{text}\n{line}\n", "stderr": text}[where]
    read = parse(output.encode(), f"{line}\n".encode() if where == "stderr" else b"")
    (wrong,) = read.complaints
    assert (wrong.index, wrong.bus_id, wrong.fault.state) == (index, bus_id, state)
    assert read.whole
    # The place of the dead GPU in the driver's order stays free.
    assert [g.index for g in read.gpus] == ([0, 2] if index == 1 else [0, 1])


# Forms


def test_names_that_are_not_quoted_are_mended() -> None:
    text = log([gpu(0, processes=[process(1, process_name="NAME")]), gpu(1)])
    text = text.replace("</process_info>", "</process_info>\n").replace(
        "<process_name>NAME</process_name>", "\n<process_name>a<b & c</process_name>\n"
    )
    raw = text.encode().replace(b"a<b & c", b"a<b & c\xff\x01")
    read = parse(raw)
    assert read.whole
    assert [named(g)["temperature_celsius"] for g in read.gpus] == [45, 45]


def test_a_log_cut_short_gives_the_gpus_that_are_complete() -> None:
    text = log([gpu(0), gpu(1), gpu(2)])
    read = parse(text[: text.index('<gpu id="00000000:1A') + 200].encode())
    assert not read.whole
    assert [g.uuid for g in read.gpus] == [UUID.format(0), UUID.format(1)]


def test_supported_clocks_are_skipped() -> None:
    clocks = "<supported_clocks><supported_mem_clock><value>1 MHz</value></supported_mem_clock>"
    text = log([gpu()]).replace("</gpu>", f"{clocks}</supported_clocks></gpu>")
    (leaves,) = read_leaves(text.encode()).gpus
    assert not any("supported_clocks" in path for path in leaves.leaves)
    assert leaves.leaves["temperature/gpu_temp"] == "45 C"


def test_entities_are_refused() -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 30))
    bomb = f'<!DOCTYPE nvidia_smi_log [<!ENTITY l0 "ha">{laughs}]>'
    text = log([gpu(0, {"serial": "SERIAL"})]).replace("SERIAL", "&l29;")
    text = text.replace('<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">', bomb)
    with pytest.raises(NotALog):
        parse(text.encode())


@pytest.mark.parametrize("output", [b"", b"No devices were found", b"<html></html>", b"\x00" * 99])
def test_what_is_no_log(output: bytes) -> None:
    with pytest.raises(NotALog):
        parse(output)


# MIG


def test_compute_instances_of_one_gpu_instance_share_its_memory() -> None:
    devices = [mig_device(0, 3, 0), mig_device(1, 3, 1), mig_device(4, 9)]
    (read,) = parse(log([gpu(0, mig=devices)]).encode()).gpus
    assert [d.shares_memory for d in read.mig] == [True, True, False]
    assert [d.facts["memory_shared"] for d in read.mig] == [True, True, False]
    assert [bool(d.values) for d in read.mig] == [True, False, True]
    assert read.mig[2].index == 4


def test_mig_uuids_come_from_the_list() -> None:
    listing = (
        f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {UUID.format(0)})\n"
        "  MIG 3g.40gb     Device  0: (UUID: MIG-00000000-0000-0000-0000-00000000000a)\n"
        "  MIG 1g.10gb+me  Device  2: (UUID: MIG-GPU-00000000-1111/7/0)\n"
        "Unable to determine the device handle for gpu 0000:18:00.0: Unknown Error\n"
        "  MIG 1g.10gb     Device  0: (UUID: MIG-00000000-0000-0000-0000-00000000000b)\n"
    )
    names = mig_names(listing)
    assert {key: name.profile for key, name in names.items()} == {
        (UUID.format(0), 0): "3g.40gb",
        (UUID.format(0), 2): "1g.10gb+me",
    }
    assert names[UUID.format(0), 2].uuid == "MIG-GPU-00000000-1111/7/0"


# Garbage


@given(st.binary(max_size=400), st.binary(max_size=200))
@example(b"<?xml version='1.0'?><nvidia_smi_log><gpu>", b"")
@example(b"<nvidia_smi_log>" + b"<a>" * 100, b"")
def test_garbage_is_refused_or_says_nothing(output: bytes, errors: bytes) -> None:
    try:
        read = parse(output, errors)
    except NotALog:
        return
    assert all(not g.values for g in read.gpus)


LOG = log([gpu(0, processes=[process(9)], mig=[mig_device(0, 1)]), gpu(1)]).encode()


@given(st.integers(0, len(LOG)), st.integers(0, 40), st.binary(max_size=20))
def test_a_damaged_log_never_raises_and_gives_whole_numbers_only(
    at: int, length: int, filling: bytes
) -> None:
    damaged = LOG[:at] + filling + LOG[at + length :]
    try:
        read = parse(damaged)
    except NotALog:
        return
    assert len(read.gpus) <= 8
    for found in read.gpus:
        for id, raw in found.values.items():
            assert isinstance(raw, int)
            assert -(1 << 63) <= raw < 1 << 63, BY_ID[id].name


@given(st.text(alphabet="0123456789.-+eE %CWMHziBxusNnaAyYesNoP[]/ ", max_size=24))
def test_garbage_in_a_leaf_is_no_value_out_of_range(text: str) -> None:
    paths = [*READINGS, "temperature/gpu_temp_tlimit", "pci/replay_counter", "gpu_recovery_action"]
    read = named(one(dict.fromkeys(paths, text)))
    assert 0 <= read.get("utilization_ratio", 0) <= 1
    assert 0 <= read.get("temperature_celsius", 0) <= 200
    assert 0 <= read.get("power_watts", 0) < 100_000
    assert 0 <= read.get("performance_state", 0) <= 15
    assert 0 <= read.get("pcie_replay_total", 0) < 1 << 63
