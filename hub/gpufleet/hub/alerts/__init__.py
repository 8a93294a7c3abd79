"""Alerting in the hub: feeds the engine with samples in order, and keeps what comes of it."""
