"""Times and columns of events after training: read as prepared data reads them, or refused in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tests.runs.new_items_world import RECIPES, Make

from interlingua.errors import DataError
from interlingua.runs.event_times import of_future

SECONDS = [1704067200.0, 1704067201.5]


def test_more_than_a_day_ahead_is_noted_to_the_second() -> None:
    now = 1704067200.0  # 2024-01-01
    assert of_future([None, now, now + 24 * 3600], now) == ""
    note = of_future([None, now + 24 * 3600 + 1, now], now)
    assert note.startswith("the time of 1 of 3 events is more than a day ahead (e.g. 2024-01-02)")


@pytest.mark.parametrize(
    "times",
    [
        SECONDS, list(map(str, SECONDS)), ["2024-01-01", "1704067201.5"],
        ["2024-01-01 00:00:00", " 2024-01-01T00:00:01.5Z"],
        [datetime(2024, 1, 1), datetime(2024, 1, 1, 0, 0, 1, 500_000)],
    ],
)  # fmt: skip
def test_times_of_events_are_seconds_or_dates(make: Make, times: list[Any]) -> None:
    made = make(RECIPES["textknn"])
    given = [{"user_id": "zoe", "item_id": "i3", "time": each} for each in [*times, None]]
    for batch in (given, pl.DataFrame(given), pd.DataFrame(given).assign(rating=[1.0, 2.0, np.nan])):
        made.add_events(batch)
        assert [each.time for each in made._events.of_user.pop("zoe")] == [*SECONDS, None]


@pytest.mark.parametrize("time", [-1, 1e300, 1704067200_000, "yesterday", "", "2024-02-30", True, float("inf")])
def test_times_that_are_none_are_refused(make: Make, time: Any) -> None:
    made = make(RECIPES["textknn"])
    with pytest.raises(DataError, match=r"event 2 of 2: when is .*; give seconds since 1970"):
        made.add_events([{"user_id": "zoe", "item_id": "i3", "when": each} for each in (None, time)])


def test_a_mistyped_column_of_events_is_an_error_and_an_unknown_item_a_note(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made, event = make(RECIPES["textknn"]), {"user_id": "zoe", "item_id": "i3"}
    for given in ([event | {"raitng": 5}], pl.DataFrame([event | {"raitng": 5}])):
        with pytest.raises(DataError, match=r"unknown column 'raitng' in events; did you mean 'rating'.*user_id"):
            made.add_events(given)
    assert "zoe" not in made._events.of_user
    capsys.readouterr()
    assert made.add_events([event, event | {"item_id": "later"}]) == 2
    assert "1 of 2 events are of items that the run does not know ('later')" in capsys.readouterr().err
    made.add_events(event)
    found = made.enter([event, event | {"item_id": "later"}])
    assert (found.added, found.unknown) == (2, ["later"])
    assert [note.split(" (")[0] for note in found.notes] == ["1 of 2 events are of items that the run does not know"]
    assert "note" not in capsys.readouterr().err
