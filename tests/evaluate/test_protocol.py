"""Ranks by counting against sorting, sampled candidates, sealing, and what evaluate promises."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.contracts.scorer import Scorer, TableScorer
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.data.split import GroundTruth, Split
from interlingua.errors import ConfigError, DataError
from interlingua.evaluate.protocol import evaluate, validation_metrics
from interlingua.evaluate.rules import parse_protocol
from interlingua.retrieval.positions import BEYOND, NEVER


class Scores(Scorer):
    """A scorer that reads its scores from a matrix with one row per user, and remembers what it was asked."""

    def __init__(self, table):
        self.table = np.asarray(table, np.float32)
        self.num_items = self.table.shape[1]
        self.asked = []
        self.blocks = []

    def score(self, queries, items=None):
        self.blocks.append(len(queries))
        rows = self.table[queries.users]
        if items is None:
            return rows
        self.asked.extend(zip(queries.users.tolist(), items.tolist(), strict=True))
        return np.take_along_axis(rows, items, 1)


def make_split(histories, valid, test, num_items, **options):
    users = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    items = np.array([i for h in histories for i in h], np.int64)
    ids = np.array([f"u{u}" for u in range(len(histories))]), np.array([f"i{i}" for i in range(num_items)])

    def targets(rows):
        pairs = [(u, i) for u, row in enumerate(rows) for i in row]
        return GroundTruth.of(np.array([u for u, _ in pairs], np.int64), np.array([i for _, i in pairs], np.int64))

    options = {"protocol": "leave-one-out"} | options
    return Split(Interactions.of(*ids, users, items), targets(valid), targets(test), **options)


def random_split(seed, users=40, items=30, repeats=True, several=False):
    rng = np.random.default_rng(seed)
    draw = [rng.integers(0, items, rng.integers(0, 8)).tolist() for _ in range(users)]
    valid = [rng.integers(0, items, 1).tolist() for _ in range(users)]
    test = [rng.integers(0, items, rng.integers(0, 5) if several else 1).tolist() for _ in range(users)]
    if not repeats:
        test = [[t for t in row if t not in d + v] for row, d, v in zip(test, draw, valid, strict=True)]
    if not any(test):
        test[0] = [next(i for i in range(items) if i not in draw[0] + valid[0])]
    return make_split(draw, valid, test, items)


def sorted_ranks(table, split, masked="history"):
    """An independent implementation: build each user's whole list by sorting."""
    queries, targets = split.queries("test"), split.targets("test")
    out = []
    for row, user in enumerate(targets.users):
        seen = queries.history(row) if masked == "history" else split.train.history(user)
        order = [i for i in sorted(range(table.shape[1]), key=lambda i: (-table[user, i], i)) if i not in seen]
        unique = dict.fromkeys(targets.of_row(row).tolist())
        out += [order.index(target) + 1 if target in order else NEVER for target in unique]
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    several=st.booleans(),
    levels=st.sampled_from([2, 5, 1000]),
    name=st.sampled_from(["full", "rlmrec"]),
)
def test_counted_ranks_equal_sorted_lists(seed, several, levels, name):
    """Also with many ties, repeated histories, duplicate targets and targets that were seen before."""
    split = random_split(seed, several=several)
    table = np.random.default_rng(seed).integers(0, levels, (40, 30)).astype(np.float32)
    report = evaluate(Scores(table), split, protocol=name, batch_users=7, depth=30, slices=False, resamples=0)
    assert report.ranks.first.tolist() == sorted_ranks(table, split, "history" if name == "full" else "train")
    assert report.ranks.last.tolist() == report.ranks.first.tolist()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), several=st.booleans(), ties=st.sampled_from(["", "+expected"]))
def test_sampled_over_all_items_equals_full(seed, several, ties):
    split = random_split(seed, several=several)
    table = np.random.default_rng(seed).integers(0, 6, (40, 30)).astype(np.float32)
    names = ["recall@5", "ndcg@10", "hit@1", "mrr@10"]
    full = evaluate(Scores(table), split, protocol="full" + ties, metrics=names, resamples=0)
    sampled = evaluate(Scores(table), split, protocol="sampled-31" + ties, metrics=names, resamples=0)
    np.testing.assert_array_equal(full.ranks.first, sampled.ranks.first)
    np.testing.assert_array_equal(full.ranks.last, sampled.ranks.last)
    assert full.metrics == sampled.metrics


def test_hand_worked_full_ranking():
    """User 0 has seen 0 and (valid) 1; the target 3 is beaten by 2 only, since 0 and 1 cannot be recommended."""
    split = make_split([[0], [2]], [[1], []], [[3], [0]], 4)
    report = evaluate(Scores([[9, 8, 7, 5], [1, 1, 1, 1]]), split, metrics=["hit@1", "mrr@10", "ndcg@10"])
    assert report.ranks.first.tolist() == [2, 1]  # user 1: all equal, the lower row comes first
    assert report.metrics == {"hit@1": 0.5, "mrr@10": 0.75, "ndcg@10": pytest.approx((1 / np.log2(3) + 1) / 2)}
    train_only = evaluate(Scores([[9, 8, 7, 5], [1, 1, 1, 1]]), split, protocol="rlmrec", metrics=["hit@1"], depth=4)
    assert train_only.ranks.first.tolist() == [3, 1]


def test_expected_ties_of_a_constant_ranker():
    """Equal scores for 10 items: the target is at each of the places 1..10 with the same chance."""
    split = make_split([[]] * 3, [[]] * 3, [[0], [5], [9]], 10)
    flat = Scores(np.zeros((3, 10)))
    report = evaluate(flat, split, protocol="full+expected", metrics=["hit@1", "recall@5", "mrr@10"])
    harmonic = (1 / np.arange(1, 11)).mean()
    assert report.metrics == pytest.approx({"hit@1": 0.1, "recall@5": 0.5, "mrr@10": harmonic})
    assert "ties=expected" in report.protocol
    assert evaluate(flat, split, metrics=["hit@1"]).metrics["hit@1"] == pytest.approx(1 / 3)


def test_a_seen_target_is_never_recommended_and_said():
    split = make_split([[0, 1]], [[]], [[1]], 3)
    for name in ("full", "sampled-2"):
        report = evaluate(Scores([[0, 9, 0]]), split, protocol=name, metrics=["hit@3"])
        assert report.metrics["hit@3"] == 0
        assert any("1 of 1 targets" in w for w in report.warnings)


def test_duplicate_targets_count_once():
    split = make_split([[]], [[]], [[2, 2, 0]], 3)
    report = evaluate(Scores([[1, 2, 3]]), split, metrics=["recall@1", "recall@3", "map@3"])
    assert report.n_targets == 2
    assert report.metrics == {"recall@1": 0.5, "recall@3": 1.0, "map@3": pytest.approx((1 + 2 / 3) / 2)}


def test_cutoff_beyond_the_catalogue():
    split = make_split([[]], [[]], [[0]], 2)
    report = evaluate(Scores([[0, 1]]), split, metrics=["recall@50", "ndcg@50", "precision@50"])
    assert report.metrics == {"recall@50": 1, "ndcg@50": pytest.approx(1 / np.log2(3)), "precision@50": 1 / 50}


def test_candidates_do_not_depend_on_the_method_the_batch_or_the_other_users():
    split = random_split(3, users=60, items=500, repeats=False)
    one, two, three = (Scores(np.random.default_rng(s).random((60, 500))) for s in range(3))
    evaluate(one, split, protocol="sampled-20")
    evaluate(two, split, protocol="sampled-20", batch_users=5)
    report = evaluate(three, split, protocol="sampled-20", max_users=20)
    assert one.asked == two.asked
    assert set(map(str, three.asked)) < set(map(str, one.asked))
    assert len(three.asked) == report.n_users == 20
    other = Scores(one.table)
    evaluate(other, split, protocol="sampled-20", seed=1)
    assert other.asked != one.asked


@pytest.mark.parametrize("items", [25, 400])
def test_candidates_hold_the_target_once_and_nothing_seen(items):
    """25 items: rejection falls back to the exact draw; 400: the fast path."""
    split = random_split(5, users=80, items=items, repeats=False)
    scorer = Scores(np.zeros((80, items)))
    evaluate(scorer, split, protocol="sampled-20")
    queries, targets = split.queries("test"), split.test
    places = []
    for row, (user, candidates) in enumerate(scorer.asked):
        assert user == targets.users[row]
        seen, target = set(queries.history(row).tolist()), int(targets.of_row(row)[0])
        real = list(dict.fromkeys(candidates))
        assert len(real) == min(20, items - len(seen))
        assert candidates.count(target) == 1 or len(real) < 20
        assert not seen & set(real)
        places.append(candidates.index(target))
    assert len(set(places)) > 10  # the target's place tells nothing


def test_negatives_are_uniform():
    split = make_split([[0]] * 4000, [[]] * 4000, [[1]] * 4000, 300)
    scorer = Scores(np.zeros((4000, 300)))
    evaluate(scorer, split, protocol="sampled-20", slices=False, resamples=0)
    counts = np.bincount(np.array([c for _, row in scorer.asked for c in row]), minlength=300)
    assert counts[0] == 0
    assert counts[1] == 4000
    expected = 4000 * 19 / 298
    chi2 = ((counts[2:] - expected) ** 2 / expected).sum()
    assert chi2 < 297 + 5 * np.sqrt(2 * 297)


def test_a_chance_ranker_scores_one_in_twenty():
    split = make_split([[0]] * 4000, [[]] * 4000, [[1]] * 4000, 300)
    scorer = Scores(np.random.default_rng(0).random((4000, 300)))
    report = evaluate(scorer, split, protocol="sampled-20")
    low, high = report.intervals["hit@1"]
    assert low < 0.05 < high
    assert 0.01 < high - low < 0.02


def test_protocol_id_says_every_choice():
    split = random_split(0)
    scorer = Scores(np.zeros((40, 30)))
    assert evaluate(scorer, split).protocol == "full; split=leave-one-out; part=test; masked=history; ties=row"
    sampled = evaluate(scorer, split, "valid", protocol="sampled-20", seed=5, max_users=9).protocol
    assert sampled == (
        "sampled-20; split=leave-one-out; part=valid; masked=history; negatives=19-uniform-unseen; seed=5; ties=row; "
        "users=9 of 40 by seed 5"
    )


def test_the_sampled_warning_is_said_once_and_kept(capsys):
    from interlingua.evaluate import protocol

    protocol._say_once.cache_clear()
    split, scorer = random_split(0), Scores(np.zeros((40, 30)))
    reports = [evaluate(scorer, split, protocol="sampled-20") for _ in range(2)]
    assert capsys.readouterr().err.count("Krichene") == 1
    assert all("Krichene" in r.warnings[0] for r in reports)
    assert not any("Krichene" in w for w in evaluate(scorer, split).warnings)


def test_validation_never_opens_the_test_part():
    class Sealed(Split):
        def targets(self, part):
            assert part == "valid", "the test part was opened"
            return super().targets(part)

    open_split = random_split(1)
    sealed = Sealed(**{**open_split.__dict__, "test": None})
    assert set(validation_metrics(Scores(np.zeros((40, 30))), sealed)) >= {"ndcg@10", "hit@10", "recall@20"}


def test_results_do_not_depend_on_the_block_size():
    """Bitwise: integer scores leave no room for rounding."""
    split = random_split(8, users=200, items=50)
    table = np.random.default_rng(8).integers(0, 100, (200, 50))
    wanted = evaluate(Scores(table), split)
    for batch in (1, 13, 1000):
        got = evaluate(Scores(table), split, batch_users=batch)
        assert got.metrics == wanted.metrics
        assert got.intervals == wanted.intervals


def test_blocks_hold_as_many_users_as_were_asked_for():
    scorer = Scores(np.zeros((40, 30)))
    evaluate(scorer, random_split(0), batch_users=9)
    assert max(scorer.blocks) == 9


def test_scores_are_not_written_to():
    table = np.random.default_rng(0).random((40, 30)).astype(np.float32)
    table.setflags(write=False)
    evaluate(Scores(table), random_split(0))


@pytest.mark.parametrize(
    ("table", "error"),
    [(np.full((40, 30), np.nan), "NaN"), (np.zeros((40, 29)), "29 items"), (np.zeros((40, 31)), "31 items")],
)
def test_scores_that_cannot_be_ranked(table, error):
    with pytest.raises(DataError, match=error):
        evaluate(Scores(table), random_split(0))


def test_infinite_scores_are_ranked():
    split = make_split([[]] * 2, [[]] * 2, [[0], [2]], 3)
    table = [[-np.inf, np.inf, -np.inf], [np.inf, -np.inf, np.inf]]
    assert evaluate(Scores(table), split).ranks.first.tolist() == [2, 2]


def test_wrong_shape_is_named():
    class Flat(Scores):
        def score(self, queries, items=None):
            return super().score(queries, items)[:, :5]

    with pytest.raises(DataError, match=r"Flat.score returned shape \(40, 5\)"):
        evaluate(Flat(np.zeros((40, 30))), random_split(0))


def test_nothing_to_evaluate():
    with pytest.raises(DataError, match="no user"):
        evaluate(Scores(np.zeros((1, 3))), make_split([[0]], [[]], [[]], 3))


@pytest.mark.parametrize("name", ["ful", "sampled", "sampled-1", "sampled-x", "", "full+"])
def test_unknown_protocols(name):
    with pytest.raises(ConfigError, match="sampled-N"):
        parse_protocol(name)


@pytest.mark.parametrize("options", [{"max_users": 0}, {"batch_users": 0}, {"metrics": ["ndgc@10"]}, {"part": "tset"}])
def test_bad_options(options):
    with pytest.raises(ConfigError):
        evaluate(Scores(np.zeros((40, 30))), random_split(0), **options)


def test_slices_are_the_targets_they_name():
    """Items 0..9 with 0..9 training events; target of user u is item u."""
    histories = [[i for i in range(10) if i > u] for u in range(10)]
    report = evaluate(Scores(np.zeros((10, 10))), make_split(histories, [[]] * 10, [[u] for u in range(10)], 10))
    sizes = {name: s.n_users for name, s in report.slices.items()}
    assert sizes == {
        "cold items": 3, "warm items": 3, "middle items": 4, "unseen items": 1, "cold users": 4,
        "history 0": 1, "history 1-2": 2, "history 3-5": 3, "history 6-10": 4,
        "events 0": 1, "events 1-2": 2, "events 3-5": 3, "events 6-10": 4,
    }  # fmt: skip
    whole = sum(s.n_users * s.metrics["mrr@10"] for n, s in report.slices.items() if n.startswith("history")) / 10
    assert whole == pytest.approx(report.metrics["mrr@10"])
    assert "up to 2 training events" in report.slices["cold items"].definition


def test_slices_keep_the_rank_among_all_items():
    """A user with a cold and a warm target: each slice sees its own, at the place it has in the one list."""
    split = make_split([[2, 2, 2], [2, 1], [2]], [[]] * 3, [[], [], [0, 1]], 3)
    report = evaluate(Scores([[0, 0, 0], [0, 0, 0], [5, 9, 7]]), split, metrics=["mrr@10"])
    assert report.slices["unseen items"].metrics == {"mrr@10": 0.5}
    assert report.metrics == {"mrr@10": 1.0}


def test_json_is_plain():
    report = evaluate(Scores(np.zeros((40, 30))), random_split(0))
    assert json.loads(json.dumps(report.to_json()))["metrics"] == report.metrics


def test_unknown_users_and_torch_tables():
    items = torch.eye(6)
    split = make_split([[0], [1]], [[], []], [[2], [3]], 6)
    scorer = TableScorer(items, lambda q: torch.stack([items[q.history(b)].sum(0) for b in range(len(q))]))
    assert evaluate(scorer, split).ranks.first.tolist() == [2, 3]
    assert scorer.score(Queries.of([[4]])).argmax() == 4


@pytest.mark.parametrize("depth", [None, 30])
@pytest.mark.parametrize("several", [False, True])
def test_a_table_is_ranked_as_its_scores_are(several, depth):
    split = random_split(4, several=several)
    generator = torch.Generator().manual_seed(3)
    users = torch.randn(split.train.num_users, 16, generator=generator)
    items = torch.randn(split.train.num_items, 16, generator=generator)
    table = TableScorer(items, lambda queries: users[torch.from_numpy(np.asarray(queries.users, np.int64))])

    class Plain(Scorer):
        num_items = table.num_items
        score = staticmethod(table.score)

    by_tiles, by_scores = (evaluate(each, split, "test", depth=depth) for each in (table, Plain()))
    np.testing.assert_array_equal(by_tiles.ranks.first, by_scores.ranks.first)
    assert by_tiles.metrics == by_scores.metrics


@pytest.mark.parametrize("protocol", ["full", "full+expected", "sampled-20", "rlmrec"])
def test_ranks_below_the_deepest_cut_off_are_not_told_apart_and_change_no_metric(protocol):
    table = np.random.default_rng(2).integers(0, 9, (40, 30)).astype(np.float32)
    split, names = random_split(6, several=protocol == "rlmrec"), ["ndcg@5", "mrr@3", "hit@1"]
    plain = evaluate(Scores(table), split, protocol=protocol, metrics=names, resamples=0)
    deep = evaluate(Scores(table), split, protocol=protocol, metrics=names, depth=30, resamples=0)
    shallow = evaluate(Scores(table), split, protocol=protocol, metrics=names, depth=1, resamples=0)
    assert plain.metrics == deep.metrics == shallow.metrics
    assert set(deep.ranks.first[deep.ranks.first < NEVER]) - set(range(1, 31)) == set()
    wanted = np.where((deep.ranks.first > 5) & (deep.ranks.first < NEVER), BEYOND, deep.ranks.first)
    np.testing.assert_array_equal(plain.ranks.first, wanted)
    assert (wanted == BEYOND).any()
