"""The ``nvml`` method: GPUs read through NVML, the driver's own library."""
