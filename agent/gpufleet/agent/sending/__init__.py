"""The way to the hub: what is sent next, the stream that carries it, and what the hub asks."""
