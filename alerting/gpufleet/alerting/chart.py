"""Draws the chart of a mail: ``python -m gpufleet.alerting.chart``, JSON in, PNG out.

It is a program of its own, so that whatever drawing costs or breaks, a mail never waits for it:
the caller (mail/picture.py) ends it after a deadline, and its memory is bounded. Read from stdin::

    {"metric": "temperature", "unit": "celsius", "threshold": 80.0, "start_ms": 0, "end_ms": 1,
     "since_ms": 1, "offset_minutes": 60, "tone": "#d92d20",
     "series": [{"label": "gpu-01 GPU 3", "points": [[0, 71.5], [1000, null]]}]}
"""

from __future__ import annotations

import io
import json
import resource
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

MAX_BYTES = 60 * 1024
MEMORY_BYTES = 2 * 1024**3
MAX_POINTS = 700
SIZE_INCHES = (5.76, 2.2)
INK = "#7d8794"
"""Readable on white and on black alike."""
LINES = ("#2e90fa", "#12b76a", "#9e77ed", "#ee46bc", "#0ba5b7", "#66758a")
SCALES = {"ratio": (100.0, "%"), "bytes": (1 / 1024**3, "GiB"), "hertz": (1e-6, "MHz")}
SYMBOLS = {"celsius": "°C", "watts": "W", "joules": "J", "seconds": "s"}


def thinned(points: Sequence[Sequence[float | None]]) -> tuple[list[float], list[float]]:
    """Times in ms and values (NaN: none), at most MAX_POINTS: of each stretch its greatest."""
    step = max(1, -(-len(points) // MAX_POINTS))
    times: list[float] = []
    values: list[float] = []
    for at in range(0, len(points), step):
        part = points[at : at + step]
        known = [one for one in part if one[1] is not None]
        best = max(known, key=lambda one: one[1] or 0.0) if known else part[0]
        times.append(float(best[0] or 0))
        values.append(float("nan") if best[1] is None else float(best[1]))
    return times, values


def shown(spec: Mapping[str, Any]) -> tuple[float, float]:
    """From where to where: not long before there are samples, and not less than five minutes."""
    start_ms, end_ms = float(spec["start_ms"]), float(spec["end_ms"])
    firsts = [one["points"][0][0] for one in spec["series"] if one["points"]]
    start_ms = max(start_ms, min(min(firsts, default=start_ms) - 30_000, end_ms - 300_000))
    return start_ms, max(end_ms, start_ms + 1000)


def draw(spec: Mapping[str, Any]) -> bytes:
    """The PNG, on no background. KeyError or ValueError: this is no such document."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
    from matplotlib.figure import Figure

    zone = timezone(timedelta(minutes=int(spec["offset_minutes"])))

    def days(at_ms: float) -> float:
        return float(date2num(datetime.fromtimestamp(at_ms / 1000, UTC)))  # type: ignore[no-untyped-call]

    scale, symbol = SCALES.get(spec["unit"], (1.0, SYMBOLS.get(spec["unit"], "")))
    figure = Figure(figsize=SIZE_INCHES, dpi=200, layout="constrained")
    axes = figure.add_subplot()
    series = spec["series"]
    for number, one in reversed(list(enumerate(series))):
        times, values = thinned(one["points"])
        axes.plot(
            [days(at) for at in times],
            [value * scale for value in values],
            color=LINES[number % len(LINES)],
            linewidth=1.6 if number == 0 else 1.1,
            alpha=1.0 if number == 0 else 0.75,
            label=one["label"],
            solid_joinstyle="round",
        )
    if spec["threshold"] is not None:
        limit = spec["threshold"] * scale
        axes.axhline(limit, color=spec["tone"], linewidth=1.1, linestyle=(0, (5, 3)))
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, limit - 0.12 * (high - low)), max(high, limit + 0.12 * (high - low)))
        axes.annotate(
            f"threshold {limit:g} {symbol}".rstrip(),
            (0.005, limit),
            (0, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=8,
            color=spec["tone"],
            va="bottom",
        )
    start_ms, end_ms = shown(spec)
    axes.set_xlim(days(start_ms), days(end_ms))
    axes.axvspan(
        days(max(start_ms, spec["since_ms"])),
        days(spec["end_ms"]),
        color=spec["tone"],
        alpha=0.1,
        lw=0,
    )
    locator = AutoDateLocator(tz=zone, minticks=4, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    hours = ConciseDateFormatter(locator, tz=zone, show_offset=False)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(hours)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} {symbol}".rstrip())
    axes.locator_params(axis="y", nbins=5)
    axes.tick_params(colors=INK, labelsize=8, length=0, pad=4)
    axes.grid(axis="y", color=INK, alpha=0.22, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    if len(series) > 1:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[::-1],
            labels[::-1],
            loc="outside lower left",
            ncols=3,
            frameon=False,
            fontsize=8,
            labelcolor=INK,
            handlelength=1.2,
            columnspacing=1.4,
        )
    return _png(figure)


def _png(figure: Any) -> bytes:
    """At 200 dots an inch, or as many fewer as the bound on its size wants."""
    for dpi in (200, 150, 100, 72):
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=dpi, transparent=True)
        if file.tell() <= MAX_BYTES:
            return file.getvalue()
    raise ValueError("The chart is too large for a mail.")


def main() -> int:
    """One chart: 0 and a PNG on stdout, or 1 and a sentence on stderr."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        picture = draw(json.load(sys.stdin))
    except (KeyError, TypeError, ValueError, MemoryError) as error:
        sys.stderr.write(f"No chart: {type(error).__name__}: {error}\n")
        return 1
    sys.stdout.buffer.write(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
