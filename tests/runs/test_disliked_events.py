"""What a user did not like does not decide a list, where the run can tell; and what of events no list reads is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("sqlalchemy")

import interlingua
from interlingua.life.training_data import training_data
from interlingua.recommender import Recommender
from interlingua.runs.newcomers import STAGE
from interlingua.store import Event, ModelVersion, Store

SECOND = 1_700_000_000
USERS, ITEMS = 24, 16


def frame(columns: int, unit: int = 60) -> pl.DataFrame:
    """Users with six items side by side on a ring; of the first items more, so that popularity has an order."""
    found = [
        (f"u{user}", f"i{(user % 12 + place) % ITEMS}", SECOND + unit * place, float(user % 5) + 1)
        for user in range(USERS)
        for place in range(6)
    ]
    names = ["user_id", "item_id", "timestamp", "rating"]
    return pl.DataFrame([row[:columns] for row in found], names[:columns], orient="row")


def made(tmp_path: Path, columns: int = 4, **data: Any) -> Recommender:
    sections = {"backbone": {"name": "itemknn"}, "evaluate": {"protocols": ["full"]}, "data": data}
    session = interlingua.run(sections, data={"interactions": frame(columns)}, out=tmp_path / "runs", device="cpu")
    return interlingua.load(session, store=tmp_path / "store.db")


@pytest.mark.parametrize(
    ("columns", "data", "value"),
    [
        (4, {"label": {"at_least": 3}}, 0),
        (4, {"filter": {"min_rating": 3}}, 0),
        (4, {"filter": {"min_rating": 3}}, 2.5),
        (3, {}, 0),
    ],
)
def test_the_only_item_of_a_user_who_disliked_it_decides_nothing(
    tmp_path: Path, columns: int, data: dict[str, Any], value: float
) -> None:
    recommender = made(tmp_path, columns, **data)
    item, nobody = "i3", recommender.answer(history=[], k=5)
    recommender.add_events([{"user_id": "zoe", "item_id": item, "value": value}, {"user_id": "amy", "item_id": item}])
    found = recommender.answer("zoe", k=5)
    assert {each.stage for each in found.items} == {STAGE}
    ids = [each.item_id for each in found.items]
    assert item not in ids  # it does not come out again
    assert ids[:4] == [each.item_id for each in nobody.items if each.item_id != item][:4]
    assert [each.item_id for each in recommender.answer("amy", k=5).items] != ids


def test_a_run_trained_on_all_events_reads_a_low_rating_as_it_was_trained(tmp_path: Path) -> None:
    recommender = made(tmp_path)
    recommender.add_events([{"user_id": "zoe", "item_id": "i3", "value": 0}, {"user_id": "amy", "item_id": "i3"}])
    low, plain = (recommender.answer(user, k=5).items for user in ("zoe", "amy"))
    assert [each.item_id for each in low] == [each.item_id for each in plain]


@pytest.mark.parametrize(
    ("columns", "data", "said"),
    [
        (4, {}, "the value of 1 of 2 events is kept for later trainings, and no list reads it: this run was trained"),
        (4, {"label": {"at_least": 3}}, ""),
        (3, {}, ""),
        (2, {}, "the time of 1 of 2 events is kept for later trainings, and no list reads it: this run's data have no"),
    ],
)
def test_what_no_list_reads_of_events_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: int, data: dict[str, Any], said: str
) -> None:
    recommender = made(tmp_path, columns, **data)
    capsys.readouterr()
    recommender.add_events(
        [{"user_id": "zoe", "item_id": "i3", "value": 1, "time": SECOND}, {"user_id": "a", "item_id": "i1"}]
    )
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == bool(said)
    assert not said or notes[0].startswith(f"note: {said}")
    told = recommender.enter(
        [{"user_id": "amy", "item_id": "i3", "time": SECOND, "value": 1.0}]
        + [{"user_id": "amy", "item_id": item} for item in ("i1", "new")]
    ).notes
    assert "1 of 3 events are of items that the run does not know" in told[0]
    assert len(told) == 1 + bool(said)


def test_a_second_column_of_values_is_said_to_be_unread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, label={"at_least": 3}).add_events({"user_id": "zoe", "item_id": "i3", "label": 1, "rating": 4})
    assert "note: the column 'label' is not read: 'rating' says the value of an event" in capsys.readouterr().err


def test_no_liking_is_not_trained_on_where_the_source_has_no_ratings(tmp_path: Path) -> None:
    recommender = made(tmp_path, 3)
    session = recommender.session
    with Store.open(tmp_path / "shop.db") as store:
        store.add_events([Event("zoe", f"i{n}", None, value) for n, value in enumerate((1.0, 0.0, None, -1.0))])
        found = training_data(session.recipe.data, session.seed, store, session.data.catalogue)
    trained = found.tables["interactions"].filter(pl.col("user_id") == "zoe")
    assert trained["item_id"].to_list() == ["i0", "i2"]


def test_what_a_training_left_out_of_a_known_user_and_item_still_does_not_come_out(tmp_path: Path) -> None:
    """A disliked item, by a user whom the data know: no event of theirs has the pair."""
    recommender = made(tmp_path, 4, filter={"min_rating": 3})
    user = str(recommender.train.user_ids[0])
    had = {str(recommender.train.item_ids[row]) for row in recommender.train.queries(np.zeros(1, np.int64)).items}
    item = next(each.item_id for each in recommender.answer(user, k=3).items)
    assert item not in had
    store = Store.open(tmp_path / "later.db")
    store.add_events([Event(user, item, None, 1.0)])
    store.add_model(ModelVersion(recommender.version, "here", events=1))
    later = interlingua.load(recommender.session, store=store)
    assert item not in [each.item_id for each in later.answer(user, k=3).items]


def test_the_last_word_on_an_item_counts(tmp_path: Path) -> None:
    recommender = made(tmp_path, label={"at_least": 3})

    def stages(*values: float) -> set[str]:
        recommender.add_events([{"user_id": "zoe", "item_id": "i3", "value": value} for value in values])
        return {each.stage for each in recommender.recommend("zoe", k=5)}

    assert stages(0) == {STAGE}
    assert STAGE not in stages(5)
    assert stages(0) == {STAGE}
    user = str(recommender.train.user_ids[0])
    liked = [str(recommender.train.item_ids[row]) for row in recommender._lists.questions.liked.history(0)]
    recommender.add_events([{"user_id": user, "item_id": item, "value": 0} for item in liked])
    assert {each.stage for each in recommender.recommend(user, k=3)} == {STAGE}
