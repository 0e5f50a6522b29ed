"""Reasons of a whole run, by external ids: what is called liked, and on which score it rests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.explain.influence import Basis, influences
from interlingua.recommender import Recommender
from interlingua.runs import reasons
from interlingua.runs.stages import run
from interlingua.runtime.cancel import Cancellation, cancellable


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table like ml-100k: two groups of films; users rate what they watched from 1 to 5."""
    draws, rows = np.random.default_rng(0), []
    for user in range(40):
        own = draws.permutation(20)[:9] + 20 * (user % 2)
        other = draws.permutation(20)[:3] + 20 * (1 - user % 2)
        rows += [(f"u{user}", f"m{item}", int(draws.integers(1, 6)), step) for step, item in enumerate([*own, *other])]
    folder = tmp_path_factory.mktemp("rated")
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")
    frame.with_columns(pl.col("timestamp") + 1_000_000_000).write_csv(folder / "events.csv")
    return folder / "events.csv"


def recommender(data: Path | str, out: Path, recipe: str, *sets: str) -> Recommender:
    options = ("data.filter={min_user = 3, min_item = 3}", 'evaluate.protocols=["full"]', *sets)
    session = run(recipe, out=out, data=str(data), overrides=options, device="cpu")
    made = Recommender.load(session.done["evaluate"].path)
    return made


def test_nothing_that_was_disliked_is_called_liked(rated: Path, tmp_path: Path) -> None:
    made = recommender(rated, tmp_path, "itemknn")
    events = made.session.data.interactions
    assert events.ratings is not None
    liked = disliked_first = 0
    for user in made.train.user_ids.tolist():
        history = events.history(made.train.user_indices[user])
        own = events.ratings[events.offsets[made.train.user_indices[user]] :][: len(history)]
        said = dict(zip((events.item_ids[row] for row in history), own.tolist(), strict=True))
        best = made.recommend(user=user, k=2)
        for why in made.explain_items([one.item_id for one in best], user=user):
            assert all(each.rating == said[each.item_id] for each in why.support)
            low = [each for each in why.support if each.rating is not None and each.rating < max(own.mean(), 3.0)]
            assert not (why.liked and low)
            assert ("liked" in why.sentence) is why.liked
            liked += why.liked
        query = events.queries(np.array([made.train.user_indices[user]]))
        (measured,) = influences(made._lists.retriever[1], query, [made.item_row(best[0].item_id)])
        disliked_first += bool(own[int(np.argmax(measured.values))] < own.mean())
    assert liked > 20
    assert disliked_first > 5  # they would have been called liked


def test_a_strangers_history_was_chosen_not_liked(rated: Path, tmp_path: Path) -> None:
    made = recommender(rated, tmp_path, "itemknn")
    history = [str(item) for item in made.train.item_ids[:4]]
    (best,) = made.recommend(history=history, k=1)
    why = made.explain(best.item_id, history=history)
    assert why.support
    assert not why.liked
    assert "liked" not in why.sentence
    assert all(each.rating is None for each in why.support)


@pytest.mark.parametrize("recipe", ["itemknn", "textknn"])
def test_who_had_an_item_twice_has_the_same_reason(rated: Path, tmp_path: Path, recipe: str) -> None:
    titles = pl.DataFrame(
        {"item_id": [f"m{n}" for n in range(40)], "title": [f"film {n % 7} of {n % 5}" for n in range(40)]}
    )
    titles.write_csv(tmp_path / "items.csv")
    texts = [f"data.options.items={str(tmp_path / 'items.csv')!r}", "text={name = 'lsa', dim = 8}"]
    made = recommender(rated, tmp_path, recipe, *(texts if recipe == "textknn" else []))
    item = str(made.train.item_ids[0])
    best = made.recommend(history=[item], k=1)[0].item_id
    once, twice = (made.explain(best, history=[item] * times) for times in (1, 2))
    assert [each.item_id for each in once.support] == [item]
    assert (twice.sentence, twice.support) == (once.sentence, once.support)
    assert made.why_not(best, history=[item, item], k=1).most == tuple(once.support)
    made.add_events([{"user_id": "twice", "item_id": item}] * 2)
    assert made.explain(best, user="twice").support == once.support


def test_ratings_of_training_stay_known_when_newer_events_come(rated: Path, tmp_path: Path) -> None:
    made = recommender(rated, tmp_path, "itemknn")
    events, user = made.session.data.interactions, "u3"
    query = events.queries(np.array([made.train.user_indices[user]]))
    given = {str(events.item_ids[row]): float(r) for row, r in zip(query.items, query.history_ratings(0), strict=True)}
    new = next(str(item) for item in made.train.item_ids if item not in given)
    again, low = list(given)[-2:]
    anybody = made.query(history=[*given, new, again, low])  # the same items, of whom nobody knows a rating
    strange = made._lists.reasons
    best = made.recommend(history=[*given, new, again, low], k=3)
    assert not any(
        each.rating
        for one in made.explain_rows(anybody, [made.item_row(one.item_id) for one in best])
        for each in strange.with_ids(one, anybody).support
    )
    made.add_events([{"user_id": user, "item_id": new, "value": 5}, {"user_id": user, "item_id": again}])
    made.add_events([{"user_id": user, "item_id": low, "value": 1}])
    expected = given | {new: 5.0, low: 1.0}
    found = made.explain_items([one.item_id for one in best], user=user)
    assert any(why.liked for why in found)
    assert all(each.rating == expected[each.item_id] for why in found for each in why.support)
    asked = made.query(user)
    said = zip((str(made.train.item_ids[row]) for row in asked.items), asked.history_ratings(0).tolist(), strict=True)
    assert all(rating == expected[item] for item, rating in said)


def test_one_event_more_costs_no_work_for_the_users_without(
    rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, calls = recommender(rated, tmp_path, "itemknn"), []
    questions, everybody = made._lists.questions, made.train.user_ids.tolist()
    before = questions.of_users(everybody).queries
    made.add_events([{"user_id": "u3", "item_id": str(made.train.item_ids[0]), "value": 5}])
    queries = Interactions.queries
    monkeypatch.setattr(Interactions, "queries", lambda *given: calls.append(given) or queries(*given))
    after = questions.of_users(everybody).queries
    assert len(calls) <= 2  # each makes a line for every user of the run
    for row, user in enumerate(everybody):
        ratings = [each.history_ratings(row).tolist() for each in (before, after)]
        assert len(ratings[1]) == len(after.history(row))
        assert ratings[1][-1] == 5 if user == "u3" else ratings[0] == ratings[1]


def test_fixed_user_vectors_have_no_because(rated: Path, tmp_path: Path) -> None:
    made = recommender(rated, tmp_path, "mf", "backbone.fit.epochs=8")
    found = []
    for user in made.train.user_ids[:10].tolist():
        (best,) = made.recommend(user=user, k=1)
        found.append(made.explain(best.item_id, user=user))
    assert {why.basis for why in found} == {Basis.HISTORY}
    assert any(why.support for why in found)
    assert not any("because" in why.sentence.lower() or "raised" in why.sentence for why in found)


def test_a_reason_is_made_once(rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = recommender(rated, tmp_path, "itemknn"), []
    scorer = made._lists.retriever[1]
    score = scorer.score
    monkeypatch.setattr(scorer, "score", lambda *given: (asked.append(1), score(*given))[1])
    items = [one.item_id for one in made.recommend(user="u3", k=3)]
    asked.clear()
    first = made.explain_items(items, user="u3")
    assert len(asked) == 1  # three items, one question
    assert made.explain_items(items[::-1], user="u3") == first[::-1]
    assert made.explain(items[1], user="u3") == first[1]
    assert len(asked) == 1
    made.explain(items[1], user="u4")
    assert len(asked) == 2


def test_what_was_made_in_a_hurry_is_not_remembered(
    rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, given = recommender(rated, tmp_path, "itemknn"), []
    whole = reasons.explain_items
    monkeypatch.setattr(reasons, "explain_items", lambda *all_: given.append(all_[3]) or whole(*all_))
    items = [one.item_id for one in made.recommend(user="u3", k=2)]
    hurried = Cancellation(1000.0)
    assert hurried.deadline is not None
    hurried.deadline -= 600.0
    with cancellable(hurried):
        made.explain_items(items, user="u3")
    for _ in range(2):
        made.explain_items(items, user="u3")
    assert len(given) == 2


def test_the_oldest_reasons_are_forgotten(rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, given = recommender(rated, tmp_path, "itemknn"), []
    whole = reasons.explain_items
    monkeypatch.setattr(reasons, "explain_items", lambda *all_: given.append(len(all_[3])) or whole(*all_))
    monkeypatch.setattr(reasons, "MOST", 3)
    items = [one.item_id for one in made.recommend(user="u3", k=5)]
    for some in (items[:2], items[2:4], items[1:4], items[:1], items, items[2:]):
        made.explain_items(some, user="u3")
        assert len(made._lists.reasons._known) <= 3
    assert given == [2, 2, 1, 2, 2]  # the third request finds all three


def test_a_run_without_a_ranker_loads_no_language_model(
    rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlingua.lm.load.load", None)  # whoever loads one fails
    made = recommender(rated, tmp_path, "itemknn")
    found = made.explain_items([one.item_id for one in made.recommend(user="u3", k=3)], user="u3")
    assert made.language_model is None
    assert any(why.support and why.basis == Basis.SCORE for why in found)
    assert all(why.from_template and why.sentence for why in found)


def test_a_model_words_reasons_of_a_run_without_a_ranker_where_it_is_named(
    rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By external ids: whatever a piece of the sentence claims, its evidence is named."""
    from interlingua.testing.tiny_models import tiny

    by_rule = recommender(rated, tmp_path, "itemknn")
    for absent in ("./no-model", "", "/nope"):
        with pytest.raises(ConfigError, match=r"unknown writer of reasons .*auto, rule, smollm2-135m"):
            Recommender(by_rule.session, reasons=absent)
    monkeypatch.setattr("interlingua.lm.here.missing", lambda name: [])
    made = Recommender(by_rule.session, reasons="a-model")
    made.__dict__["language_model"] = tiny("llama")
    items = [one.item_id for one in made.recommend(user="u3", k=3)]
    for item, why in zip(items, made.explain_items(items, user="u3"), strict=True):
        if why.support:
            assert not why.from_template
        known = {each.id: each for each in why.evidence}
        assert {id_ for part in why.parts for id_ in part.evidence} == known.keys()
        assert known[f"title:{item}"].item == item
        assert {each.item for each in known.values()} <= {item, None, *(each.item_id for each in why.support)}
    assert all(why.from_template for why in Recommender(made.session, reasons="rule").explain_items(items, user="u3"))
