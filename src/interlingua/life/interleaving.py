"""Two versions in one list: team-draft interleaving on live feedback, and which version the users prefer.

Radlinski, Kurup & Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008, section 3: two teams
draft items in turns, as children choose players. Whoever has fewer items goes next, a coin decides where both have as
many, and each takes its best item that is not in the list yet. An event on an item is credited to the team that took
it. Both teams have the same chances at every place, so that equal versions win equally often.

An event counts for the last list in which its user saw the item, within :data:`WINDOW_S`, once for each list and item;
and only if it speaks for the item, by the versions' own rule of what is liked (:meth:`NewEvents.praised
<interlingua.runs.new_events.NewEvents.praised>`): a bad rating is no credit.

The test. Events of one user are not independent, so users are the sample (deviation: the paper counts queries): a user
prefers the team with more credits, or neither. The share of the new version among those who prefer one is compared with
one half by the exact two-sided binomial test, and has Wilson's 95 % interval.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlingua.store import Event, Logged, Store

INTERLEAVED = "interleaved"
"""entry of a logged request: ``{"with": VERSION, "teams": [0, 1, ...]}``; 0: the version that answers, 1: the other"""
WINDOW_S = 24 * 3600.0
"""an event may come so long after its list"""
SLACK_S = 1.0
"""times of events may be whole seconds, cut off"""
AT_ONCE = 10_000

_List = tuple[int, float, dict[str, int]]
"""number, time, item -> 0 (old) or 1 (new)"""


def team_draft(own: Sequence[str], other: Sequence[str], k: int, coin: random.Random) -> tuple[list[str], list[int]]:
    """A list of up to ``k`` items, and the team (0 or 1) that took each.

    Args:
        own: item ids of the first team's list, best first.
        other: the second's.
        k: length.
        coin: decides who goes first where both have as many items.
    """
    lists, at, taken = (own, other), [0, 0], set[str]()
    items, teams = list[str](), list[int]()
    while len(items) < k:
        counts = teams.count(0), teams.count(1)
        first = coin.randrange(2) if counts[0] == counts[1] else int(counts[1] < counts[0])
        for team in (first, 1 - first):  # who has no item left lets the other go on
            while at[team] < len(lists[team]) and lists[team][at[team]] in taken:
                at[team] += 1
            if at[team] < len(lists[team]):
                items.append(lists[team][at[team]])
                taken.add(items[-1])
                teams.append(team)
                break
        else:
            break
    return items, teams


@dataclass(frozen=True)
class Preference:
    """What the feedback says of two versions."""

    old: str
    new: str
    lists: int
    """interleaved lists that were shown"""
    credits_old: int
    credits_new: int
    users_old: int
    """users who prefer the old version"""
    users_new: int
    users_equal: int
    """users with as many credits for both, and at least one"""
    fraction: float | None
    """of the new version among the users who prefer one; None: there are none"""
    interval: tuple[float, float] | None
    """95 %, of the fraction"""
    p: float | None
    """of the exact binomial test against one half"""

    @property
    def verdict(self) -> str:
        """In words, at the 5 % level."""
        if self.p is None or self.fraction is None:
            return "no feedback yet"
        if self.p >= 0.05:
            return "no preference shown"
        return f"users prefer {self.new if self.fraction > 0.5 else self.old}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"verdict": self.verdict}


def above_zero(value: float | None) -> bool:
    """Whether a value speaks for its item where nothing is known of the values: none, or more than 0."""
    return value is None or value > 0


def preference(
    store: Store,
    old: str,
    new: str,
    *,
    window_s: float = WINDOW_S,
    praised: Callable[[float | None], bool] = above_zero,
) -> Preference:
    """See the module.

    Args:
        store: with the requests and events.
        old: the version that answered.
        new: the one that was interleaved with it; their roles may have changed in between.
        window_s: see :data:`WINDOW_S`.
        praised: whether the value of an event speaks for its item.
    """
    shown = _shown(store, old, new)
    credits = [0, 0]
    by_user = dict[str, list[int]]()
    credited = set[tuple[int, str]]()
    for event in _events(store):
        if not praised(event.value):
            continue
        found = _credit(event, shown.get(event.user_id, ()), window_s)
        if found is None or (found[0], event.item_id) in credited:
            continue
        credited.add((found[0], event.item_id))
        credits[found[1]] += 1
        by_user.setdefault(event.user_id, [0, 0])[found[1]] += 1
    users = [sum(a > b for a, b in by_user.values()), sum(a < b for a, b in by_user.values())]
    fraction, interval, p = _tested(users[1], sum(users))
    return Preference(
        old, new, sum(map(len, shown.values())), credits[0], credits[1], users[0], users[1],
        len(by_user) - sum(users), fraction, interval, p,
    )  # fmt: skip


def _tested(wins: int, of: int) -> tuple[float | None, tuple[float, float] | None, float | None]:
    """Fraction, its interval, p-value."""
    if not of:
        return None, None, None
    from scipy.stats import binomtest

    test = binomtest(wins, of)
    interval = test.proportion_ci(method="wilson")
    return wins / of, (float(interval.low), float(interval.high)), float(test.pvalue)


def _shown(store: Store, old: str, new: str) -> dict[str, list[_List]]:
    """User -> the lists that were interleaved of the two, oldest first."""
    found: dict[str, list[_List]] = defaultdict(list)
    at = 0
    while part := store.requests(since=at, limit=AT_ONCE):
        at = part[-1].number
        for each in part:
            teams = _teams(each, old, new)
            if teams is not None and each.user_id is not None and each.time is not None:
                found[each.user_id].append((each.number, each.time, teams))
    return found


def _teams(logged: Logged, old: str, new: str) -> dict[str, int] | None:
    """Item -> 0 (old) or 1 (new), if the list was interleaved of these two."""
    about = logged.request.get(INTERLEAVED)
    if about is None or {logged.version, about["with"]} != {old, new}:
        return None
    turned = logged.version == new
    return {item: int(team) ^ turned for item, team in zip(logged.items, about["teams"], strict=True)}


def _events(store: Store) -> Any:
    at = 0
    while part := store.events(since=at, limit=AT_ONCE):
        at = part[-1].number
        yield from part


def _credit(event: Event, lists: Sequence[_List], window_s: float) -> tuple[int, int] | None:
    """(number of the list, team) that an event speaks for."""
    if event.time is None:
        return None
    for number, when, teams in reversed(lists):
        if event.item_id in teams and when - SLACK_S <= event.time <= when + window_s:
            return number, teams[event.item_id]
    return None
