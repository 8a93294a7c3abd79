"""The filter language: parsing, its sentences, and evaluation over a row."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.client.fields import Fields
from gpufleet.client.filter import And, Comparison, Expr, FilterError, Not, Or, parse
from gpufleet.client.row_filter import matches
from gpufleet.proto import catalog

FIELDS = Fields(
    [
        *((m.name, m.kind.value, {}) for m in catalog.metrics(catalog.SubjectKind.GPU)),
    ]
)

ROW: dict[str, Any] = {
    "uuid": "GPU-1",
    "node": "dgx-01",
    "name": "NVIDIA H100 80GB HBM3",
    "index": 3,
    "health": 2,
    "stale": False,
    "users": ["alice", "bob"],
    "programs": [],
    "labels": {"rack": "r1", "odd key": "x y"},
    "temperature_celsius": 86,
    "utilization_ratio": 0.29,
    "power_watts": 310.5,
    "memory_used_bytes": 11 * 2**30,
    "memory_temperature_celsius": None,
    "throttle_reasons": ["sw_thermal_slowdown", "sw_power_cap"],
}


def passes(text: str) -> bool:
    return matches(parse(text, FIELDS), ROW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "temp>85",
        "temperature_celsius >= 86",
        "util<30 & power>300",
        "util>=29",
        "util=29%",
        "utilization_ratio>=29%",
        "utilization_ratio=0.29",
        "node~=DGX",
        "node~=d*-01",
        "model~=h100*hbm3",
        'model="NVIDIA H100 80GB HBM3"',
        "model='NVIDIA H100 80GB HBM3' and index=3",
        "user=alice",
        "user=bob",
        "user~=ALI",
        "user!=carol",
        "health>=warning",
        "health=2",
        "health != critical",
        "label.rack=r1",
        'label."odd key"="x y"',
        "not temp<80",
        "!(temp<80)",
        "! temp<80 && !stale",
        "stale=false",
        "missing(memory_temperature_celsius)",
        "missing(program) and missing(fault)",
        "not missing(temp)",
        "temp>90 or temp>85",
        "temp>90 | temp>95 || temp>85",
        "not memory_temperature_celsius>0",
        "throttle=sw_power_cap",
        "throttle~=thermal",
        "memory_used_bytes>10Gi and memory_used_bytes<12Gi",
        "memory_used_bytes>10GiB and memory_used_bytes<12GB",
        "memory_used_bytes>11G",
        "power>-5 and power<+1e3",
        "temp>90 and temp>90 or index=3",
        "index=3 or temp>90 and temp>90",
        "NOT stale AND index=3",
    ],
)
def test_a_row_passes_a_filter_that_describes_it(text: str) -> None:
    assert passes(text)


@pytest.mark.parametrize(
    "text",
    [
        "temp>86",
        "util>29",
        "user!=alice",
        "memory_temperature_celsius>0",
        "memory_temperature_celsius<1000",
        "memory_temperature_celsius!=5",
        "program!=python",
        "label.room!=x",
        "label.room~=*",
        "fault=lost",
        "stale",
        "missing(temp)",
        "not (index=3)",
        "(temp>90 or temp>85) and index=1",
        "node=DGX-01",
        "node~=01*dgx",
        "throttle!=sw_power_cap",
    ],
)
def test_a_row_fails_a_filter_that_does_not_describe_it(text: str) -> None:
    assert not passes(text)


@pytest.mark.parametrize(
    ("text", "position", "part"),
    [
        ("tempp>85", 1, "there is no field 'tempp'; did you mean 'temp'?"),
        ("temp>85 & temperature_celcius>3", 11, "did you mean 'temperature_celsius'?"),
        ("temp>hot", 6, "temperature_celsius is a number, not 'hot'"),
        ("temp>", 6, "expected a value after '>'"),
        ("temp", 5, "expected = != < <= > >= or ~= after 'temp'"),
        ("temp>85 node=x", 9, "expected 'and' or 'or' before 'node'"),
        ("(temp>85", 9, "expected ) for the ( at character 1"),
        ("temp>85)", 8, "this ) has no ("),
        ("temp>85 and", 12, "expected a field name, but the filter ends"),
        ("node='x", 6, "the quote ' that begins here is not closed"),
        ("node>x", 5, "> is for numbers, and node is a text"),
        ("temp~=8", 5, "~= is for texts, and temperature_celsius is a number"),
        ("health>=warnin", 9, "did you mean 'warning'?"),
        ("power>5%", 7, "% is for ratios"),
        ("stale=5", 6, "stale is compared with =true or =false"),
        ("temp>1e999", 6, "is a number"),
        ("a,b", 2, "',' is not understood here"),
        ("missing(8", 10, "expected ) for the ( at character 8"),
        ("missing()", 9, "expected a field name in missing()"),
        ("temp>85 & ~x", 11, "'~' is not understood here"),
        ("name~h100", 5, "'~' is not understood here; write ~= for contains."),
        ("power>300W", 7, "power_watts is a number, not '300W'; write 300 without a unit."),
    ],
)
def test_an_error_is_one_sentence_with_the_place(text: str, position: int, part: str) -> None:
    with pytest.raises(FilterError) as error:
        parse(text, FIELDS)
    assert error.value.position == position
    assert str(error.value).startswith(f"Filter, character {position}: ")
    assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert re.search(r"[^.?][.?]$", str(error.value)), "one full stop or question mark"


def test_and_binds_stronger_than_or_and_not_strongest() -> None:
    tree = parse("not temp>1 and temp>2 or temp>3", FIELDS)
    assert isinstance(tree, Or)
    first = tree.terms[0]
    assert isinstance(first, And)
    assert isinstance(first.terms[0], Not)


@pytest.mark.parametrize("text", ["(" * 60, "!" * 3000, "not " * 60 + "stale", "x" * 2001])
def test_depth_and_length_are_bounded(text: str) -> None:
    with pytest.raises(FilterError):
        parse(text, FIELDS)


def test_the_number_of_comparisons_is_bounded() -> None:
    with pytest.raises(FilterError, match="more than 200 comparisons"):
        parse("|".join(["stale"] * 201), FIELDS)


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused_with_a_position_inside_it(text: str) -> None:
    try:
        position = 1 if parse(text, FIELDS) else len(text) + 1
    except FilterError as error:
        position = error.position
    assert 1 <= position <= len(text) + 1


FIELD_FRAGMENTS = ["temp", "util", "node", "user", "health", "label.rack", "stale", "missing("]
SIGNS = ["(", ")", "&", "|", "!", "and", "or", "not", ">", ">=", "=", "!=", "~=", ","]
VALUES = ["5", "80%", "warning", "'x'", '"y z"', "dgx*", "'"]
FRAGMENTS = st.sampled_from(FIELD_FRAGMENTS + SIGNS + VALUES)


@given(st.lists(FRAGMENTS, max_size=14).map(" ".join))
def test_fragments_in_any_order_never_break_the_parser_or_the_evaluation(text: str) -> None:
    try:
        tree = parse(text, FIELDS)
    except FilterError:
        return
    assert matches(tree, ROW) in (True, False)
    assert matches(tree, {}) in (True, False)


COMPARISONS = st.builds(
    lambda field, op, value: f"{field}{op}{value}",
    st.sampled_from(["temp", "util", "power", "index"]),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    st.integers(-5, 400),
)
TREES = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        inner.map(lambda t: f"not ({t})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
    ),
    max_leaves=8,
)


@given(TREES)
def test_not_turns_every_verdict_round(text: str) -> None:
    tree = parse(text, FIELDS)
    turned = parse(f"not ({text})", FIELDS)
    assert matches(tree, ROW) is not matches(turned, ROW)


def test_a_comparison_carries_the_full_name_and_the_base_unit() -> None:
    tree: Expr | None = parse("util>85", FIELDS)
    assert isinstance(tree, Comparison)
    assert (tree.field.name, tree.op, tree.value) == ("utilization_ratio", ">", 0.85)
