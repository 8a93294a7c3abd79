"""Versions that both ends of the wire compare."""

PROTOCOL_MINOR = 1
"""Grows with every additive change of ``gpufleet.v1``."""

OLDEST_PROTOCOL_MINOR = 1
"""The hub refuses agents older than this, with a sentence."""

INTERVALS_MS = (1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000)
"""Sampling intervals that an agent may use."""
