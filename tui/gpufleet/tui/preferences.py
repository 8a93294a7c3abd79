"""What is remembered from one start to the next: theme, order, charts, filters."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpufleet.tui import columns, lines
from gpufleet.tui.lines import Order
from gpufleet.tui.state import SPANS, Detail, Metric, Ui
from gpufleet.tui.theme import NAMES

MOST_FILTERS = 50


def path(environ: Mapping[str, str]) -> Path:
    """Where the file is: ``$XDG_CONFIG_HOME/gpufleet/tui.json``."""
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "~", ".config")
    return Path(home).expanduser() / "gpufleet" / "tui.json"


def load(file: Path) -> Mapping[str, Any]:
    """The remembered values; none where there is no readable file."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def save(file: Path, ui: Ui) -> None:
    """Writes them; where that is not possible nothing is remembered, and nothing else happens."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(remembered(ui), indent=1) + "\n", encoding="utf-8")
        fresh.replace(file)


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
