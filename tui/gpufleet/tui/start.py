"""From flags to a running client: which hub, which choices, full screen or one text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gpufleet.client import columns, lines
from gpufleet.client.address import USUAL_HUB
from gpufleet.client.errors import HubError
from gpufleet.client.hub import Hub
from gpufleet.client.lines import Order
from gpufleet.client.preferences import load, path
from gpufleet.tui import preferences
from gpufleet.tui.state import Ui, View

NAME = "tui"
"""Of the file of preferences."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The command line, as given; empty: not given."""

    hub: str = ""
    once: bool = False
    view: str = "fleet"
    filter: str = ""
    sort: str = ""
    group: str = ""
    theme: str | None = None
    ascii: bool = False
    mouse: bool = True
    interval: float = 1.0


def show(flags: Flags, environ: Mapping[str, str]) -> int:
    """Full screen on a terminal, else one text. HubError says why nothing can be shown."""
    from gpufleet.tui import once, terminal

    hub = Hub(flags.hub or USUAL_HUB)  # a wrong address is said before the screen is taken
    unicode = terminal.speaks_unicode() and not flags.ascii
    kept = {} if flags.once else load(path(environ, NAME))
    ui = choices(flags, preferences.applied(Ui(), kept))
    if not flags.once and sys.stdout.isatty() and sys.stdin.isatty():
        from gpufleet.tui import app

        settings = app.Settings(
            hub=hub.url.removeprefix("http://"),
            make=hub.another,
            ui=ui,
            interval=flags.interval,
            unicode=unicode,
            mouse=flags.mouse,
            environ=environ,
            preferences=path(environ, NAME),
        )
        try:
            return app.run(settings)
        except terminal.NoScreen as reason:
            sys.stderr.write(f"gpufleet tui: {reason} Here is one picture as text.\n")
    width = shutil.get_terminal_size((120, 40)).columns
    text = once.text(hub, ui, width, unicode)
    sys.stdout.write(text if unicode else text.encode("ascii", "replace").decode())
    return 0


def choices(flags: Flags, ui: Ui) -> Ui:
    """What was remembered, with what the flags say. HubError for a wrong name."""
    if flags.theme:
        ui = replace(ui, theme=flags.theme)
    order = ui.order
    if flags.group:
        if not preferences.known_group(flags.group):
            known = ", ".join(lines.GROUPINGS)
            raise HubError(f"--group is {known} or label.NAME, not {flags.group!r}.")
        order = replace(order, group=flags.group)
    if flags.sort:
        order = _sorted(order, flags.sort)
    return replace(ui, order=order, filter=flags.filter, view=View(flags.view))


def _sorted(order: Order, sort: str) -> Order:
    try:
        wanted = preferences.order_for(sort, order.group)
    except ValueError:
        known = ", ".join(columns.SORTS)
        raise HubError(
            f"--sort is one of {known} (-temp: the hottest first), not {sort!r}."
        ) from None
    return replace(order, sort=wanted.sort, descending=wanted.descending)
