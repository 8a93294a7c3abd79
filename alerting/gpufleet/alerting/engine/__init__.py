"""The alert engine: state machines of every rule over every subject, pure and vectorised."""
