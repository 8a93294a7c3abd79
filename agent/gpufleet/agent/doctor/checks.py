"""Which checks the doctor makes, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from gpufleet.agent.doctor import access, driver, tools
from gpufleet.agent.doctor.checkup import Check, Finding, Level, Machine


def all_checks(
    machine: Machine,
    *,
    hubs: Sequence[str],
    state_dir: Path,
    http_port: int,
    settings_error: str = "",
) -> Mapping[str, Check]:
    """Every check by its name; the clock is compared with the first hub's."""
    checks: dict[str, Check] = {
        "settings": partial(_settings, settings_error),
        "python binding": driver.binding,
        "kernel driver": partial(driver.kernel_driver, machine),
        "nvml": partial(driver.nvml, machine),
        "device files": partial(access.devices, machine),
        "kernel log": partial(access.kernel_log, machine),
        "container": partial(access.container, machine),
        "nvidia-smi": partial(tools.nvidia_smi, machine),
        "dcgm": partial(tools.dcgm, machine),
        "state folder": partial(access.state_folder, state_dir),
    }
    for address in hubs:
        checks[f"hub {address}"] = partial(_hub, address, machine.seconds)
    if hubs:
        checks["clock"] = partial(_clock, hubs[0], machine.seconds, http_port)
    return checks


def _settings(error: str) -> Sequence[Finding]:
    if error:
        mend = "Correct it; the checks below went on without the settings."
        return [Finding("settings", Level.ERROR, error, mend)]
    return [Finding("settings", Level.OK, "The agent's settings are valid.")]


def _hub(address: str, seconds: float) -> Sequence[Finding]:
    from gpufleet.agent.doctor.hub import hub

    return hub(address, seconds)


def _clock(address: str, seconds: float, http_port: int) -> Sequence[Finding]:
    from gpufleet.agent.doctor.hub import clock

    return clock(address, seconds, http_port=http_port)
