"""The hub: takes samples in, keeps history, answers for the whole fleet."""
