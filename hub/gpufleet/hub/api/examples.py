"""Examples of answers for /docs and /openapi.json; tests hold each against its model."""

from __future__ import annotations

from typing import Any

_UUID = "GPU-5f2b8f7e-93c1-4e1b-8f6f-0b0c5f3a1d22"
_TIME = "2026-03-01T12:00:00Z"
_END = "2026-03-01T13:00:00Z"
_H100 = "NVIDIA H100 80GB HBM3"
_UNITS = ("_ratio", "_celsius", "_bytes", "_watts")

_POWER: dict[str, Any] = {
    "unit": "watts",
    "kind": "gauge",
    "time": [_TIME, "2026-03-01T12:30:00Z"],
    "n": [1800, 1800],
    "avg": [612.40312, 598.77104],
    "min": [88.1, 91.4],
    "max": [699.8, 700.1],
}
_GROUP_POWER = {**_POWER, "gpus": [8, 8], "sum": [4899.22496, 4790.16832]}
_BUCKETS = {"start": _TIME, "end": _END, "step_seconds": 1800.0}

HISTORY = {
    "uuid": _UUID,
    **_BUCKETS,
    "raw": False,
    "source": "samples",
    "series": {"power_watts": _POWER},
}
NODE_HISTORY = {
    "node": "dgx-01",
    **_BUCKETS,
    "raw": False,
    "source": "samples",
    "series": {
        "host_cpu_utilization_ratio": {
            "unit": "ratio",
            "kind": "gauge",
            "time": [_TIME, "2026-03-01T12:30:00Z"],
            "n": [1800, 1800],
            "avg": [0.31244, 0.29871],
            "min": [0.02, 0.018],
            "max": [0.97, 0.991],
        }
    },
}
HISTORIES = {
    **_BUCKETS,
    "raw": False,
    "source": "samples",
    "gpus": [
        {
            "uuid": _UUID,
            "node": "dgx-01",
            "index": 0,
            "name": _H100,
            "series": {"power_watts": _POWER},
        }
    ],
}
GROUP_HISTORY = {
    **_BUCKETS,
    "source": "minutes",
    "group_by": "node",
    "groups": [{"group": "dgx-01", "series": {"power_watts": _GROUP_POWER}}],
}
TOP = {
    "start": _TIME,
    "end": _END,
    "metric": "power_watts",
    "unit": "watts",
    "column": "avg",
    "group_by": "gpu",
    "top": [
        {
            "group": _UUID,
            "value": 612.40312,
            "n": 3600,
            "gpus": 1,
            "gpu": {"node": "dgx-01", "index": 0, "name": _H100},
        }
    ],
}
USAGE = {
    "start": "2026-02-28T12:00:00Z",
    "end": _END,
    "by": "user",
    "usage": [
        {
            "name": "alice",
            "users": 1,
            "gpus": 8,
            "held_gpu_seconds": 345600.0,
            "measured_gpu_seconds": 345600.0,
            "used_gpu_seconds": 301212.5,
            "held_mig_seconds": 0.0,
            "energy_joules": 209433600.0,
            "memory_peak_bytes": 76235669504,
        }
    ],
}
EVENTS = {
    "next_cursor": None,
    "events": [
        {
            "time": _TIME,
            "kind": "xid",
            "severity": "critical",
            "node": "dgx-01",
            "subject": {"kind": "gpu", "key": _UUID, "index": 0, "name": _H100},
            "code": 79,
            "message": "Xid 79: the GPU has fallen off the bus.",
            "data": {},
        }
    ],
}
GPUS = {
    "time": _TIME,
    "version": 4711,
    "total": 1,
    "next_cursor": None,
    "gpus": [
        {
            "uuid": _UUID,
            "node": "dgx-01",
            "index": 0,
            "temperature_celsius": 61,
            "power_watts": 612.4,
            "users": ["alice"],
        }
    ],
}
GPU_LIST = {
    "time": _TIME,
    "gpus": [{"uuid": _UUID, "index": 0, "name": _H100, "node": "dgx-01"}],
}
PROCESSES = {
    "uuid": _UUID,
    "node": "dgx-01",
    "stale": False,
    "processes_time": _TIME,
    "processes": [
        {
            "gpu": _UUID,
            "pid": 4242,
            "type": "C",
            "start_time": "2026-03-01T09:12:30Z",
            "user": "alice",
            "program": "python3",
            "memory_bytes": 76235669504,
            "utilization_ratio": 0.97,
            "container": None,
            "pod": None,
            "job": "slurm:1843",
            "arguments": None,
        }
    ],
}


def _spread(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"gpus": 8, "mean": mean, "min": low, "max": high}


FLEET: dict[str, Any] = {
    "time": _TIME,
    "version": 4711,
    "nodes": {"total": 1, "up": 1, "down": 0},
    "gpus": {
        "total": 8,
        "fresh": 8,
        "stale": 0,
        "by_health": {"healthy": 7, "caution": 0, "warning": 1, "critical": 0, "unknown": 0},
        "by_fault": {},
    },
    "mig_devices": 0,
    "alerts": {
        "pending": 1,
        "firing": 2,
        "no_data": 0,
        "by_severity": {"info": 0, "warning": 1, "critical": 1},
    },
    "users": 1,
    "processes": 8,
    "utilization_ratio": _spread(0.91, 0.4, 1.0),
    "memory_used_ratio": _spread(0.88, 0.7, 0.95),
    "temperature_celsius": _spread(61.5, 55, 84),
    "memory_temperature_celsius": _spread(70.1, 64, 90),
    "fan_speed_ratio": {"gpus": 0, "mean": None, "min": None, "max": None},
    "memory_used_bytes": {"gpus": 8, "sum": 604462909440},
    "memory_total_bytes": {"gpus": 8, "sum": 687194767360},
    "power_watts": {"gpus": 8, "sum": 4899.2},
    "power_limit_watts": {"gpus": 8, "sum": 5600.0},
}
GROUPS = {
    "time": _TIME,
    "version": 4711,
    "by": "user",
    "total": 1,
    "load_end": _TIME,
    "load_step_seconds": 10,
    "groups": [
        {
            "group": "alice",
            "gpus": 8,
            "free": 0,
            "stale": 0,
            "nodes_up": 1,
            "health": 2,
            "by_health": FLEET["gpus"]["by_health"],
            "processes": 8,
            "process_memory_bytes": 598000000000,
            "nodes": {"total": 1, "names": ["dgx-01"]},
            "models": {"total": 1, "names": [_H100]},
            "users": {"total": 1, "names": ["alice"]},
            "programs": {"total": 1, "names": ["python3"]},
            "jobs": {"total": 1, "names": ["slurm:1843"]},
            **{name: FLEET[name] for name in FLEET if name.endswith(_UNITS)},
            "load": [0.88, 0.91, None],
        }
    ],
}
SPARKLINES = {
    "time": _TIME,
    "version": 4711,
    "metric": "utilization_ratio",
    "end": _TIME,
    "step_seconds": 10,
    "sparklines": [{"uuid": _UUID, "values": [0.97, 0.98, None]}],
}
READY = {"ready": True, "sentence": "The hub takes samples and answers."}
PROBLEM = {
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "detail": "A GPU has no metric 'temprature_celsius'; did you mean 'temperature_celsius'?",
    "parameter": "metric",
}
