from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlingua.data.describe import BAR_WIDTH, bar, describe, gini, head_share, histogram, render
from interlingua.data.prepare import FilterConfig, SplitConfig, prepare
from interlingua.data.sources import planted
from interlingua.errors import DataError
from interlingua.report.plots import growing_edges, write_plots

T = 1_500_000_000


def made(rows, items=None, **more):
    events = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    source = {"interactions": events} if items is None else {"interactions": events, "items": items}
    return prepare(source, quiet=True, **more)


def test_histogram_by_hand():
    assert histogram(np.array([1, 1, 2, 3, 4, 5, 9, 12])) == [("1", 2), ("2", 1), ("3-4", 2), ("5-9", 2), ("10-19", 1)]
    assert histogram(np.array([0, 3])) == [("0", 1), ("1", 0), ("2", 0), ("3-4", 1)]
    assert histogram(np.array([], np.int64)) == []


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=50))
def test_histogram_counts_everything_once(counts):
    assert sum(n for _, n in histogram(np.array(counts))) == len(counts)


def test_gini_and_head_share_by_hand():
    assert gini(np.array([5, 5, 5, 5])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.array([1, 2, 3])) == pytest.approx(2 / 9)
    assert gini(np.zeros(3, np.int64)) == 0
    assert head_share(np.array([6, 1, 1, 1, 1]), 0.2) == pytest.approx(0.6)


def test_bars_grow_and_never_vanish():
    assert bar(0) == ""
    assert bar(1e-9) == "▏"
    assert bar(1.0) == "█" * BAR_WIDTH
    assert bar(0.5) == "█" * (BAR_WIDTH // 2)


def test_numbers_of_a_small_world():
    items = pl.DataFrame({"item": ["x", "y"], "title": ["Same", "Same"], "description": [None, "four"]})
    rows = [("a", "x", T), ("a", "y", T + 1), ("a", "z", T + 1), ("b", "x", T + 86400), ("c", "q", T)]
    facts = describe(made(rows, items))
    assert (facts["users"], facts["items"], facts["events"]) == (3, 4, 5)
    assert facts["density"] == pytest.approx(5 / 12)
    assert facts["parts"] == {"train": 3, "valid": 1, "test": 1, "unused": 0}
    assert facts["history_length"]["histogram"] == [("1", 2), ("2", 0), ("3-4", 1)]
    assert facts["time"]["days"] == 1
    assert facts["time"]["first"].startswith("2017-07-14T02:40:00")
    assert facts["texts"]["coverage"] == {"title": 0.5, "description": 0.25, "categories": 0}
    assert facts["texts"]["mean_characters"]["title"] == 4
    assert facts["cold"]["items_without_train_event"] == 2
    assert facts["cold"]["test_events_on_them_share"] == 1
    assert facts["cold"]["users_with_one_event"] == 2


def warnings(*arguments, **more):
    return "\n".join(describe(made(*arguments, **more))["warnings"])


def test_warnings_say_what_is_wrong():
    rows = [("a", "x", T), ("a", "y", T + 1), ("a", "z", T + 1), ("b", "x", T + 9)]
    text = warnings(rows, pl.DataFrame({"item": ["x", "y"], "title": ["Same", "Same"]}))
    assert "ties in time: for 1 users" in text
    assert "1 users have one event" in text
    assert "2 items share their title" in text
    assert "only 66.7% of the items have a title" in text
    assert "leak in time: 100%" in text  # b's event is later than a's target


def test_a_repeated_item_is_a_leak_only_where_duplicates_are_kept():
    rows = [("a", "x", T), ("a", "y", T + 1), ("a", "z", T + 2), ("a", "x", T + 3)]
    kept = warnings(rows, filter=FilterConfig(duplicates="keep"))
    assert "1 test events repeat an item of the user's own history" in kept
    assert "test events repeat an item" not in warnings(rows)


def test_global_time_has_no_leak_in_time():
    rows = [(u, f"i{n}", T + 10 * n + k) for k, u in enumerate("abc") for n in range(10)]
    assert "leak in time" not in warnings(rows, split=SplitConfig(name="global-time", valid=0.2, test=0.2))
    later = [("d", f"i{n}", T + 1000 + n) for n in range(5)]
    assert "leak in time: 75%" in warnings(rows + later)  # d trains after a, b and c are tested


def test_an_empty_test_part_is_said():
    assert "test part is empty" in warnings([("a", "x", T), ("b", "y", T)])


def test_the_text_shows_what_was_found_and_json_holds_it():
    facts = describe(planted.generate(50, 40, seed=1))
    text = render(facts)
    for piece in ("50 users, 40 items", "events of a user", "events of an item", "Gini", "█", "cold:", "title"):
        assert piece in text
    assert json.loads(json.dumps(facts))["users"] == 50


def test_order_only_and_decisions_are_shown():
    facts = describe(made([("a", "x", 0), ("a", "x", 1), ("a", "y", 2)]))
    text = render(facts)
    assert "only the order" in text
    assert "repeated (user, item) pairs, the first event of each kept: 1" in text


def svg_lines(path):
    """(x, y) pixels of every curve in a file, without its legend."""
    found = [e for e in ElementTree.parse(path).getroot().iter() if e.get("class") == "line"]
    points = [[tuple(map(float, p.split())) for p in e.get("d")[1:].split("L")] for e in found if "L" in e.get("d")]
    return [np.array(p) for p in points]


def test_plots_are_pictures_of_the_counts_and_the_same_each_time(tmp_path):
    world = planted.generate(50, 40, seed=1)
    written = write_plots(world, tmp_path / "one")
    assert [p.name for p in written] == ["history-length.svg", "popularity.svg", "time.svg"]
    (histogram,) = svg_lines(written[0])
    lengths, bins = world.interactions.user_counts, growing_edges(int(world.interactions.user_counts.max()))
    tallest = np.histogram(lengths, bins=bins)[0].argmax()
    assert set(np.flatnonzero(histogram[:, 1] == histogram[:, 1].min())) == {2 * tallest, 2 * tallest + 1}
    assert len(svg_lines(written[1])) == 2  # the least popular items apart
    assert len(svg_lines(written[2])) == 3  # train, valid, test
    assert "median" in written[0].read_text(encoding="utf-8")
    write_plots(world, tmp_path / "two")
    assert (tmp_path / "one" / "time.svg").read_bytes() == (tmp_path / "two" / "time.svg").read_bytes()


def test_the_time_axis_names_days_or_months(tmp_path):
    def words(*days):
        rows = [(user, f"i{n}", T + 86_400 * day) for user in "ab" for n, day in enumerate(days)]
        write_plots(made(rows), tmp_path)
        return (tmp_path / "time.svg").read_text(encoding="utf-8")

    day = str(np.datetime64(T, "s").astype("datetime64[Y]"))
    assert re.search(rf">{day}-\d\d-\d\d<", words(0, 9, 30))
    assert re.search(rf">{day}-\d\d<", words(0, 200, 900))


def test_plots_of_an_order_have_no_time_and_unwritable_folders_are_errors(tmp_path):
    data = made([("a", "x", 0), ("a", "y", 1), ("a", "z", 2)])
    assert len(write_plots(data, tmp_path)) == 2
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write plots"):
        write_plots(data, tmp_path / "file" / "plots")
