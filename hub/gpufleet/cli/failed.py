"""The failure of a command that its user is told in one sentence."""


class Failed(Exception):
    """It cannot be done; one sentence."""
