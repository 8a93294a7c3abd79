"""Which clock a condition runs by: its samples' or, if only the hub knows it, the hub's."""

from __future__ import annotations

from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import (
    SAMPLED_FLAGS,
    Bit,
    Condition,
    Count,
    Flag,
    Number,
    Value,
    Window,
    parts,
)


def by_samples(node: Number | Condition, schema: Schema) -> bool:
    """Whether it can move with each sample; else the hub looks at it once a second.

    What GPUs of a node count together is of no one sample, and goes by the hub's clock.
    """
    found = parts(node)
    if any(isinstance(part, Count) for part in found):
        return False
    return any(_sampled(part, schema) for part in found)


def _sampled(part: Number | Condition, schema: Schema) -> bool:
    match part:
        case Value(name) | Window(_, name, _) | Bit(name, _):
            return not schema.metrics[name].hub
        case Flag(name):
            return name in SAMPLED_FLAGS
        case _:
            return False
