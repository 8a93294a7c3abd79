"""The `gpufleet` command: thin, importing a part only when it is asked for."""
