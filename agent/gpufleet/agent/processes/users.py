"""Names of users by their number, as this node knows them."""

from __future__ import annotations

import pwd


class Users:
    """Asks each number once."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def name(self, uid: int) -> str:
        """The user's name, or the number where the node knows none."""
        if uid not in self._names:
            try:
                self._names[uid] = pwd.getpwuid(uid).pw_name
            except (KeyError, OverflowError):
                self._names[uid] = str(uid)
        return self._names[uid]
