"""Tables from a stream's documents are what the hub has; changes that do not fit are told."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.client.errors import Broken
from gpufleet.client.table import Table, changed, opened
from gpufleet.hub.api.changes import View, difference, whole


def shown(version: int, rows: list[tuple[str, int]]) -> View:
    """A hub's view of rows with one number each."""
    return View(version, "2026-03-01T12:00:00Z", 99, ("uuid", "n"), {r[0]: r for r in rows})


def sent(document: Any) -> Any:
    """A document after its way through JSON."""
    return json.loads(json.dumps(document))


ROWS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)), unique_by=lambda row: row[0]
)


@settings(max_examples=300)
@given(ROWS, st.lists(ROWS, max_size=4))
def test_after_any_changes_the_table_is_the_hubs_view(
    first: list[tuple[str, int]], later: list[list[tuple[str, int]]]
) -> None:
    view = shown(0, first)
    table = opened(sent(whole(view)))
    for version, rows in enumerate(later, 1):
        new = shown(version, rows)
        table = changed(table, sent(difference(view, new)))
        view = new
        assert [(row["uuid"], row["n"]) for row in table.rows] == rows
        assert (table.version, table.total) == (version, 99)


def test_an_older_table_stays_as_it_was() -> None:
    view, new = shown(0, [("a", 1), ("b", 2)]), shown(1, [("b", 3)])
    table = opened(sent(whole(view)))
    changed(table, sent(difference(view, new)))
    assert [row["n"] for row in table.rows] == [1, 2]
    assert table.row("b") == {"uuid": "b", "n": 2}
    assert table.row("z") is None


HEAD = {"version": 1, "time": "2026-03-01T12:00:00Z", "total": 1}
TABLE = Table(0, "2026-03-01T12:00:00Z", 1, ({"uuid": "a", "n": 1},))


@pytest.mark.parametrize(
    "document",
    [None, [], {}, HEAD, {**HEAD, "gpus": {}}, {**HEAD, "gpus": [1]}, {**HEAD, "gpus": [{"n": 1}]},
     {**HEAD, "gpus": [{"uuid": 5}]}, {**HEAD, "gpus": [{"uuid": "a"}] * 2},
     {"gpus": [], "total": 0, "time": "x"}],
)  # fmt: skip
def test_what_is_no_snapshot_is_broken(document: Any) -> None:
    with pytest.raises(Broken):
        opened(document)


@pytest.mark.parametrize(
    "more",
    [{}, {"cells": []}, {"cells": {"z": {"n": 2}}}, {"cells": {"a": 5}}, {"cells": {"a": None}},
     {"cells": {}, "removed": ["z"]}, {"cells": {}, "removed": 5}, {"cells": {}, "added": [3]},
     {"cells": {}, "added": {"uuid": "b"}}, {"cells": {}, "order": ["z"]},
     {"cells": {}, "order": []}, {"cells": {}, "order": 7}, {"cells": {}, "order": [{}]},
     {"cells": {}, "removed": [[]]}],
)  # fmt: skip
def test_a_change_that_does_not_fit_is_broken(more: Any) -> None:
    with pytest.raises(Broken):
        changed(TABLE, {**HEAD, **more})


def test_a_change_cannot_rename_a_row() -> None:
    after = changed(TABLE, {**HEAD, "cells": {"a": {"uuid": "b", "n": 2}}})
    assert after.rows == ({"uuid": "a", "n": 2},)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["uuid", "a", "cells", "gpus", "order"]), inner, max_size=3
        )
    ),
)
CHANGE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("cells", "removed", "added", "order", "gpus", "total"), JSON)
)


@given(CHANGE)
def test_any_document_is_a_table_or_broken(document: dict[str, Any]) -> None:
    given = {**HEAD, **document}
    with suppress(Broken):
        assert isinstance(opened(given), Table)
    with suppress(Broken):
        assert isinstance(changed(TABLE, given), Table)
