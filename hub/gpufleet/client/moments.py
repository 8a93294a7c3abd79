"""Times as the hub writes them and as people read them: ages, lengths, local time."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from gpufleet.client.units import NOTHING, span


def milliseconds(moment: str) -> int:
    """A time in RFC 3339 as Unix milliseconds; ValueError for anything else."""
    found = datetime.fromisoformat(moment)
    if found.tzinfo is None:
        raise ValueError(f"{moment!r} has no offset from UTC")
    return round(found.timestamp() * 1000)


def seconds_text(ms: int) -> str:
    """Unix milliseconds as the hub takes times."""
    return f"{ms / 1000:.3f}"


def ago(moment: str | None, now_ms: int) -> str:
    """How long ago a time of the hub's is: ``3 min ago``, ``in 2 h`` where it is yet to come."""
    try:
        age = (now_ms - milliseconds(moment or "")) / 1000
    except (ValueError, OverflowError):
        return NOTHING
    return f"{span(age)} ago" if age >= 0 else f"in {span(-age)}"


def local(ms: int, zone: tzinfo | None = None) -> str:
    """A time here with its offset from UTC: ``2026-03-01 13:00:00 +01:00``.

    ``zone`` is this machine's unless given; what no calendar has is a dash.
    """
    try:
        found = datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return NOTHING
    offset = found.strftime("%z")
    return f"{found:%Y-%m-%d %H:%M:%S} {offset[:3]}:{offset[3:5]}"
