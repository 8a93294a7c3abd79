"""Which MIG device tells what the compute instances of one GPU instance share."""

from __future__ import annotations

from collections.abc import Iterable


def carriers(instances: Iterable[tuple[int, int]]) -> frozenset[tuple[int, int]]:
    """Of all (GPU instance id, compute instance id): the lowest compute instance of each.

    It tells the memory of the GPU instance; the others have no memory values, so that a sum over
    MIG devices counts every byte once.
    """
    lowest: dict[int, int] = {}
    for gpu_instance, compute_instance in instances:
        lowest[gpu_instance] = min(lowest.get(gpu_instance, compute_instance), compute_instance)
    return frozenset(lowest.items())
