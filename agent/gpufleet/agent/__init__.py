"""The agent: reads the GPUs of one node and pushes them to a hub."""
