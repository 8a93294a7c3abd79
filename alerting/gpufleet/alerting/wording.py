"""Quantities and durations in words, for mail and incidents."""

from __future__ import annotations

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_PLAIN = {"celsius": "°C", "watts": "W", "joules": "J", "seconds": "s", "": ""}


def quantity(value: float | None, unit: str) -> str:
    """``91 °C``, ``97 %``, ``40.1 GiB``, ``1.98 GHz``; ``?`` for what is not known."""
    if value is None:
        return "?"
    if unit == "ratio":
        return f"{_short(value * 100)} %"
    if unit == "bytes":
        return _bytes(value)
    if unit == "hertz":
        return f"{value / 1e9:.2f} GHz" if abs(value) >= 1e9 else f"{value / 1e6:.0f} MHz"
    name = _PLAIN.get(unit, unit)
    return f"{_short(value)} {name}".rstrip()


def _short(value: float) -> str:
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}"


def _bytes(value: float) -> str:
    size, name = float(value), _BINARY[0]
    for name in _BINARY:
        if abs(size) < 1024 or name == _BINARY[-1]:
            break
        size /= 1024
    return f"{size:.1f} {name}" if name != "B" else f"{size:.0f} B"


def duration(ms: float) -> str:
    """``42 min``, ``3 h 5 min``, ``2 d 4 h``: the two greatest units that matter."""
    seconds = max(0, round(ms / 1000))
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 5 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
