"""What the person chose: view, cursor, order, filter, the line being typed. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from gpufleet.client.lines import Line, Order
from gpufleet.tui.prompt import Prompt


class View(Enum):
    """What fills the screen."""

    FLEET = "fleet"
    DETAIL = "detail"
    ALERTS = "alerts"
    USERS = "users"


class Menu(Enum):
    """What lies over it."""

    HELP = "help"
    SORT = "sort"
    GROUP = "group"


class Metric(Enum):
    """Charts of the detailed view; the value is the catalogue's name."""

    LOAD = "utilization_ratio"
    MEMORY = "memory_used_bytes"
    TEMPERATURE = "temperature_celsius"
    POWER = "power_watts"


METRIC_KEYS: Mapping[str, Metric] = {
    "1": Metric.LOAD,
    "2": Metric.MEMORY,
    "3": Metric.TEMPERATURE,
    "4": Metric.POWER,
}
SPANS = (300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400, 30 * 86400)
"""Seconds that a chart can show."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The selected line of a list, by key; ``at`` is where it was, ``top`` the first line shown."""

    key: str = ""
    at: int = 0
    top: int = 0


@dataclass(frozen=True, slots=True)
class Detail:
    """The detailed view: which GPU, which charts, which time."""

    uuid: str = ""
    charts: tuple[Metric, ...] = tuple(Metric)
    span: int = 1
    """Index into SPANS."""
    end_ms: int | None = None
    """The newest time shown; ``None`` while live."""
    process_top: int = 0


@dataclass(frozen=True, slots=True)
class Ui:
    """Everything that keys change."""

    view: View = View.FLEET
    back: View = View.FLEET
    """The view to which Esc returns."""
    menu: Menu | None = None
    menu_at: int = 0
    prompt: Prompt | None = None
    order: Order = field(default_factory=Order)
    users_order: Order = field(default_factory=lambda: Order("user", "gpus", True, all_open=False))
    filter: str = ""
    filters: tuple[str, ...] = ()
    search: str = ""
    cursors: Mapping[View, Cursor] = field(default_factory=dict)
    detail: Detail = field(default_factory=Detail)
    theme: str = "auto"
    charts: bool = True
    """Whether the fleet's charts are shown where there is room."""
    paused: bool = False
    note: str = ""
    """One sentence in the footer until the next key."""

    def cursor(self) -> Cursor:
        """The cursor of the view that is shown."""
        return self.cursors.get(self.view, Cursor())


@dataclass(frozen=True, slots=True)
class Scene:
    """What is on the screen that keys are about."""

    lines: Sequence[Line] = ()
    """Lines of the fleet or of the users."""
    keys: Sequence[str] = ()
    """Keys of the lines of the view, in order."""
    page: int = 1
    """How many lines of it are seen at once."""
    now_ms: int = 0
    menu: Sequence[str] = ()
    """Values of the open menu."""
    labels: Sequence[str] = ()
    gpus: Sequence[str] = ()
    """UUIDs in the order in which the detailed view goes through them."""
    processes: int = 0


@dataclass(frozen=True, slots=True)
class Quit:
    """The end."""


@dataclass(frozen=True, slots=True)
class Save:
    """Preferences changed."""


@dataclass(frozen=True, slots=True)
class Redraw:
    """Draw everything anew."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Stops repeats of an alert's notices. ``alert`` is its key in the view."""

    alert: str
    comment: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Mutes notices of an alert for some seconds."""

    alert: str
    seconds: int
    comment: str


Effect = Quit | Save | Redraw | Acknowledge | Silence
