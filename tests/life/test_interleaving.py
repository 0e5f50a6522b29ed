"""Team-draft interleaving: fair at every place, finds the better version, and credits what users do afterwards."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sqlalchemy")

import interlingua
from interlingua.life.interleaving import INTERLEAVED, WINDOW_S, preference, team_draft
from interlingua.store import Event, Logged, Store

LISTS = st.lists(st.integers(0, 20).map(str), unique=True, max_size=12)
NOW = 1_750_000_000.0


@given(LISTS, LISTS, st.integers(1, 15), st.integers(0, 1000))
def test_a_draft_has_every_team_at_its_best(own: list[str], other: list[str], k: int, seed: int) -> None:
    items, teams = team_draft(own, other, k, random.Random(seed))
    assert len(items) == len(set(items)) == len(teams) == min(k, len({*own, *other}))
    for place in range(len(items)):
        lists, taken = (own, other), items[:place]
        best = next(item for item in lists[teams[place]] if item not in taken)
        assert items[place] == best
        counts = [teams[:place].count(team) for team in (0, 1)]
        rest = [any(item not in taken for item in each) for each in lists]
        if all(rest):  # nobody goes twice while the other has fewer
            assert counts[teams[place]] <= counts[1 - teams[place]]


def test_equal_lists_go_to_both_teams_alike() -> None:
    coin, names = random.Random(0), [str(item) for item in range(10)]
    drawn = [team_draft(names, names, 10, coin) for _ in range(2000)]
    assert all(items == names for items, _ in drawn)
    for place in range(10):
        assert 0.45 < sum(teams[place] for _, teams in drawn) / len(drawn) < 0.55


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "s.db")


def feedback(
    store: Store, own: list[str], other: list[str], liked: set[str], users: int = 200, seed: int = 1, name: str = "new"
) -> None:
    """Users who see a list each and, from the top on, take what they like with a chance of one half."""
    coin, lists, events = random.Random(seed), list[Logged](), list[Event]()
    for number in range(users):
        items, teams = team_draft(own, other, 5, coin)
        about = {INTERLEAVED: {"with": name, "teams": teams}, "k": 5}
        lists.append(Logged("old", f"{name} u{number}", about, tuple(items), 1.0, NOW + number))
        taken = [item for item in items if item in liked and coin.random() < 0.5]
        events += [Event(f"{name} u{number}", item, NOW + number + 60) for item in taken]
    store.log_requests(lists)
    store.add_events(events)


def test_equal_versions_win_equally_often(store: Store) -> None:
    names = [str(item) for item in range(8)]
    feedback(store, names, names, set(names[:3]))
    found = preference(store, "old", "new")
    assert found.lists == 200
    assert found.fraction is not None
    assert found.interval is not None
    assert found.interval[0] < 0.5 < found.interval[1]
    assert abs(found.fraction - 0.5) < 0.1
    assert found.verdict == "no preference shown"


def test_equal_versions_are_told_apart_in_one_of_twenty_trials_at_most(store: Store) -> None:
    names, wrong = [str(item) for item in range(8)], 0
    for trial in range(30):
        feedback(store, names, names, set(names[:3]), users=40, seed=trial, name=f"new {trial}")
    for trial in range(30):
        found = preference(store, "old", f"new {trial}")
        wrong += found.p is not None and found.p < 0.05
    assert wrong <= 4  # 1.5 expected


def test_the_better_one_is_found_in_either_role(store: Store) -> None:
    good, bad = [str(item) for item in range(8)], [str(item) for item in reversed(range(8))]
    feedback(store, bad, good, {"0", "1", "2"})
    found = preference(store, "old", "new")
    assert found.verdict == "users prefer new"
    assert found.interval is not None
    assert found.interval[0] > 0.6
    turned = preference(store, "new", "old")
    assert turned.verdict == "users prefer new"
    assert (turned.credits_old, turned.users_old) == (found.credits_new, found.users_new)
    assert preference(store, "old", "a third").lists == 0
    assert preference(store, "old", "a third").verdict == "no feedback yet"


def test_what_an_event_is_credited_to(store: Store) -> None:
    def shown(user: str, teams: list[int], at: float) -> Logged:
        return Logged("old", user, {INTERLEAVED: {"with": "new", "teams": teams}}, ("a", "b"), 1.0, at)

    store.log_requests([shown("ann", [0, 1], NOW), shown("ann", [1, 0], NOW + 100), shown("bob", [0, 1], NOW)])
    store.log_requests([Logged("old", "ann", {"k": 2}, ("a", "c"), 1.0, NOW + 150)])  # not interleaved
    store.add_events(
        [
            Event("ann", "a", NOW + 50),  # the first list: old
            Event("ann", "a", NOW + 60),  # the same again: once
            Event("ann", "a", NOW + 120),  # the second list: new
            Event("ann", "c", NOW + 160),  # of no interleaved list
            Event("ann", "b", NOW + 200, value=0),  # no liking
            Event("bob", "b", NOW - 50),  # before
            Event("bob", "b", NOW + WINDOW_S + 1),  # too late
            Event("bob", "a", float(int(NOW))),  # in the same second
            Event("eve", "a", NOW + 10),  # saw nothing
        ]
    )
    found = preference(store, "old", "new")
    assert (found.credits_old, found.credits_new) == (2, 1)
    assert (found.users_old, found.users_new, found.users_equal) == (1, 0, 1)
    assert (found.fraction, found.p) == (0, 1)


def test_a_bad_rating_is_no_credit(tmp_path: Path) -> None:
    """By the rule of the run's data: its threshold, else its mean rating, else above 0."""
    rows = [(f"u{user}", f"i{(user + step) % 9}", 60 * step, 1 + step % 5) for user in range(9) for step in range(5)]
    data = {"interactions": pl.DataFrame(rows, ["user_id", "item_id", "timestamp", "rating"], orient="row")}
    plain = {"interactions": data["interactions"].drop("rating")}
    pop = {"backbone": {"name": "pop"}, "evaluate": {"protocols": ["full"]}}
    rules: dict[str, tuple[dict[str, pl.DataFrame], dict[str, object]]] = {
        "label": (data, {"label": {"at_least": 4.0}}), "filter": (data, {"filter": {"min_rating": 2.0}}),
        "mean": (data, {}), "none": (plain, {}),
    }  # fmt: skip
    found = {}
    for name, (frames, section) in rules.items():
        session = interlingua.run(pop | {"data": section}, data=frames, out=tmp_path / "runs", device="cpu")
        made = interlingua.load(session)
        found[name] = [value for value in (None, 0, 1, 2, 3, 4, 5) if made.praised(value)]
    assert found == {"label": [None, 4, 5], "filter": [None, 2, 3, 4, 5], "mean": [None, 3, 4, 5],
                     "none": [None, 1, 2, 3, 4, 5]}  # fmt: skip


def test_credits_go_by_the_rule(store: Store) -> None:
    about = {INTERLEAVED: {"with": "new", "teams": [0, 1]}}
    store.log_requests([Logged("old", f"u{user}", about, ("a", "b"), 1.0, NOW) for user in range(3)])
    store.add_events([Event("u0", "a", NOW + 1, 1.0), Event("u1", "b", NOW + 1, 5.0), Event("u2", "a", NOW + 1, None)])
    found = preference(store, "old", "new", praised=lambda value: value is None or value >= 4)
    assert (found.credits_old, found.credits_new) == (1, 1)
    assert preference(store, "old", "new").credits_old == 2
