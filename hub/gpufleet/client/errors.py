"""What can go wrong between a client and its hub; every error's text is one plain sentence.

::

    HubError
    ├── BadAddress    what somebody wrote is no hub's address
    ├── Unreachable   no answer: refused, timed out, broken off. Asking again may help
    ├── Refused       the hub answered, and said no
    └── Broken        what answered is no hub, or the answer was damaged on its way
"""

from __future__ import annotations


class HubError(Exception):
    """The hub did not answer, or refused. One sentence."""


class BadAddress(HubError):
    """A text that is no hub's address."""


class Unreachable(HubError):
    """Nobody answered, or not to the end."""


class Refused(HubError):
    """The hub said no: an HTTP status from 400 on, and its sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same question may be answered later: the hub is busy or not ready."""
        return self.status in (408, 429) or self.status >= 500


class Broken(HubError):
    """An answer that cannot be understood."""
