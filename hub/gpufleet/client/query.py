"""A question to the list of GPUs: which, in what order, with what, and which part of them."""

from __future__ import annotations

from dataclasses import dataclass

MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class ListQuery:
    """For large fleets ask only for what is seen: ``limit`` rows from ``offset`` on."""

    filter: str = ""
    sort: str = ""
    fields: tuple[str, ...] = ()
    """All where there are none."""
    limit: int = 1000
    offset: int = 0
    interval: float = 1.0
    """Seconds between two frames of a stream, at least."""

    def page(self) -> dict[str, str]:
        """As parameters of ``/gpus``."""
        found = {
            "filter": self.filter,
            "sort": self.sort,
            "fields": ",".join(self.fields),
            "limit": str(self.limit),
        }
        return found | ({"offset": str(self.offset)} if self.offset else {})

    def stream(self) -> dict[str, str]:
        """As parameters of ``/stream``."""
        return self.page() | {"interval": f"{self.interval:g}"}


def quoted(text: str) -> str:
    """A text as a value of the filter language, whatever is in it."""
    if text and all(char.isalnum() or char in "-_./:" for char in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def only(*uuids: str) -> str:
    """A filter that these GPUs alone pass; a filter has room for some forty."""
    return " or ".join("uuid=" + quoted(uuid) for uuid in uuids)
