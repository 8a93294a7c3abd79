"""What nvidia-smi says of a GPU beside metrics: its module, the fabric, what is not known."""

from __future__ import annotations

from gpufleet.agent.model import Json
from gpufleet.agent.smi.answers import Leaves, number, word
from gpufleet.agent.smi.values import REASON_BITS, RECOVERY, reasons, throttle_microseconds

_FABRIC = {
    "state": "state",
    "status": "status",
    "clique_id": "cliqueId",
    "cluster_uuid": "clusterUuid",
}
_MODULE = {
    "module_power_watts": ("W", "module_power_readings/instant_power_draw"),
    "module_power_average_watts": (
        "W",
        "module_power_readings/average_power_draw",
        "module_power_readings/power_draw",
    ),
    "module_power_limit_watts": ("W", "module_power_readings/current_power_limit"),
    "memory_power_average_watts": ("W", "gpu_memory_power_readings/average_power_draw"),
}


def gpu_detail(leaves: Leaves) -> dict[str, Json]:
    """What is no metric: a module's power, what held the clocks, the fabric, unknown answers."""
    detail: dict[str, Json] = {}
    for name, (unit, *paths) in _MODULE.items():
        if (value := number(leaves, unit, *paths)) is not None:
            detail[name] = value
    if held := throttle_microseconds(leaves):
        detail["throttle_seconds"] = {part: value / 1e6 for part, value in held.items()}
    fabric: dict[str, Json] = {
        name: said
        for name, leaf in _FABRIC.items()
        if (said := word(leaves, f"fabric/{leaf}")) is not None
    }
    health: dict[str, Json] = {
        path.rpartition("/")[2]: {"True": True, "False": False}.get(said, said)
        for path in leaves
        if path.startswith("fabric/health/") and (said := word(leaves, path)) is not None
    }
    if health:
        fabric["health"] = health
    if fabric:
        detail["fabric"] = fabric
    unknown = sorted(
        reason for reason, text in reasons(leaves) if text == "Active" and reason not in REASON_BITS
    )
    if unknown:
        detail["throttle_reasons_unknown"] = unknown
    action = word(leaves, "gpu_recovery_action")
    if action is not None and action.lower() not in RECOVERY:
        detail["recovery_action_unknown"] = action
    return detail
