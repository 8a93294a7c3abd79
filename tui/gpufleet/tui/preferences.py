"""What is remembered from one start to the next: theme, order, charts, filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gpufleet.client import columns, lines
from gpufleet.client.lines import Order
from gpufleet.tui.state import SPANS, Detail, Metric, Ui
from gpufleet.tui.theme import NAMES

MOST_FILTERS = 50


def remembered(ui: Ui) -> dict[str, Any]:
    """What of the choices is worth remembering. A filter in force is not: it hides GPUs."""
    return {
        "theme": ui.theme,
        "sort": ui.order.sort,
        "descending": ui.order.descending,
        "group": ui.order.group,
        "charts": ui.charts,
        "detail_charts": [metric.value for metric in ui.detail.charts],
        "detail_seconds": SPANS[ui.detail.span],
        "filters": list(ui.filters[:MOST_FILTERS]),
    }


def applied(ui: Ui, kept: Mapping[str, Any]) -> Ui:
    """The choices with what was remembered; a value that makes no sense is passed over."""
    if kept.get("theme") in NAMES:
        ui = replace(ui, theme=kept["theme"])
    order = ui.order
    if kept.get("sort") in columns.SORTS:
        order = replace(order, sort=kept["sort"], descending=kept.get("descending") is True)
    group = kept.get("group")
    if isinstance(group, str) and known_group(group):
        order = replace(order, group=group)
    detail: Detail = ui.detail
    chosen = kept.get("detail_charts")
    if isinstance(chosen, list):
        charts = tuple(metric for metric in Metric if metric.value in chosen)
        detail = replace(detail, charts=charts or detail.charts)
    if kept.get("detail_seconds") in SPANS:
        detail = replace(detail, span=SPANS.index(kept["detail_seconds"]))
    filters = kept.get("filters")
    if isinstance(filters, list):
        texts = tuple(text for text in filters if isinstance(text, str) and len(text) <= 2000)
        ui = replace(ui, filters=texts[:MOST_FILTERS])
    if isinstance(kept.get("charts"), bool):
        ui = replace(ui, charts=kept["charts"])
    return replace(ui, order=order, detail=detail)


def known_group(group: str) -> bool:
    """Whether one can group by it."""
    return group in lines.GROUPINGS or (group.startswith("label.") and len(group) > 6)


def order_for(sort: str, group: str) -> Order:
    """The order that flags ask for; ``-temp``: the greatest first. ValueError: a wrong name."""
    name = sort.lstrip("-+")
    if name not in columns.SORTS:
        raise ValueError(name)
    falling = sort.startswith("-") or (not sort.startswith("+") and columns.BY_ID[name].falling)
    return Order(group, name, falling)
