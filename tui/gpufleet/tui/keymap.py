"""Which key does what in which view; the footer, the help and the reducer all read these tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpufleet.tui.state import View


@dataclass(frozen=True, slots=True)
class Binding:
    """Keys of one command. ``short`` is what the footer says, ``help`` what the help says."""

    command: str
    keys: tuple[str, ...]
    short: str
    help: str


_MOVES = (
    Binding("up", ("up", "k"), "", "one line up"),
    Binding("down", ("down", "j"), "", "one line down"),
    Binding("pageup", ("pageup", "ctrl-b"), "", "a page up"),
    Binding("pagedown", ("pagedown", "ctrl-f"), "", "a page down"),
    Binding("home", ("home",), "", "to the first line"),
    Binding("end", ("end", "G"), "", "to the last line"),
)
_EVERYWHERE = (
    Binding("help", ("?",), "help", "this help"),
    Binding("pause", ("p",), "pause", "hold the picture; once more goes on"),
    Binding("theme", ("t",), "", "next theme: auto, dark, light, contrast, mono"),
    Binding("redraw", ("ctrl-l",), "", "draw everything anew"),
    Binding("quit", ("q", "ctrl-c"), "quit", "end"),
)
_LIST = (
    Binding("sort", ("s",), "sort", "choose the column to sort by"),
    Binding("reverse", ("r",), "", "turn the order round"),
    Binding("search", ("/",), "search", "search names, models, users, reasons"),
    Binding("search-next", ("n",), "", "next match"),
    Binding("search-back", ("N",), "", "match before"),
    Binding("filter", ("f",), "filter", "show only GPUs that pass a filter"),
    Binding("clear", ("F",), "", "take the filter away"),
    Binding("fold", (" ",), "", "open or close a group"),
    Binding("fold-all", ("e",), "", "open or close all groups"),
)
_FLEET = (
    Binding("detail", ("o",), "detail", "the selected GPU in detail, and back"),
    Binding("open", ("enter",), "", "a group: open or close it; a GPU: in detail"),
    *_LIST[:1],
    *_LIST[2:3],
    *_LIST[5:6],
    Binding("group", ("g",), "group", "group by node, model, user or label"),
    *_LIST[7:],
    Binding("alerts", ("a",), "alerts", "what fires, is pending, silenced or without data"),
    Binding("users", ("u",), "users", "who holds what, and which GPUs are free"),
    Binding("charts", ("c",), "", "show or hide the fleet's charts"),
    _LIST[1],
    *_LIST[3:5],
    _LIST[6],
)
_DETAIL = (
    Binding("back", ("o", "esc"), "back", "back to the list"),
    Binding("chart:1", ("1",), "", "chart of the load, on or off"),
    Binding("chart:2", ("2",), "", "chart of the memory"),
    Binding("chart:3", ("3",), "", "chart of the temperature"),
    Binding("chart:4", ("4",), "", "chart of the power"),
    Binding("earlier", ("left", "h"), "earlier", "a quarter of the shown time back"),
    Binding("later", ("right", "l"), "later", "a quarter forward"),
    Binding("page-earlier", ("[", "pageup"), "", "the whole shown time back"),
    Binding("page-later", ("]", "pagedown"), "", "the whole shown time forward"),
    Binding("zoom-in", ("+", "="), "zoom in", "less time, finer"),
    Binding("zoom-out", ("-",), "zoom out", "more time, up to 30 days"),
    Binding("live", ("0", "end"), "live", "back to now"),
    Binding("next-gpu", ("tab", "n"), "next GPU", "the next GPU of the list"),
    Binding("last-gpu", ("shift-tab", "N"), "", "the GPU before"),
    Binding("up", ("up", "k"), "", "processes: one up"),
    Binding("down", ("down", "j"), "", "processes: one down"),
    Binding("alerts", ("a",), "alerts", "the alerts"),
)
_ALERTS = (
    Binding("acknowledge", ("A",), "acknowledge", "stop repeated notices of this incident"),
    Binding("silence", ("Z",), "silence", "mute notices for a time"),
    Binding("detail", ("o", "enter"), "detail", "the GPU that it is about"),
    Binding("back", ("a", "esc"), "back", "back to the list"),
    Binding("users", ("u",), "", "the users"),
)
_USERS = (
    Binding("open", ("enter",), "open", "a user: open or close; a GPU: in detail"),
    Binding("detail", ("o",), "detail", "the selected GPU in detail"),
    *_LIST,
    Binding("back", ("u", "esc"), "back", "back to the list"),
    Binding("alerts", ("a",), "alerts", "the alerts"),
)
BINDINGS: Mapping[View, Sequence[Binding]] = {
    View.FLEET: (*_FLEET, *_MOVES, *_EVERYWHERE),
    View.DETAIL: (*_DETAIL, *_EVERYWHERE),
    View.ALERTS: (*_ALERTS, *_MOVES, *_EVERYWHERE),
    View.USERS: (*_USERS, *_MOVES, *_EVERYWHERE),
}


def _table(bindings: Sequence[Binding]) -> dict[str, str]:
    table: dict[str, str] = {}
    for binding in bindings:
        for key in binding.keys:
            table.setdefault(key, binding.command)
    return table


COMMANDS: Mapping[View, Mapping[str, str]] = {
    view: _table(bindings) for view, bindings in BINDINGS.items()
}

_SIGNS = {
    " ": "Space", "up": "↑", "down": "↓", "left": "←", "right": "→", "pageup": "PgUp",
    "pagedown": "PgDn", "home": "Home", "end": "End", "enter": "Enter", "esc": "Esc", "tab": "Tab",
    "shift-tab": "Shift-Tab",
}  # fmt: skip


def sign(key: str) -> str:
    """A key as it is shown."""
    if key in _SIGNS:
        return _SIGNS[key]
    return "Ctrl-" + key[5:].upper() if key.startswith("ctrl-") else key
