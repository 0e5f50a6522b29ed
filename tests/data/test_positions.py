"""Times that are positions in a user's own history are told apart from moments, and never cut by one."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from interlingua.data.clean import CleanConfig
from interlingua.data.prepare import FilterConfig, SplitConfig, prepare, save
from interlingua.errors import DataError


def events(start=0, users=4, per_user=5, **columns):
    rows = [(f"u{u}", f"i{(u + n) % 7}", start + n) for u in range(users) for n in range(per_user)]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return frame.with_columns(**columns)


GLOBAL = SplitConfig(name="global-time")


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("unit", ["auto", "s"])
def test_positions_are_found_in_anybodys_data_and_refuse_a_moment(start, unit):
    clean = CleanConfig(time_unit=unit)
    world = prepare(events(start), clean=clean, quiet=True)
    assert world.card["time"]["times"] == "positions"
    assert world.card["time"]["kind"] == "order"
    with pytest.raises(DataError, match=r"positions in each user's own history.*leave-one-out"):
        prepare(events(start), clean=clean, split=GLOBAL, quiet=True)


def test_days_since_a_beginning_are_no_positions_and_may_be_taken_for_moments():
    days = events().with_columns(time=pl.Series(np.random.default_rng(0).integers(0, 300, 20)))
    assert prepare(days, quiet=True).card["time"]["times"] == "order"
    with pytest.raises(DataError, match=r"only an order.*clean\.time_unit"):
        prepare(days, split=GLOBAL, quiet=True)
    assert len(prepare(days, split=GLOBAL, clean=CleanConfig(time_unit="s"), quiet=True).split.test)


def test_no_times_are_named_so():
    world = prepare(events().drop("time"), quiet=True)
    assert world.card["time"]["times"] == "rows"
    with pytest.raises(DataError, match="no times, only an order of rows"):
        prepare(events().drop("time"), split=GLOBAL, quiet=True)


def test_filters_that_make_gaps_do_not_hide_what_the_times_are(tmp_path):
    world = prepare(events(), filter=FilterConfig(min_item=3), quiet=True)
    assert world.card["time"]["times"] == "positions"
    save(world, tmp_path / "d")
    with pytest.raises(DataError, match="positions in each user's own history"):
        prepare(str(tmp_path / "d"), split=GLOBAL, quiet=True)


@pytest.mark.data
@pytest.mark.parametrize("name", ["amazon-beauty-2014", "ml-1m"])
def test_datasets_of_positions_say_so(data_root, name):
    raw = pl.read_parquet(data_root / name / "interactions.parquet").drop("split", strict=False)
    assert prepare(raw, quiet=True).card["time"]["times"] == "positions"  # found, without the folder's word
    with pytest.raises(DataError, match="positions in each user's own history"):
        prepare(name, split=GLOBAL, quiet=True)
