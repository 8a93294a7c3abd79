"""What is known of one GPU, as labels and values in the order in which people ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpufleet.client import moments, units
from gpufleet.client.columns import heat, ratio_of
from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.picture import Picture
from gpufleet.tui.text import fit, pad, width, wrap
from gpufleet.tui.theme import Theme, shade

Fact = tuple[str, str, Style]
"""Label, value, the value's style."""
HARMLESS = frozenset({"gpu_idle", "applications_clocks", "display_clocks"})
LABEL_ROOM = 13


def of(gpu: Mapping[str, Any], theme: Theme) -> list[Fact]:
    """Every fact that the GPU tells, what is asked for most first."""
    d: Mapping[str, Any] = gpu.get("dynamic") or {}
    found: list[Fact] = []

    def add(label: str, value: str | None, style: Style | None = None) -> None:
        if value:
            found.append((label, value, style or theme.text))

    power, limit = d.get("power_watts"), d.get("power_limit_watts")
    if power is not None:
        text = f"{power:.2f} W" + (f" of {limit:.0f} W" if limit is not None else "")
        add("power", text, shade(theme.power, ratio_of(power, limit)))
    add(
        "temperature",
        _temperatures(d),
        shade(theme.temperature, heat(d.get("temperature_celsius"))),
    )
    add("given to", _given(gpu.get("detail") or {}))
    add("throttle", *_throttle(d, theme))
    add("SM clock", _clock(d, "clock_sm_hertz"))
    add("mem clock", _clock(d, "clock_memory_hertz"))
    add("ECC", *_ecc(d, theme))
    add("held back", _held_back(d))
    add("rows", *_rows(d, theme))
    add("PCIe", *_pcie(d, theme))
    add("NVLink err", *_zero(d.get("nvlink_errors_total"), theme))
    add("activity", _activity(d))
    add("fan", None if d.get("fan_speed_ratio") is None else units.percent(d["fan_speed_ratio"]))
    add("P-state", None if d.get("performance_state") is None else f"P{d['performance_state']}")
    energy = d.get("energy_joules_total")
    add("energy", None if energy is None else f"{energy / 3.6e6:,.1f} kWh")
    add("video clock", _clock(d, "clock_video_hertz"))
    for device in gpu.get("mig") or ():
        of_it: Mapping[str, Any] = device.get("dynamic") or {}
        memory = units.part(of_it.get("memory_used_bytes"), of_it.get("memory_total_bytes"))
        load = units.percent(of_it.get("utilization_ratio"))
        add(f"MIG {device.get('index')}", f"{device.get('name')}, load {load}, {memory}")
    return found


def _given(detail: Mapping[str, Any]) -> str | None:
    """The job that Slurm gave the GPU to, whether or not it runs anything there."""
    given: Mapping[str, Any] = detail.get("allocation") or {}
    if not given:
        return None
    return f"job {given.get('job')}" + (f" of {given['user']}" if given.get("user") else "")


def _clock(d: Mapping[str, Any], name: str) -> str | None:
    return None if d.get(name) is None else f"{d[name] / 1e6:.0f} MHz"


def _temperatures(d: Mapping[str, Any]) -> str | None:
    core, memory = d.get("temperature_celsius"), d.get("memory_temperature_celsius")
    margin = d.get("temperature_margin_celsius")
    parts = [] if core is None else [f"{core:.0f} °C"]
    if memory is not None:
        parts.append(f"memory {memory:.0f} °C")
    if margin is not None:
        parts.append(f"{margin:.0f} left")
    return ", ".join(parts) or None


def _throttle(d: Mapping[str, Any], theme: Theme) -> tuple[str | None, Style]:
    reasons = d.get("throttle_reasons")
    if reasons is None:
        return None, theme.text
    if not reasons:
        return "none", theme.good
    harmless = set(reasons) <= HARMLESS
    power = set(reasons) <= HARMLESS | {"sw_power_cap", "sync_boost"}
    style = theme.text if harmless else theme.health[1] if power else theme.health[2]
    return ", ".join(str(reason).replace("_", " ") for reason in reasons), style


def _held_back(d: Mapping[str, Any]) -> str | None:
    heat_s = d.get("throttle_thermal_seconds_total")
    power_s = d.get("throttle_power_seconds_total")
    parts = []
    if heat_s is not None:
        parts.append(f"{units.span(heat_s)} by heat")
    if power_s is not None:
        parts.append(f"{units.span(power_s)} by power")
    return ", ".join(parts) or None


def _ecc(d: Mapping[str, Any], theme: Theme) -> tuple[str | None, Style]:
    corrected = d.get("ecc_corrected_volatile_total")
    uncorrected = d.get("ecc_uncorrected_volatile_total")
    if corrected is None and uncorrected is None:
        return None, theme.text
    text = f"{units.count(corrected)} corrected, {units.count(uncorrected)} not"
    life = d.get("ecc_uncorrected_aggregate_total")
    if life:
        text += f" ({units.count(life)} in its life)"
    style = theme.health[3] if uncorrected else theme.health[1] if corrected else theme.good
    return text, style


def _rows(d: Mapping[str, Any], theme: Theme) -> tuple[str | None, Style]:
    good = d.get("remapped_rows_correctable")
    bad = d.get("remapped_rows_uncorrectable")
    if good is None and bad is None:
        return None, theme.text
    text = f"{units.count((good or 0) + (bad or 0))} remapped"
    if d.get("remapped_rows_failed"):
        return text + ", a remap failed", theme.health[3]
    if d.get("remapped_rows_pending"):
        return text + ", one waits for a reset", theme.health[2]
    return text, theme.health[1] if bad else theme.text


def _activity(d: Mapping[str, Any]) -> str | None:
    names = (
        ("SM", "sm_active_ratio"),
        ("tensor", "tensor_active_ratio"),
        ("DRAM", "dram_active_ratio"),
        ("mem", "memory_controller_utilization_ratio"),
        ("enc", "encoder_utilization_ratio"),
        ("dec", "decoder_utilization_ratio"),
    )
    parts = [
        f"{short} {units.percent(d[name])}" for short, name in names if d.get(name) is not None
    ]
    return ", ".join(parts[:4]) or None


def _pcie(d: Mapping[str, Any], theme: Theme) -> tuple[str | None, Style]:
    generation, lanes = d.get("pcie_link_generation"), d.get("pcie_link_width")
    if generation is None and lanes is None:
        return None, theme.text
    text = f"gen {units.count(generation)} x{units.count(lanes)}"
    replays = d.get("pcie_replay_total")
    if replays:
        text += f", {units.plural(int(replays), 'replay')}"
    return text, theme.text


def _zero(value: float | None, theme: Theme) -> tuple[str | None, Style]:
    if value is None:
        return None, theme.text
    return units.count(value), theme.health[1] if value else theme.good


def reasons(gpu: Mapping[str, Any]) -> list[str]:
    """Why the GPU is not well: its fault, and the reasons of its health."""
    found = []
    fault = gpu.get("fault")
    if isinstance(fault, Mapping) and fault.get("sentence"):
        found.append(str(fault["sentence"]))
    found += [str(reason) for reason in gpu["health"].get("reasons") or ()]
    return list(dict.fromkeys(found))


def events(picture: Picture, uuid: str) -> list[tuple[str, str, str]]:
    """The newest events: when, how bad, what."""
    found = []
    for event in picture.events:
        subject = event.get("subject") or {}
        if subject.get("key") != uuid:
            continue
        moment = moments.ago(event.get("time"), picture.now_ms)
        found.append((moment, str(event.get("severity")), str(event.get("message"))))
    return found


_STATIC: tuple[tuple[str, str], ...] = (
    ("driver", "driver_version"),
    ("VBIOS", "vbios"),
    ("serial", "serial"),
    ("PCI", "pci_bus_id"),
    ("architecture", "architecture"),
    ("compute", "compute_capability"),
    ("MIG mode", "mig_mode"),
    ("ECC mode", "ecc_mode"),
)


def limits(static: Mapping[str, Any]) -> str | None:
    """At which temperatures the driver acts."""
    names = (("slows", "slowdown"), ("stops", "shutdown"))
    parts = [
        f"{word} at {static[f'{name}_temperature_celsius']:.0f} °C"
        for word, name in names
        if static.get(f"{name}_temperature_celsius") is not None
    ]
    return ", ".join(parts) or None


def lasting(gpu: Mapping[str, Any], theme: Theme) -> list[Fact]:
    """Facts that do not change while the GPU runs."""
    static: Mapping[str, Any] = gpu.get("static") or {}
    found = [
        (label, str(static[name]), theme.text)
        for label, name in _STATIC
        if static.get(name) is not None
    ]
    if limit := limits(static):
        found.insert(0, ("heat", limit, theme.text))
    return found


def tall(canvas: Canvas, gpu: Mapping[str, Any], picture: Picture, theme: Theme) -> None:
    """One fact a line; reasons first, the newest events last."""
    w, y = canvas.width, 0
    level = gpu["health"]["level"]
    for reason in reasons(gpu):
        for line in wrap(reason, w)[:3]:
            canvas.put(0, y, line, theme.level(level))
            y += 1
    listed = of(gpu, theme)
    told = events(picture, str(gpu["uuid"]))
    more = lasting(gpu, theme)
    if y + len(listed) + len(more) + 1 + (6 if told else 0) <= canvas.height:
        listed += [("", "", theme.text), *more]
    for label, value, style in listed:
        canvas.put(0, y, pad(label, LABEL_ROOM), theme.dim)
        canvas.put(LABEL_ROOM, y, fit(value, w - LABEL_ROOM), style)
        y += 1
    if told and y + 1 < canvas.height:
        y += 1
        for moment, severity, message in told:
            lines = wrap(f"{moment}: {message}", w)
            if y + len(lines) > canvas.height:
                break
            style = {"critical": theme.health[3], "warning": theme.health[2]}.get(
                severity, theme.dim
            )
            for line in lines:
                canvas.put(0, y, line, style)
                y += 1


def columns(
    gpu: Mapping[str, Any], picture: Picture, theme: Theme, room: int, most: int
) -> list[list[tuple[str, Style]]]:
    """The same facts as at most ``most`` lines of several columns, for less height."""
    found: list[list[tuple[str, Style]]] = []
    level = gpu["health"]["level"]
    for reason in reasons(gpu)[:2]:
        found.append([(fit(reason, room), theme.level(level))])
    listed = of(gpu, theme)
    many = max(room // 38, 1)
    cell = room // many if many > 1 else room
    listed = listed[: max(most - len(found), 1) * many]
    rows = -(-len(listed) // many)
    for row in range(rows):
        pieces: list[tuple[str, Style]] = []
        for column in range(many):
            at = column * rows + row
            if at >= len(listed):
                continue
            label, value, style = listed[at]
            if room < 30:
                pieces += [(label + " ", theme.dim), (fit(value, room - width(label) - 1), style)]
                continue
            pieces.append((pad(label, LABEL_ROOM), theme.dim))
            pieces.append((pad(value, cell - LABEL_ROOM - 1) + " ", style))
        found.append(pieces)
    told: Sequence[tuple[str, str, str]] = events(picture, str(gpu["uuid"]))
    if told:
        moment, severity, message = told[0]
        style = theme.health[3] if severity == "critical" else theme.dim
        found.append([(fit(f"{moment}: {message}", room), style)])
    return found
