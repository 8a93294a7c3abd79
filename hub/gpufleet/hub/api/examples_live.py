"""Examples of a GPU, a node, the catalogue, the hub and of text; tests hold each to its model."""

from __future__ import annotations

from typing import Any

from gpufleet.hub.api import examples
from gpufleet.hub.api.catalog_document import metric_document
from gpufleet.proto.catalog import BY_NAME, SubjectKind, metrics

_TIME = "2026-03-01T12:00:00Z"
_GPU_VALUES: dict[str, Any] = {
    "utilization_ratio": 0.97,
    "memory_used_bytes": 76235669504,
    "memory_total_bytes": 85520809984,
    "memory_used_ratio": 0.891,
    "temperature_celsius": 61,
    "power_watts": 612.4,
    "power_limit_watts": 700,
    "energy_joules_total": 9133812345.678,
    "clock_sm_hertz": 1980000000,
    "performance_state": 0,
    "throttle_reasons": ["sw_power_cap"],
    "health": 1,
}
_NODE_VALUES: dict[str, Any] = {
    "host_cpu_utilization_ratio": 0.312,
    "host_memory_used_bytes": 412316860416,
    "host_memory_total_bytes": 2164663517184,
    "host_load1": 41.25,
    "agent_resident_memory_bytes": 48234496,
}


def _dynamic(kind: SubjectKind, values: dict[str, Any]) -> dict[str, Any]:
    """Every metric of the kind, null where the example has no value."""
    return {metric.name: values.get(metric.name) for metric in metrics(kind)}


FACTS: dict[str, Any] = {
    "serial": "1650123456789",
    "pci_bus_id": "00000000:1A:00.0",
    "vbios": "96.00.A5.00.01",
    "architecture": "Hopper",
    "compute_capability": "9.0",
    "power_limit_max_watts": 700.0,
}
GPU: dict[str, Any] = {
    **{key: examples.PROCESSES[key] for key in ("uuid", "node", "stale", "processes")},
    "index": 0,
    "name": "NVIDIA H100 80GB HBM3",
    "method": "nvml",
    "static": FACTS,
    "dynamic": _dynamic(SubjectKind.GPU, _GPU_VALUES),
    "health": {
        "level": 1,
        "status": "caution",
        "reasons": ["Held back by its power limit (612 W of 700 W)."],
        "basis": "live",
    },
    "detail": {},
    "fault": None,
    "sample_time": _TIME,
    "mig": [],
}
_NODE: dict[str, Any] = {
    "name": "dgx-01",
    "up": True,
    "connected": True,
    "labels": {"rack": "r1"},
    "method": "nvml",
    "methods": ["nvml", "bash"],
    "interval_seconds": 1,
    "agent_version": "0.1.0",
    "sample_time": _TIME,
    "receipt_time": "2026-03-01T12:00:00.250Z",
    "clock_skew_seconds": 0.003,
    "collector_hung_since": None,
    "sentence": None,
    "dropped_ticks": 0,
    "gpus": 1,
    "gpus_stale": 0,
    "gpus_by_health": {"healthy": 0, "caution": 1, "warning": 0, "critical": 0, "unknown": 0},
    "dynamic": _dynamic(SubjectKind.NODE, _NODE_VALUES),
}
NODE: dict[str, Any] = {
    "time": _TIME,
    "version": 4711,
    **_NODE,
    "facts": {"driver_version": "570.133.20", "cuda_version": "12.8"},
    "processes_time": _TIME,
    "gpu_list": [
        {
            "uuid": GPU["uuid"],
            "index": 0,
            "name": GPU["name"],
            "health": 1,
            "fault": None,
            "stale": False,
        }
    ],
}
NODES: dict[str, Any] = {
    "time": _TIME,
    "version": 4711,
    "total": 1,
    "next_cursor": None,
    "nodes": [_NODE],
}
FORGOTTEN: dict[str, Any] = {"name": "dgx-01", "gpus": 8}
CATALOG: dict[str, Any] = {"metrics": [metric_document(BY_NAME["power_watts"])]}
INFO: dict[str, Any] = {
    "time": _TIME,
    "ready": True,
    "sentence": "The hub takes samples and answers.",
    "http_streams": 3,
    "limits": {"limit": 10000, "streams": 200},
    "version": "0.1.0",
    "start_time": "2026-02-27T08:00:00Z",
    "database": "postgresql",
    "streams": 12,
    "uncommitted_ticks": 512,
}
EXPORT_CSV = (
    "time,node,gpu_uuid,gpu,power_watts\n"
    f"{_TIME},dgx-01,{GPU['uuid']},0,612.4\n"
)  # fmt: skip
EXPORT_JSONL = (
    f'{{"time":"{_TIME}","node":"dgx-01","gpu_uuid":"{GPU["uuid"]}","gpu":0,"power_watts":612.4}}\n'
)
STREAM = (
    'event: snapshot\nid: 4711\ndata: {"version":4711,"time":"2026-03-01T12:00:00Z","total":1,'
    f'"fields":["uuid","temperature_celsius"],"gpus":[{{"uuid":"{GPU["uuid"]}",'
    '"temperature_celsius":61}]}\n\n'
    'event: change\nid: 4712\ndata: {"version":4712,"time":"2026-03-01T12:00:01Z","total":1,'
    f'"cells":{{"{GPU["uuid"]}":{{"temperature_celsius":62}}}}}}\n\n'
)
PROMETHEUS = (
    "# HELP gpufleet_gpu_temperature_celsius Temperature of the GPU.\n"
    "# TYPE gpufleet_gpu_temperature_celsius gauge\n"
    f'gpufleet_gpu_temperature_celsius{{node="dgx-01",gpu="0",gpu_uuid="{GPU["uuid"]}",'
    'gpu_name="NVIDIA H100 80GB HBM3"} 61\n'
)
DCGM = (
    "# HELP DCGM_FI_DEV_GPU_TEMP Temperature of the GPU.\n"
    "# TYPE DCGM_FI_DEV_GPU_TEMP gauge\n"
    f'DCGM_FI_DEV_GPU_TEMP{{gpu="0",UUID="{GPU["uuid"]}",pci_bus_id="00000000:1A:00.0",'
    'device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="dgx-01",'
    'DCGM_FI_DRIVER_VERSION="570.133.20"} 61\n'
)
PART = 61
