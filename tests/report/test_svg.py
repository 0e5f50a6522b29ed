"""Charts: positions follow the numbers, every value is readable, odd input does not break the picture."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.report.svg import Line, Value, bar_chart, line_chart, number

NS = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [t.text for t in ElementTree.fromstring(svg).iter(f"{NS}text")]


def test_bars_are_as_long_as_their_values():
    svg = bar_chart("t", [("g", [("a", Value(0.2)), ("b", Value(0.4)), ("c", Value(0.1, 0.05, 0.15))])], main="b")
    bars = [(r.get("class"), float(r.get("width"))) for r in ElementTree.fromstring(svg).iter(f"{NS}rect")]
    assert bars[1][1] == pytest.approx(2 * bars[0][1], abs=0.2)
    assert bars[2][1] == pytest.approx(bars[0][1] / 2, abs=0.2)
    assert [kind for kind, _ in bars] == ["bar", "bar main", "bar"]
    assert {"a", "b", "c", "g", ".2000", ".4000", ".1000"} <= set(texts(svg))


def test_log_axes_are_straight_for_power_laws():
    svg = line_chart("t", [Line("a", [1, 10, 100], [1000, 100, 10])], x_label="x", y_label="y", log_x=True, log_y=True)
    path = next(p for p in ElementTree.fromstring(svg).iter(f"{NS}path") if p.get("class") == "line")
    points = [tuple(map(float, p.split())) for p in path.get("d")[1:].split("L")]
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.2)
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.2)
    assert {"1", "10", "100", "1,000"} <= set(texts(svg))


def test_an_axis_can_name_its_positions():
    svg = line_chart("t", [Line("a", [0, 400], [1, 2])], x_label="x", y_label="y", x_names=lambda x: f"day {x:.0f}")
    assert {"day 0", "day 400"} <= set(texts(svg))


def test_missing_values_are_said():
    assert "not measured" in texts(bar_chart("t", [("", [("a", Value(None))])]))


def test_a_standalone_file_has_its_colours_for_light_and_dark():
    svg = bar_chart("t", [("", [("a", Value(1.0))])], standalone=True)
    assert "prefers-color-scheme: dark" in svg
    assert "<style>" not in bar_chart("t", [("", [("a", Value(1.0))])])


def test_names_are_escaped_and_cut():
    svg = bar_chart("<b>&", [("<i>", [("<script>" + "x" * 100, Value(1.0))])], description='"quoted" <')
    ElementTree.fromstring(svg)
    assert "<script>" not in svg
    assert any(t and t.endswith("…") for t in texts(svg))


finite = st.floats(-1e6, 1e6, allow_nan=False)
some = st.one_of(finite, st.just(math.nan), st.just(math.inf))


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(finite, max_size=5),
    lines=st.lists(st.lists(st.tuples(some, some), max_size=6), max_size=8),
    log=st.booleans(),
)
def test_any_numbers_give_valid_xml_without_nan(values, lines, log):
    rows = [(f"m{i}", Value(v, v - 1, v + 1)) for i, v in enumerate(values)]
    curves = [Line(f"l{i}", [x for x, _ in p], [y for _, y in p]) for i, p in enumerate(lines)]
    charts = (
        bar_chart("t", [("g", [(n, Value(abs(v.value))) for n, v in rows])]),
        line_chart("t", curves, x_label="x", y_label="y", log_x=log, log_y=log),
    )
    for chart in charts:
        ElementTree.fromstring(chart)
        assert "nan" not in chart.replace("finance", "")
        assert "inf" not in chart


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.0, "0"),
        (0.123456, ".1235"),
        (-0.5, "-.5000"),
        (3.14159, "3.14"),
        (12345.0, "12,345"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text
