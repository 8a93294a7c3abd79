"""Asks NVML step by step and writes each answer at once, for a doctor who may stop waiting.

Run as a process of its own: ``python -m gpufleet.agent.doctor.probe``.
"""

from __future__ import annotations

import json
import sys

from gpufleet.agent.model import CollectorUnavailable
from gpufleet.agent.nvml.calls import Nvml, NvmlFailure

_SYSTEM = {
    "driver_version": "nvmlSystemGetDriverVersion",
    "nvml_version": "nvmlSystemGetNVMLVersion",
    "count": "nvmlDeviceGetCount",
}


def main() -> None:
    """One JSON object a line."""
    nvml = Nvml()
    try:
        _tell(asking="nvmlInit")
        nvml.open()
        for name, call in _SYSTEM.items():
            _tell(asking=call)
            answer = nvml.call(call)
            _tell(**{name: answer})
        for index in range(answer):
            _gpu(nvml, index)
    except (CollectorUnavailable, NvmlFailure) as error:
        _tell(error=str(error))
        return
    nvml.close()


def _gpu(nvml: Nvml, index: int) -> None:
    _tell(asking=f"for GPU {index}")
    told: dict[str, object] = {"gpu": index}
    try:
        handle = nvml.call("nvmlDeviceGetHandleByIndex", index)
        told["name"] = nvml.call("nvmlDeviceGetName", handle)
        told["uuid"] = nvml.call("nvmlDeviceGetUUID", handle)
    except NvmlFailure as failure:
        told["error"], told["code"] = failure.words, failure.code
    else:
        try:
            told["persistence"] = nvml.call("nvmlDeviceGetPersistenceMode", handle)
        except NvmlFailure:
            told["persistence"] = None  # a driver or board without that mode
    _tell(**told)


def _tell(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
