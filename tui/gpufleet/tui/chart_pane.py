"""The charts of the detailed view: which, how scaled, over which time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpufleet.client import units
from gpufleet.tui import charts, timeline
from gpufleet.tui.boxes import Zone, keyed
from gpufleet.tui.canvas import Canvas
from gpufleet.tui.picture import Past, Picture, Point
from gpufleet.tui.state import METRIC_KEYS, SPANS, Detail, Metric
from gpufleet.tui.text import fit, width
from gpufleet.tui.theme import Ramp, Theme, shade

LEAST_ROWS = 3
SIDE_BY_SIDE = 76
_NAMES = {
    Metric.LOAD: "load",
    Metric.MEMORY: "memory",
    Metric.TEMPERATURE: "temperature",
    Metric.POWER: "power",
}
COLDEST, HOTTEST = 20.0, 100.0


@dataclass(frozen=True, slots=True)
class Scale:
    """What the lower and the upper edge of a chart stand for, with their words."""

    low: float
    high: float
    low_text: str
    high_text: str

    def share(self, value: float | None) -> float | None:
        """Where a value lies between the edges."""
        if value is None or self.high <= self.low:
            return None
        return (value - self.low) / (self.high - self.low)


def scale(metric: Metric, gpu: Mapping[str, Any], points: Sequence[Point]) -> Scale:
    """The edges of a metric's chart: 0 to all there is, or to the greatest value."""
    dynamic: Mapping[str, Any] = gpu.get("dynamic") or {}
    greatest = max((p.high if p.high is not None else p.mean or 0.0 for p in points), default=0.0)
    if metric is Metric.LOAD:
        return Scale(0.0, 1.0, "0%", "100%")
    if metric is Metric.TEMPERATURE:
        high = max(HOTTEST, greatest)
        return Scale(COLDEST, high, f"{COLDEST:.0f}°", f"{high:.0f}°")
    name = "memory_total_bytes" if metric is Metric.MEMORY else "power_limit_watts"
    high = max(float(dynamic.get(name) or 0), greatest) or 1.0
    text = units.gib(high) if metric is Metric.MEMORY else units.watts(high)
    return Scale(0.0, high, "0", text)


def ramp(metric: Metric, theme: Theme) -> Ramp:
    """A metric's colours."""
    return {
        Metric.LOAD: theme.load,
        Metric.MEMORY: theme.memory,
        Metric.TEMPERATURE: theme.temperature,
        Metric.POWER: theme.power,
    }[metric]


def value_text(metric: Metric, value: float | None, gpu: Mapping[str, Any]) -> str:
    """A value with its unit."""
    dynamic: Mapping[str, Any] = gpu.get("dynamic") or {}
    if metric is Metric.LOAD:
        return units.percent(value)
    if metric is Metric.MEMORY:
        return units.part(value, dynamic.get("memory_total_bytes"))
    if metric is Metric.TEMPERATURE:
        return units.celsius(value)
    return units.NOTHING if value is None else f"{value:.1f}W"


def span_of(picture: Picture, detail: Detail) -> tuple[int, int]:
    """The times at the edges of the charts, in milliseconds."""
    end = detail.end_ms if detail.end_ms is not None else picture.now_ms
    return end - SPANS[detail.span] * 1000, end


def when(picture: Picture, detail: Detail) -> str:
    """Which time is shown, in words."""
    span = units.span(SPANS[detail.span])
    if detail.end_ms is None:
        return f"last {span}"
    ago = units.span((picture.now_ms - detail.end_ms) / 1000)
    return f"{span} until {ago} ago"


def grid(count: int, w: int, h: int) -> tuple[int, int, int]:
    """Columns, rows and how many charts fit into a rectangle."""
    columns = 2 if w >= SIDE_BY_SIDE and count > 1 else 1
    rows = -(-count // columns)
    most = max((h - 1) // LEAST_ROWS, 1)
    rows = min(rows, most)
    return columns, rows, min(count, columns * rows)


def draw(
    canvas: Canvas, picture: Picture, detail: Detail, gpu: Mapping[str, Any], theme: Theme
) -> list[Zone]:
    """Draws the chosen charts over the whole canvas, with one time axis below."""
    w, h = canvas.width, canvas.height
    columns, rows, count = grid(len(detail.charts), w, h)
    past = picture.past
    if past is not None and past.uuid != detail.uuid:
        past = None
    gap = 2
    cell_width = (w - gap * (columns - 1)) // columns
    axis = 1 if h - rows * LEAST_ROWS >= 1 or h >= 4 else 0
    heights = [(h - axis) // rows] * rows
    for i in range((h - axis) % rows):
        heights[i] += 1
    zones = []
    start_end = span_of(picture, detail)
    y = 0
    for row in range(rows):
        for column in range(columns):
            at = row * columns + column
            if at >= count:
                continue
            metric = detail.charts[at]
            x = column * (cell_width + gap)
            cell_room = w - x if at == count - 1 and column == 0 else cell_width
            inside = Canvas(cell_room, heights[row])
            _chart(inside, metric, past, start_end, gpu, theme, detail.end_ms is None)
            canvas.blit(inside, x, y)
            key = next(k for k, m in METRIC_KEYS.items() if m is metric)
            zones.append(Zone(x, y, cell_width, 1, f"chart:{key}"))
        y += heights[row]
    if axis:
        for column in range(columns):
            _axis(canvas, column * (cell_width + gap), cell_width, start_end, detail, theme)
    return zones


def _chart(
    canvas: Canvas,
    metric: Metric,
    past: Past | None,
    start_end: tuple[int, int],
    gpu: Mapping[str, Any],
    theme: Theme,
    live: bool,
) -> None:
    w, h = canvas.width, canvas.height
    points = past.series.get(metric.value, ()) if past is not None else ()
    edges = scale(metric, gpu, points)
    colours = ramp(metric, theme)
    dynamic: Mapping[str, Any] = gpu.get("dynamic") or {}
    now = dynamic.get(metric.value)
    key = next(k for k, m in METRIC_KEYS.items() if m is metric)
    x = keyed(canvas, 0, 0, f"{key} {_NAMES[metric]} ", key, theme.text, theme)
    style = theme.unknown if now is None else shade(colours, edges.share(now))
    said = value_text(metric, now, gpu)
    x = canvas.put(x, 0, said if live else f"now {said}", style)
    labels = max(width(edges.low_text), width(edges.high_text)) + 1
    room = w - labels
    shown = timeline.resample(points, past.step_ms if past else 0, *start_end, 2 * room)
    known = [v for v in shown.means if v is not None]
    if known:
        highest = max(v for v in shown.highs if v is not None)
        mean = sum(known) / len(known)
        said = f"mean {_short(metric, mean)}  max {_short(metric, highest)}"
        if x + 2 + width(said) <= w:
            canvas.put_right(w, 0, said, theme.dim)
    elif h > 2:
        said = "asking …" if past is None else "no samples in this time"
        canvas.put(labels + 1, h // 2, fit(said, room - 1), theme.dim)
    canvas.put_right(labels - 1, 1, edges.high_text, theme.dim)
    if h > 2:
        canvas.put_right(labels - 1, h - 1, edges.low_text, theme.dim)
    if known:
        shares = [edges.share(v) for v in shown.means]
        highs = [edges.share(v) for v in shown.highs]
        canvas.blit(charts.area(shares, room, h - 1, colours, theme, highs), labels, 1)


def _short(metric: Metric, value: float) -> str:
    if metric is Metric.MEMORY:
        return units.gib(value)
    return (
        units.percent(value)
        if metric is Metric.LOAD
        else (units.celsius(value) if metric is Metric.TEMPERATURE else units.watts(value))
    )


def _axis(
    canvas: Canvas, x: int, room: int, start_end: tuple[int, int], detail: Detail, theme: Theme
) -> None:
    start, end = start_end
    y = canvas.height - 1
    span = SPANS[detail.span]
    left = timeline.moment(start, span)
    right = "now" if detail.end_ms is None else timeline.moment(end, span)
    canvas.put(x, y, fit(left, room), theme.dim)
    if room >= width(left) + width(right) + 2:
        canvas.put_right(x + room, y, right, theme.dim)
    middle = timeline.moment((start + end) // 2, span)
    if room >= 3 * width(middle) + 6:
        canvas.put(x + (room - width(middle)) // 2, y, middle, theme.dim)
