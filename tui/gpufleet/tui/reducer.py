"""What a key or a click makes of what was chosen: pure, ``(ui, event, scene) → (ui, effects)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gpufleet.client import columns, lines
from gpufleet.tui import navigation
from gpufleet.tui.answers import answered
from gpufleet.tui.events import Key
from gpufleet.tui.keymap import COMMANDS
from gpufleet.tui.prompt import Prompt, Purpose, edited
from gpufleet.tui.state import Effect, Menu, Quit, Redraw, Save, Scene, Ui, View
from gpufleet.tui.theme import NAMES

Step = tuple[Ui, tuple[Effect, ...]]
Check = Callable[[str], tuple[str, int] | None]
"""The sentence and the character (from 0) of what is wrong with a filter."""


def press(ui: Ui, key: Key, scene: Scene, check: Check) -> Step:
    """A key was pressed."""
    ui = replace(ui, note="")
    if key.name == "ctrl-c":
        return ui, (Quit(),)
    if ui.prompt is not None:
        return _in_prompt(ui, ui.prompt, key, scene, check)
    if ui.menu is not None:
        return _in_menu(ui, ui.menu, key, scene)
    command = COMMANDS[ui.view].get(key.name)
    return act(ui, command, scene) if command else (ui, ())


def act(ui: Ui, command: str, scene: Scene) -> Step:
    """A command, from a key or from a click."""
    name, _, value = command.partition(":")
    if name == "quit":
        return ui, (Quit(),)
    if name == "redraw":
        return ui, (Redraw(),)
    if name == "menu":
        return _chosen(ui, scene, int(value))
    if name == "line":
        return navigation.select(ui, scene, int(value)), ()
    if name == "sort" and value:
        return sorted_by(ui, value), (Save(),)
    if name == "chart":
        return navigation.toggle_chart(ui, value), (Save(),)
    if name == "theme":
        after = NAMES[(NAMES.index(ui.theme) + 1) % len(NAMES)]
        return replace(ui, theme=after, note=f"Theme: {after}."), (Save(),)
    if name in ("alerts", "users"):
        return navigation.show(ui, View(name)), ()
    if name in _MENUS:
        return _opened(ui, _MENUS[name]), ()
    if name in navigation.MOVES:
        return navigation.move(ui, scene, name), ()
    if name in _SIMPLE:
        after_ui = _SIMPLE[name](ui, scene)
        return after_ui, (Save(),) if name in _SAVED else ()
    return ui, ()


_MENUS = {"help": Menu.HELP, "sort": Menu.SORT, "group": Menu.GROUP}


def _opened(ui: Ui, menu: Menu) -> Ui:
    if menu is Menu.HELP or ui.view is View.ALERTS:
        return replace(ui, menu=menu, menu_at=0)
    order = ui.order if ui.view is not View.USERS else ui.users_order
    values = columns.SORTS if menu is Menu.SORT else lines.GROUPINGS
    value = order.sort if menu is Menu.SORT else order.group
    at = values.index(value) if value in values else 0
    return replace(ui, menu=menu, menu_at=at)


def _in_menu(ui: Ui, menu: Menu, key: Key, scene: Scene) -> Step:
    name = key.name
    if name in ("esc", "q") or (name == "?" and menu is Menu.HELP):
        return replace(ui, menu=None), ()
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -10, "pagedown": 10, " ": 10}
    if name in steps or name in ("home", "end"):
        last = max(len(scene.menu) - 1, 0)
        at = {"home": 0, "end": last}.get(name, ui.menu_at + steps.get(name, 0))
        return replace(ui, menu_at=min(max(at, 0), last)), ()
    if menu is Menu.HELP:
        return replace(ui, menu=None), ()
    if name == "enter":
        return _chosen(ui, scene, ui.menu_at)
    if name.isdecimal() and 1 <= int(name) <= len(scene.menu):
        return _chosen(ui, scene, int(name) - 1)
    return ui, ()


def _chosen(ui: Ui, scene: Scene, at: int) -> Step:
    menu = ui.menu
    closed = replace(ui, menu=None)
    if menu is Menu.HELP or not 0 <= at < len(scene.menu):
        return closed, ()
    value = scene.menu[at]
    if menu is Menu.SORT:
        return sorted_by(closed, value), (Save(),)
    if value == "label.…":
        return replace(closed, prompt=Prompt(Purpose.LABEL)), ()
    return grouped_by(closed, value), (Save(),)


def sorted_by(ui: Ui, column: str) -> Ui:
    """Sorted by a column; by the same once more turns the order round."""
    users = ui.view is View.USERS
    order = ui.users_order if users else ui.order
    if order.sort == column:
        order = replace(order, descending=not order.descending)
    else:
        falling = column in ("gpus", "processes") or (
            column in columns.BY_ID and columns.BY_ID[column].falling
        )
        order = replace(order, sort=column, descending=falling)
    return replace(ui, users_order=order) if users else replace(ui, order=order)


def grouped_by(ui: Ui, by: str) -> Ui:
    """Grouped otherwise; what was folded by hand is forgotten, since its groups are gone."""
    return replace(ui, order=replace(ui.order, group=by, toggled=frozenset(), all_open=None))


def _reverse(ui: Ui, scene: Scene) -> Ui:
    order = ui.users_order if ui.view is View.USERS else ui.order
    return sorted_by(ui, order.sort)


def _search(ui: Ui, scene: Scene) -> Ui:
    return replace(ui, prompt=Prompt(Purpose.SEARCH))


def _filter(ui: Ui, scene: Scene) -> Ui:
    prompt = Prompt(Purpose.FILTER, ui.filter, len(ui.filter), ui.filters)
    return replace(ui, prompt=prompt)


def _clear(ui: Ui, scene: Scene) -> Ui:
    return replace(ui, filter="", search="")


def _pause(ui: Ui, scene: Scene) -> Ui:
    return replace(ui, paused=not ui.paused)


def _charts(ui: Ui, scene: Scene) -> Ui:
    return replace(ui, charts=not ui.charts)


def _ask_about_incident(purpose: Purpose) -> Callable[[Ui, Scene], Ui]:
    def ask(ui: Ui, scene: Scene) -> Ui:
        key = ui.cursor().key
        if key not in scene.keys:
            return replace(ui, note="No alert is selected.")
        text = "2h" if purpose is Purpose.SILENCE else ""
        return replace(ui, prompt=Prompt(purpose, text, len(text), subject=key))

    return ask


_SIMPLE: Mapping[str, Callable[[Ui, Scene], Ui]] = {
    "reverse": _reverse,
    "search": _search,
    "filter": _filter,
    "clear": _clear,
    "pause": _pause,
    "charts": _charts,
    "acknowledge": _ask_about_incident(Purpose.ACKNOWLEDGE),
    "silence": _ask_about_incident(Purpose.SILENCE),
    **navigation.COMMANDS,
}
_SAVED = frozenset({"reverse", "clear", "charts"})


def _in_prompt(ui: Ui, prompt: Prompt, key: Key, scene: Scene, check: Check) -> Step:
    if key.name == "esc":
        return replace(ui, prompt=None), ()
    if key.name == "enter":
        return answered(replace(ui, prompt=None), prompt, scene, check)
    after = edited(prompt, key)
    if prompt.purpose is Purpose.FILTER and after.text != prompt.text:
        wrong = check(after.text) if after.text.strip() else None
        if wrong is not None:
            after = replace(after, error=wrong[0], error_at=wrong[1])
    ui = replace(ui, prompt=after)
    if prompt.purpose is Purpose.SEARCH and after.text != prompt.text:
        ui = navigation.search(replace(ui, search=after.text), scene, 1, here=True)
    return ui, ()
