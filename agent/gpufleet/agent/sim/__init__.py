"""The ``sim`` method: GPUs that are not there, each a function of seed, node, index and time."""
