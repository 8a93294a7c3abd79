"""The wire between agents and hub, and the metric catalogue."""
