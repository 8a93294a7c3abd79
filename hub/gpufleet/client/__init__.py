"""What the clients share: the filter language, schema and HTTP client."""
