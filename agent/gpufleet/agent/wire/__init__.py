"""The agent's records and facts as protobuf messages."""
