"""Labels and times: liked events are what events always were, the others are kept beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.scorer import Scorer
from interlingua.data.interactions import Interactions
from interlingua.data.prepare import load, prepare, save
from interlingua.data.queries import PAD
from interlingua.errors import DataError
from interlingua.evaluate.metrics.auc import auc
from interlingua.evaluate.metrics.uauc import user_auc
from interlingua.evaluate.protocol import evaluate
from interlingua.recommender import Recommender
from interlingua.runs import stages
from interlingua.training.batches import last_position_batches, pair_batches, sequence_batches
from interlingua.training.labelled import labelled_batches

USERS = 12


def frame() -> pl.DataFrame:
    """Twelve users, eight events each at their own times, rated 1 to 5."""
    rng = np.random.default_rng(5)
    user = np.repeat(np.arange(USERS), 8)
    item = np.concatenate([rng.permutation(15)[:8] for _ in range(USERS)])
    return pl.DataFrame(
        {
            "user_id": [f"u{n:02d}" for n in user],
            "item_id": [f"i{n:02d}" for n in item],
            "timestamp": 1_600_000_000 + rng.permutation(len(user)),
            "rating": rng.integers(1, 6, len(user)).astype(float),
        }
    )


def pairs_of(events: Interactions) -> set[tuple[str, str]]:
    return {(str(events.user_ids[u]), str(events.item_ids[i])) for u, i in zip(events.users, events.items, strict=True)}


def test_what_was_not_liked_is_no_target_no_history_and_no_training_event_but_kept() -> None:
    data = prepare(frame(), label={"at_least": 4}, split="global-time", quiet=True)
    liked = {(r["user_id"], r["item_id"]) for r in frame().iter_rows(named=True) if r["rating"] >= 4}
    split = data.split
    assert pairs_of(split.train) <= liked
    assert split.train.labels is None
    assert split.train.labelled is not None
    assert split.train.labelled.labels is not None
    assert not split.train.labelled.labels.all()
    assert pairs_of(split.train.labelled.liked()) == pairs_of(split.train)
    pairs = split.pairs("test")
    assert pairs.labels is not None
    assert 0 < pairs.labels.sum() == len(split.test.items) < len(pairs.items)
    assert len(split.train.labelled) + len(pairs.items) + len(split.pairs("valid").items) == frame().height
    assert "liked: rating >= 4" in data.card["reading"]["labels"]


def test_labels_come_back_from_disk_and_belong_to_the_fingerprint(tmp_path) -> None:
    data = prepare(frame(), label={"at_least": 4}, split="global-time", quiet=True)
    other = prepare(frame(), label={"at_least": 3}, split="global-time", quiet=True)
    assert data.fingerprint != other.fingerprint != prepare(frame(), split="global-time", quiet=True).fingerprint
    back = load(save(data, tmp_path / "made"))
    np.testing.assert_array_equal(back.split.pairs("test").labels, data.split.pairs("test").labels)
    np.testing.assert_array_equal(back.interactions.labels, data.interactions.labels)


@pytest.mark.parametrize("values", [[1, 0], [True, False], ["yes", "no"], [1.0, 0.0], ["1", "-1"]])
def test_a_column_of_labels(values) -> None:
    given = frame().with_columns(pl.Series("clicked", [values[n % 2] for n in range(USERS * 8)], strict=False))
    data = prepare(given, columns={"label": "clicked"}, split="global-time", quiet=True)
    assert data.interactions.labels is not None
    assert data.interactions.labels.sum() == USERS * 4
    assert data.interactions.ratings is not None
    assert prepare(given, split="global-time", quiet=True).interactions.labels is None  # nobody asked


@pytest.mark.parametrize(
    ("label", "columns", "drop", "words"),
    [
        ({"at_least": 4}, {}, "rating", "columns.rating"),
        ({}, {}, None, "no column of labels"),
        ({"at_least": 0}, {}, None, "tell nothing apart"),
        (None, {"label": "rating"}, None, "data.label.at_least"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_in_words(label, columns, drop, words) -> None:
    given = frame() if drop is None else frame().drop(drop)
    with pytest.raises(DataError, match=words):
        prepare(given, label=label, columns=columns, quiet=True)


def test_without_labels_the_pairs_are_refused_with_the_remedy() -> None:
    split = prepare(frame(), quiet=True).split
    with pytest.raises(DataError, match=r"data.label.at_least=4"):
        split.pairs("test")
    with pytest.raises(DataError, match=r"data.label.at_least=4"):
        next(labelled_batches(split.train, FitConfig(epochs=1), np.random.default_rng(0)))


def when(train: Interactions) -> dict[tuple[int, int], int]:
    return {(int(u), int(i)): int(t) for u, i, t in zip(train.users, train.items, train.times, strict=True)}


def test_queries_know_when_each_event_of_a_history_was() -> None:
    data = prepare(frame(), quiet=True)
    events = when(data.interactions)
    queries = data.split.queries("test")  # the validation event stands behind the history, with its time
    for row in range(len(queries)):
        user, times = int(queries.users[row]), queries.history_times(row)
        assert times is not None
        assert times.tolist() == [events[user, int(i)] for i in queries.history(row)]
    part = queries.take(np.array([3, 1])).slice(1, 2)
    np.testing.assert_array_equal(part.history_times(0), queries.history_times(1))
    assert data.split.test.take(np.array([2])).times == [events[2, int(data.split.test.of_row(2)[0])]]


def check_times(batch: Batch, events: dict[tuple[int, int], int]) -> None:
    """Every item's time stands where the item stands."""
    for items, times in ((batch.positives, batch.times), (batch.histories, batch.history_times)):
        if items is None:
            continue
        assert times is not None
        assert times.shape == items.shape
        for user, own, at in zip(batch.users.tolist(), items.tolist(), times.tolist(), strict=True):
            row = zip(own, at, strict=True) if isinstance(own, list) else [(own, at)]
            assert all(t == (0 if i == PAD else events[user, i]) for i, t in row)


def test_batches_know_when_each_event_was() -> None:
    train = prepare(frame(), quiet=True).split.train
    events, rng = when(train), np.random.default_rng(0)
    for batches in (
        pair_batches(train, FitConfig(epochs=1, batch_size=16), rng),
        sequence_batches(train, 4, 5, rng),
        last_position_batches(train, 4, 5, rng, all_positions=True),
    ):
        for batch in batches:
            check_times(batch, events)
            assert batch.labels is None
            assert batch.to("cpu").times is not None


def test_labelled_batches_hold_every_event_once_with_the_liked_ones_before_it() -> None:
    train = prepare(frame(), label={"at_least": 4}, split="global-time", quiet=True).split.train
    labelled = train.labelled
    assert labelled is not None
    assert labelled.labels is not None
    events, labels = when(labelled), dict(zip(when(labelled), labelled.labels.tolist(), strict=True))
    seen = []
    for batch in labelled_batches(train, FitConfig(epochs=1, batch_size=7), np.random.default_rng(0), max_history=3):
        check_times(batch, events)
        assert batch.labels is not None
        assert batch.histories is not None
        for user, item, label, history in zip(
            batch.users.tolist(), batch.positives.tolist(), batch.labels.tolist(), batch.histories.tolist(), strict=True
        ):
            seen.append((user, item))
            assert label == labels[user, item]
            before = [i for (u, i), t in sorted(events.items(), key=lambda e: e[1])
                      if u == user and t < events[user, item] and labels[u, i]]  # fmt: skip
            assert [i for i in history if i != PAD] == before[-3:]
    assert sorted(seen) == sorted(events)


class ByRow(Scorer):
    """Scores every item by its row, and tells users apart."""

    num_items = 15

    def score(self, queries, items=None):
        rows = np.broadcast_to(np.arange(self.num_items, dtype=np.float32), (len(queries), self.num_items))
        return rows.copy() if items is None else np.take_along_axis(rows, items, axis=1) + 0.1 * queries.users[:, None]


def test_the_protocol_labelled_scores_each_pair_once() -> None:
    half = {"name": "global-time", "valid": 0.1, "test": 0.5}
    split = prepare(frame(), label={"at_least": 5}, split=half, quiet=True).split
    pairs = split.pairs("test")
    report = evaluate(ByRow(), split, protocol="labelled", batch_users=5)
    scores = pairs.items + 0.1 * pairs.users[pairs.owners]
    assert pairs.labels is not None
    assert report.metrics["auc"] == pytest.approx(auc(pairs.labels, scores))
    own = user_auc(pairs.owners, pairs.labels, scores, len(pairs))
    assert np.isnan(own).any()
    assert report.metrics["uauc"] == pytest.approx(np.nanmean(own))
    assert report.n_targets == len(pairs.items)
    assert report.intervals["uauc"][0] <= report.metrics["uauc"] <= report.intervals["uauc"][1]
    assert report.protocol.startswith("labelled; split=global-time")


def test_a_run_measures_labels_and_lists_and_its_leaderboard_and_page_show_them(tmp_path) -> None:
    from interlingua.report.html import write_report
    from interlingua.report.runs_page import page_of
    from interlingua.runs.leaderboard import leaderboards

    sets = [
        "data.label.at_least=3",
        "data.split={name='global-time', test=0.5}",
        'evaluate.protocols=["full","labelled"]',
    ]
    sets += ['evaluate.metrics=["coverage@3","gini@3","auc"]']
    paths = [stages.run(name, data=frame(), overrides=sets, out=tmp_path / "runs").path for name in ("pop", "itemknn")]
    boards = {board.protocol.split(";")[0]: board for board in leaderboards(paths)}
    assert boards["full"].metrics == ("ndcg@10", "coverage@3", "gini@3")
    assert {"auc", "uauc", "log-loss"} == set(boards["labelled"].metrics)
    low = leaderboards(paths, metrics=["gini@3"])[0]
    assert low.entries[0].metrics["gini@3"] <= low.entries[1].metrics["gini@3"]  # lower is better
    page = tmp_path / "page.html"
    write_report(page, page_of(paths, metrics=["gini@3"]))
    text = page.read_text(encoding="utf-8")
    assert "lowest Gini@3" in text


def test_answers_read_what_was_liked_as_history_and_leave_out_all_that_was_rated(tmp_path: Path) -> None:
    sets = ["data.label.at_least=4", "data.filter={min_user=0, min_item=0}", "data.split=global-time"]
    sets.append('evaluate.protocols=["full"]')
    session = stages.run("itemknn", data=frame(), out=tmp_path, overrides=sets, device="cpu")
    recommender = Recommender(session)
    kept = session.data.interactions
    assert kept.labels is not None
    for row, user in enumerate(kept.user_ids.tolist()):
        mine = kept.users == row
        liked = [str(kept.item_ids[item]) for item in kept.items[mine][kept.labels[mine]]]
        rated = [str(kept.item_ids[item]) for item in kept.items[mine]]
        expected = recommender.recommend(history=liked, k=5, exclude=rated)
        assert recommender.recommend(user, k=5) == expected
