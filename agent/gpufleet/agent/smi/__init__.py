"""The ``bash`` method: GPUs read by running nvidia-smi and dcgmi."""
