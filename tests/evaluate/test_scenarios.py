"""Scenarios that change one thing: negatives, the order of histories and of candidates, texts, events of the target."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua.contracts.scorer import Scorer
from interlingua.data.prepare import SplitConfig, prepare, prepare_raw
from interlingua.data.queries import Queries
from interlingua.data.raw import Log
from interlingua.data.sources.planted import PlantedConfig, generate, world
from interlingua.errors import ConfigError
from interlingua.evaluate.candidates import user_keys
from interlingua.evaluate.hard_negatives import matched, popular
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.rules import parse_protocol
from interlingua.evaluate.slices import event_bins
from interlingua.injection.title_scoring import presented

WORLD = generate(400, 120, seed=3, cold_share=0.0)
SPLIT = WORLD.split
COUNTS = SPLIT.train.item_counts


class Popularity(Scorer):
    def __init__(self, counts=COUNTS):
        self.counts, self.num_items = counts, len(counts)

    def score(self, queries, items=None):
        scores = np.broadcast_to(self.counts.astype(np.float32), (len(queries), self.num_items))
        return scores if items is None else np.take_along_axis(scores, items, 1)


class Constant(Scorer):
    num_items = SPLIT.train.num_items

    def score(self, queries, items=None):
        return np.zeros((len(queries), self.num_items) if items is None else items.shape, np.float32)


class Last(Scorer):
    """Items near the last one of the history, so that the order counts; or near the lowest one, so that it does not."""

    num_items = SPLIT.train.num_items

    def __init__(self, read):
        self.read = read

    def score(self, queries, items=None):
        at = np.array([self.read(queries.history(b)) if queries.lengths()[b] else 0 for b in range(len(queries))])
        scores = -np.abs(np.arange(self.num_items)[None, :] - at[:, None]).astype(np.float32)
        return scores if items is None else np.take_along_axis(scores, items, 1)


@pytest.mark.parametrize("name", ["sampled-20+expected", "popular-20", "matched-20", "sampled-50+expected"])
def test_a_scorer_of_constants_gets_exactly_chance(name):
    report = evaluate(Constant(), SPLIT, protocol=name, metrics=["hit@1", "hit@10"], resamples=0)
    candidates = parse_protocol(name).candidates
    assert report.metrics["hit@1"] == pytest.approx(1 / candidates)
    assert report.metrics["hit@10"] == pytest.approx(10 / candidates)


def by_popularity(num_items=200, users=500):
    """Everybody chooses by popularity alone."""
    chance = 1 / np.arange(10, num_items + 10)
    draw, random = chance / chance.sum(), np.random.default_rng(2)
    chosen = [random.choice(num_items, 8, replace=False, p=draw) for _ in range(users)]
    random_ids = random.permutation(num_items)  # an item's index must not tell how popular it is
    frame = {
        "user": np.repeat([f"u{n}" for n in range(users)], 8),
        "item": [f"i{random_ids[item]:03d}" for row in chosen for item in row],
        "time": np.tile(np.arange(8), users),
    }
    return prepare(frame, quiet=True).split


def test_popularity_is_worth_less_against_popular_items_and_nothing_against_equally_popular_ones():
    split = by_popularity()
    scorer = Popularity(split.train.item_counts)
    found = {
        name: evaluate(scorer, split, protocol=name, metrics=["hit@1"], resamples=0).metrics["hit@1"]
        for name in ("sampled-20+expected", "popular-20", "matched-20")
    }
    assert found["sampled-20+expected"] > 0.15
    assert found["popular-20"] < 0.5 * found["sampled-20+expected"]
    assert found["matched-20"] < 0.5 * found["sampled-20+expected"]


def test_popular_negatives_follow_the_training_events():
    keys = user_keys(np.array([f"u{n}" for n in range(6000)]), 1, "negatives")
    counts = np.array([8, 4, 2, 1, 0])
    first = np.array([row[0] for row in popular(keys, [np.zeros(0, int)] * 6000, counts, 2)])
    expected = 6000 * counts[:4] / counts.sum()
    seen = np.bincount(first, minlength=5)
    assert seen[4] == 0
    assert ((seen[:4] - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees of freedom, p = .001


def test_negatives_are_distinct_and_never_what_is_forbidden():
    keys = user_keys(np.array(["a", "b", "c"]), 1, "negatives")
    targets = [np.array([3]), np.array([0, 9]), np.array([5])]
    forbidden = [np.array([3, 4]), np.array([0, 9]), np.arange(8)]
    counts = np.arange(10)
    for drawn in (popular(keys, forbidden, counts, 5), matched(keys, targets, forbidden, counts, 5)):
        for row, banned in zip(drawn, forbidden, strict=True):
            assert len(np.unique(row)) == len(row) == min(5, 10 - len(banned))
            assert not np.isin(row, banned).any()


def test_matched_negatives_are_the_nearest_in_events():
    keys = user_keys(np.array(["a"]), 1, "negatives")
    counts = np.arange(100) * 10
    row = matched(keys, [np.array([50])], [np.array([50])], counts, 4)[0]
    assert np.abs(row - 50).max() <= 4  # twice as many as needed are looked at


def test_a_shuffled_history_has_the_same_items_and_only_readers_of_the_order_notice():
    by_last, by_lowest = Last(lambda h: h[-1]), Last(lambda h: h.min())
    names = ["full", "full+shuffled"]
    own, mixed = (evaluate(by_last, SPLIT, protocol=name, seed=4, resamples=0) for name in names)
    assert own.metrics != mixed.metrics
    assert "history=shuffled-seed4" in mixed.protocol
    assert "history" not in own.protocol.replace("masked=history", "")
    own, mixed = (evaluate(by_lowest, SPLIT, protocol=name, seed=4, resamples=0) for name in names)
    assert own.metrics == mixed.metrics


class Seen(Scorer):
    """Remembers what it was shown."""

    num_items = SPLIT.train.num_items

    def __init__(self):
        self.histories, self.users = [], []

    def score(self, queries, items=None):
        self.histories += [queries.history(b).tolist() for b in range(len(queries))]
        self.users += queries.users.tolist()
        return np.zeros((len(queries), self.num_items) if items is None else items.shape, np.float32)


@pytest.mark.parametrize(("variant", "cut"), [("last", slice(-1, None)), ("empty", slice(0, 0))])
def test_histories_are_cut_for_the_method_and_masked_whole(variant, cut):
    own, few = Seen(), Seen()
    reports = [
        evaluate(seen, SPLIT, protocol=name, batch_users=50, resamples=0)
        for seen, name in ((own, "sampled-20+expected"), (few, f"sampled-20+expected+{variant}"))
    ]
    assert few.histories == [history[cut] for history in own.histories]
    assert set(few.users) == {-1}
    assert reports[0].metrics == reports[1].metrics  # of constants: the same candidates
    assert f"history={variant}" in reports[1].protocol
    full = evaluate(Last(lambda h: 0), SPLIT, protocol="full", resamples=0)
    hidden = evaluate(Last(lambda h: 0), SPLIT, protocol=f"full+{variant}", resamples=0)
    assert full.metrics == hidden.metrics  # what the user has is masked all the same


def test_labelled_pairs_are_asked_with_the_same_histories():
    frame = {
        "user": [*"aaaaabbbbb"],
        "item": [*"vwxyzvwxyz"],
        "rating": [5, 1, 5, 1, 5, 1, 5, 5, 5, 1],
        "time": [*range(10)],
    }
    split = prepare(frame, label={"at_least": 4}, split={"name": "ratio", "by": "time", "test": 0.4}, quiet=True).split
    seen = Seen()
    seen.num_items = split.train.num_items
    evaluate(seen, split, protocol="labelled+empty", resamples=0)
    assert seen.histories == [[]] * len(seen.histories)
    assert seen.histories


def test_a_shuffled_history_does_not_hang_on_who_else_is_asked():
    scorer = Last(lambda h: h[-1])
    whole = evaluate(scorer, SPLIT, protocol="full+shuffled", seed=4, depth=120, resamples=0)
    few = evaluate(scorer, SPLIT, protocol="full+shuffled", seed=4, max_users=50, depth=120, batch_users=7, resamples=0)
    place = {int(user): n for n, user in enumerate(whole.users)}
    assert few.ranks.first.tolist() == [int(whole.ranks.first[place[int(user)]]) for user in few.users]


class FirstShown(Scorer):
    """A ranker that prefers what its prompt lists first."""

    num_items = SPLIT.train.num_items

    def score(self, queries, items=None):
        shown = presented(items, queries)
        place = {(b, int(item)): n for b, row in enumerate(shown) for n, item in enumerate(row)}
        return np.array([[-place[b, int(i)] for i in row] for b, row in enumerate(items)], np.float32)


def test_candidates_in_another_order_show_a_ranker_that_goes_by_places():
    own, other = (
        evaluate(FirstShown(), SPLIT, protocol=name, resamples=0, batch_users=64)
        for name in ("sampled-20", "sampled-20+permuted")
    )
    assert (own.ranks.first != other.ranks.first).mean() > 0.8
    assert "candidates-in-order=1" in other.protocol
    fair = [
        evaluate(Popularity(), SPLIT, protocol=name, resamples=0).metrics
        for name in ("sampled-20", "sampled-20+permuted")
    ]
    assert fair[0] == fair[1]


def test_another_order_lists_the_same_candidates():
    items, queries = np.array([[4, 9, 2, 7]]), Queries.of([[1, 2]])
    one, two = presented(items, queries), presented(items, Queries(**(vars(queries) | {"order": 1})))
    assert sorted(one[0]) == sorted(two[0]) == [2, 4, 7, 9]
    assert one.tolist() != two.tolist()


def test_bins_of_training_events_hold_every_target_once():
    bins = event_bins(np.array([0, 1, 2, 3, 5, 6, 10, 11, 20, 21, 50, 51, 9000]))
    assert [int(mask.sum()) for mask in bins.values()] == [1, 2, 2, 2, 2, 2, 2]
    assert list(bins) == [f"events {name}" for name in ("0", "1-2", "3-5", "6-10", "11-20", "21-50", "51+")]
    report = evaluate(Popularity(), SPLIT, protocol="sampled-20", metrics=["hit@1"], resamples=0)
    found = {name: each for name, each in report.slices.items() if name.startswith("events")}
    assert sum(each.n_targets for each in found.values()) == report.n_targets
    assert all("training events" in each.definition for each in found.values())


@pytest.mark.parametrize(("name", "said"), [("full+mixed", "unknown variant 'mixed'"), ("matched-1", "at least 2")])
def test_impossible_names_say_what_there_is(name, said):
    with pytest.raises(ConfigError, match=said):
        parse_protocol(name)


def test_variants_are_written_in_one_order():
    assert parse_protocol("sampled-20+shuffled+expected").name == "sampled-20+expected+shuffled"


def test_shuffled_texts_stay_whole_and_go_to_other_items():
    config = PlantedConfig(num_users=80, num_items=60)
    one, two = (
        prepare_raw(world(config, 1), split=SplitConfig(), seed=5, texts=texts, log=Log(quiet=True))
        for texts in ("own", "shuffled")
    )
    own, dealt = one.catalogue.items, two.catalogue.items
    assert own["item_id"].to_list() == dealt["item_id"].to_list()
    assert sorted(own.drop("item_id").rows(), key=str) == sorted(dealt.drop("item_id").rows(), key=str)
    assert (own["title"] == dealt["title"]).sum() < 10
    assert np.array_equal(one.split.test.items, two.split.test.items)
    assert one.fingerprint != two.fingerprint
    assert any("data.texts" in warning for warning in two.card["warnings"])
