"""HTTP: REST, streams and the Prometheus exposition, all read from one Snapshot."""
