"""Numbers as short texts for people. What is not known is a dash."""

from __future__ import annotations

import math

NOTHING = "-"
_BINARY = ("B", "K", "M", "G", "T", "P")


def percent(ratio: float | None) -> str:
    """``0.873`` → ``87%``."""
    return NOTHING if ratio is None else f"{ratio * 100:.0f}%"


def gib(count: float | None) -> str:
    """Bytes with a binary letter, three digits: ``61.2G``, ``512M``."""
    if count is None:
        return NOTHING
    number, step = float(count), 0
    while number >= 999.5 and step < len(_BINARY) - 1:
        number /= 1024
        step += 1
    if step == 0 or number >= 99.95:
        return f"{number:.0f}{_BINARY[step]}"
    return f"{number:.1f}{_BINARY[step]}"


def part(used: float | None, total: float | None) -> str:
    """Used of total bytes, the unit once where it is the same: ``61.2/79.6G``."""
    if total is None:
        return gib(used)
    left, right = gib(used), gib(total)
    if left[-1] == right[-1] and used is not None:
        left = left[:-1]
    return f"{left}/{right}"


def celsius(degrees: float | None) -> str:
    """``84.0`` → ``84°``."""
    return NOTHING if degrees is None else f"{degrees:.0f}°"


def watts(power: float | None) -> str:
    """``612.4`` → ``612W``; from ten thousand on in kW, from ten million on in MW."""
    if power is None:
        return NOTHING
    if abs(power) >= 9_999_500:
        return f"{power / 1e6:.1f}MW"
    return f"{power / 1000:.1f}kW" if abs(power) >= 9999.5 else f"{power:.0f}W"


def watts_of(power: float | None, limit: float | None) -> str:
    """``612/700W``; of several GPUs together in kW: ``4.1/5.6kW``."""
    if limit is None:
        return watts(power)
    if 1500 <= limit < 999_950:
        return f"{NOTHING if power is None else format(power / 1000, '.1f')}/{limit / 1000:.1f}kW"
    left, right = watts(power), watts(limit)
    if power is not None and left.endswith("kW") == right.endswith("kW"):
        left = left.rstrip("kMW")
    return f"{left}/{right}"


def hertz(clock: float | None) -> str:
    """``1_980_000_000`` → ``1980MHz``."""
    return NOTHING if clock is None else f"{clock / 1e6:.0f}MHz"


def count(number: float | None) -> str:
    """``8000`` → ``8,000``."""
    return NOTHING if number is None else f"{number:,.0f}"


def span(seconds: float) -> str:
    """A length of time in its two greatest units: ``45 s``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 60:
        return f"{minutes} min" + (f" {whole % 60} s" if minutes < 5 and whole % 60 else "")
    if hours < 48:
        return f"{hours} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{days} d" + (f" {hours % 24} h" if hours % 24 else "")


def number(value: float | None, digits: int = 1) -> str:
    """A number without needless zeros."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plural(many: int, noun: str) -> str:
    """``1 GPU``, ``2 GPUs``."""
    return f"{many:,} {noun}" + ("" if many == 1 else "s")


_NOISE = ("NVIDIA ", "GeForce ")


def model(name: str | None) -> str:
    """A GPU's model without the words that all of them have."""
    if not name:
        return NOTHING
    short = name
    for word in _NOISE:
        short = short.replace(word, "")
    return short.strip() or name
