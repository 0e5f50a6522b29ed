"""Turns external ids into questions to a run: which users and items are meant, which items may come out.

One rule for Python, the command line and the service: an unknown user is an error; item ids that the run does not know
are left out and named, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np

from interlingua.contracts.scorer import BoolArray
from interlingua.data.allowed import Filters, passing
from interlingua.data.anonymous import has_users
from interlingua.data.prepared import Dataset
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import UnknownIdError, near, shortened, shown, unknown
from interlingua.runs.answers import Histories, Request, names_of, one_id
from interlingua.runs.new_events import NewEvents

MOST_NAMED = 5
"""ids that a note lists"""
MOST_STEPS = 10
"""conditions that a note on an empty list counts"""
REMEMBERED, MASK_BYTES = 64, 64 << 20
"""expressions whose masks stay in memory, and their bytes together: one for each item and condition"""


@dataclass(frozen=True)
class Question:
    """The users or histories that are asked about."""

    queries: Queries
    """(B,) users with the events that a model reads: of labelled data what they liked"""
    seen: Queries
    """(B,) the same users with all their items, liked or not: these do not come out again"""
    unknown: dict[str, list[str]] = field(default_factory=dict)
    """argument -> ids of it that the run does not know"""
    whole: bool = False
    """whether ``seen`` is all that may not come out, also where items may repeat"""

    def slice(self, start: int, stop: int) -> Question:
        """Users ``start`` to ``stop``."""
        return replace(self, queries=self.queries.slice(start, stop), seen=self.seen.slice(start, stop))

    def without(self, hidden: Sequence[Sequence[int]], repeat: bool) -> Question:
        """The same with items (B) that may not come out for each; ``repeat``: what was had may."""
        had = [[] if repeat else self.seen.history(row).tolist() for row in range(len(self.seen))]
        joined = [[*own, *more] for own, more in zip(had, hidden, strict=True)]
        return replace(self, seen=Queries.of(joined, np.asarray(self.seen.users)), whole=True)


@dataclass(frozen=True)
class Allowed:
    """The items that may come out for any user."""

    mask: BoolArray | None = None
    """(I,); None: all"""
    steps: tuple[str, ...] = ()
    """how many items each condition leaves, in words"""
    unknown: dict[str, list[str]] = field(default_factory=dict)
    """argument -> ids of it that the run does not know"""


class Questions:
    """Makes the questions for one prepared dataset; items in ``closed`` (I,) never come out."""

    closed: BoolArray | None = None
    events: NewEvents | None = None

    def __init__(self, data: Dataset, closed: BoolArray | None = None, events: NewEvents | None = None) -> None:
        """``events`` came after training; ``closed`` see above."""
        self.closed, self.events = closed, events
        self.train, self.catalogue = data.split.train, data.catalogue
        self.had, self.liked = data.interactions, data.on_record
        self.has_users = has_users(data)
        self._masks: dict[str, list[tuple[str, BoolArray]]] = {}

    def user_row(self, user: str) -> int:
        """Index of an external user id; -1 of one who is known by new events alone.

        Raises:
            UnknownIdError: the run does not know it.
            ConfigError: it is no id.
        """
        user = one_id(user, "user", "for several users write users=[...]")
        if user not in self.train.user_indices and self.events is not None:
            self.events.follow()
            if user in self.events.of_user:
                return -1
        if not self.has_users:
            raise UnknownIdError("this model was saved without its users: give a history of item ids instead")
        if user not in self.train.user_indices:
            raise UnknownIdError(
                f"unknown user {shown(user)}: the run knows {self.train.num_users} users; give a history of item ids "
                "instead"
            )
        return self.train.user_indices[user]

    def indices_of(self, users: Sequence[str]) -> IntArray:
        """(B,) :meth:`user_row` of many."""
        known = self.train.user_indices if self.has_users else {}
        found = map(known.get, users) if set(map(type, users)) <= {str} else repeat(None)
        pairs = zip(users, found, strict=False)
        return np.array([self.user_row(user) if index is None else index for user, index in pairs], np.int64)

    def everybody(self) -> list[str]:
        """External ids of all users, with those whom new events alone made known."""
        if self.events is not None:
            self.events.follow()
        new = [] if self.events is None else list(self.events.of_user)
        own = self.train.user_ids.tolist() if self.has_users or not new else []
        return list(dict.fromkeys([*map(str, own), *new]))

    def item_row(self, item: str) -> int:
        """Index of an external item id.

        Raises:
            UnknownIdError: the run does not know it.
            ConfigError: it is no id.
        """
        item, indices = one_id(item, "item"), self.train.item_indices
        if item not in indices:
            raise UnknownIdError(unknown("item id", item, indices, see="items.parquet of the run's prepare stage"))
        return indices[item]

    def known(self, items: Any, what: str) -> tuple[list[int], list[str]]:
        """Indices of the item ids that the run knows, and the unknown ids, each once."""
        names = names_of(items, what)
        found = list(map(self.train.item_indices.get, names))
        left_out = dict.fromkeys(name for name, index in zip(names, found, strict=True) if index is None)
        return [index for index in found if index is not None], list(left_out)

    def of_users(self, users: Iterable[str], *, follow: bool = True) -> Question:
        """Known users, with all events on record; ``follow``: the store is looked at for new ones."""
        given = list(users)
        if self.events is not None and follow:
            self.events.follow()
        indices = self.indices_of(given)
        names = given if set(map(type, given)) <= {str} else [one_id(user, "user") for user in given]
        if self.events is not None and any(name in self.events.of_user for name in names):
            return self._with_events(self.events, names, indices)
        return Question(self.liked.queries(indices), self.had.queries(indices))

    def _with_events(self, events: NewEvents, names: Sequence[str], indices: IntArray) -> Question:
        """Users some of whom have new events: these are asked by their histories, whatever a model learned of them.

        Ratings of training stay known; of an item that is rated again the newest one holds.
        """
        known, read, had, unknown = self.train.item_indices, [], [], dict[str, list[str]]()  # user -> item ids
        ratings = list[float]()
        for name, row in zip(names, indices.tolist(), strict=True):
            new = events.of_user.get(name, [])
            left_out = [each.item_id for each in new if each.item_id not in known]
            unknown |= {name: left_out} if left_out else {}
            new = [each for each in new if each.item_id in known]
            before = [(self.liked.history(row), self.had.history(row))] if row >= 0 else []
            last = {known[e.item_id]: events.liked(e) for e in new}  # the last word on an item counts
            words = [*(i for own, _ in before for i in own), *(known[e.item_id] for e in new if events.liked(e))]
            read.append([item for item in words if last.get(item, True)])
            had.append([*(i for _, own in before for i in own), *(known[e.item_id] for e in new)])
            ratings += self._ratings_of(row, read[-1], {known[e.item_id]: e.value for e in new})
        changed = np.array([name in events.of_user for name in names])
        users = np.where(changed, -1, indices)
        about = f"events of {next(iter(unknown)) if len(unknown) == 1 else f'{len(unknown):,} users'}"
        items = list(dict.fromkeys(item for left_out in unknown.values() for item in left_out))
        queries = Queries.of(read, users)
        if self.had.ratings is not None:
            queries = replace(queries, ratings=np.array(ratings, np.float32))
        return Question(queries, Queries.of(had, users), {about: items} if items else {})

    def _ratings_of(self, row: int, read: Sequence[int], new: Mapping[int, float | None]) -> list[float]:
        """The rating of each item of a history ``read``, NaN where none is known.

        Args:
            row: of the user in training; below 0: in none.
            read: item indices.
            new: item index -> value of events since; without any, ``read`` is the user's history on record.
        """
        if self.had.ratings is None:
            return []
        if row >= 0 and not new and self.liked.ratings is not None:
            return self.liked.ratings[slice(*self.liked.offsets[row : row + 2])].tolist()
        own = slice(*self.had.offsets[row : row + 2]) if row >= 0 else slice(0)
        pairs = zip(self.had.items[own].tolist(), self.had.ratings[own].tolist(), strict=True)
        newest = {item: rating for item, rating in pairs if rating == rating}
        newest |= {item: value for item, value in new.items() if value is not None}
        return [newest.get(int(item), np.nan) for item in read]

    def of_histories(self, histories: Mapping[str, Sequence[str]]) -> Question:
        """Users given by histories; ``histories``: name for messages -> item ids."""
        found = {name: self.known(history, name) for name, history in histories.items()}
        queries = Queries.of([indices for indices, _ in found.values()])
        return Question(queries, queries, {name: left for name, (_, left) in found.items() if left})

    def of_one(self, user: str | None, history: Sequence[str] | None, *, follow: bool = True) -> Question:
        """A known user, or a history; neither (a text alone): nobody."""
        if user is None:
            return self.of_histories({"history": [] if history is None else history})
        return self.of_users([user], follow=follow)

    def of_many(self, users: Sequence[str] | None, histories: Histories | None) -> tuple[list[str], Question]:
        """Names and questions of many users or histories."""
        if users is not None:
            names = names_of(users, "users")
            return names, self.of_users(names)
        assert histories is not None
        given = histories if isinstance(histories, Mapping) else dict(enumerate(histories))
        named = {str(name): names_of(history, f"history {name!r}") for name, history in given.items()}
        found = self.of_histories({f"history {name!r}": history for name, history in named.items()})
        return list(named), found

    def excluding(self, question: Question, names: Sequence[str], request: Request) -> tuple[Question, Request]:
        """Many users, each without its own ``exclude``, where that is a mapping: what is left to exclude for all."""
        if not isinstance(request.exclude, Mapping):
            return question, request
        own = {str(name): self.known(some, f"exclude of {name!r}") for name, some in request.exclude.items()}
        hidden = [own.get(name, ([], []))[0] for name in names]
        gone = dict.fromkeys(item for name in names for item in own.get(name, ([], []))[1])
        found = question.without(hidden, request.repeat)
        if gone:
            found = replace(found, unknown=found.unknown | {"exclude": list(gone)})
        return found, replace(request, exclude=())

    def allowed(self, request: Request) -> Allowed:
        """The items that ``items``, ``filters`` and ``exclude`` leave."""
        unfiltered = not request.filters and request.filters != ""  # an empty text is a mistake, wherever it stands
        if request.items is None and not len(request.exclude) and unfiltered:
            return Allowed() if self.closed is None else Allowed(~self.closed)
        out, steps, left = np.ones(self.train.num_items, np.bool_), list[str](), dict[str, list[str]]()
        if request.items is not None:
            indices, left["items"] = self.known(request.items, "items")
            out[:] = False
            out[indices] = True
            steps.append(f"the list items leaves {int(out.sum()):,} of {len(out):,} items")
        if request.filters is not None:
            for condition, mask in self._conditions(request.filters):
                left_over = f"leaves {int((out & mask).sum()):,} of {int(out.sum()):,} items"
                steps.append(f"the filter {shortened(condition)} {left_over}")
                out &= mask
        indices, left["exclude"] = self.known(request.exclude, "exclude")
        before = int(out.sum())
        out[indices] = False
        if indices:
            steps.append(f"the list exclude leaves {int(out.sum()):,} of {before:,} items")
        if self.closed is not None:
            out &= ~self.closed
            steps.append(f"{int(out.sum()):,} of these are available")
        return Allowed(out, tuple(steps), {what: ids for what, ids in left.items() if ids})

    def unmet(self, request: Request, row: int) -> list[str]:
        """The conditions of the filters that one item does not meet, in words."""
        return [words for words, mask in self._conditions(request.filters or {}) if not mask[row]]

    def _conditions(self, filters: Filters) -> list[tuple[str, BoolArray]]:
        """Conditions with their masks; an expression is read once, and its masks are remembered."""
        if not isinstance(filters, str):
            return passing(self.catalogue, filters)
        known = self._masks.get(filters)
        if known is not None:
            return known
        found = passing(self.catalogue, filters)
        held = sum(mask.nbytes for masks in (found, *list(self._masks.values())) for _, mask in masks)
        if len(self._masks) >= REMEMBERED or held > MASK_BYTES:
            self._masks.clear()
        if sum(mask.nbytes for _, mask in found) <= MASK_BYTES:
            self._masks[filters] = found
        return found

    def notes(self, left_out: Mapping[str, list[str]]) -> list[str]:
        """One note for each argument with items that the run does not know."""
        return [
            f"{what}: {len(ids):,} item {'id' if len(ids) == 1 else 'ids'} that the run does not know, left out: "
            f"{', '.join(map(self._hinted, ids[:MOST_NAMED]))}{', ...' if len(ids) > MOST_NAMED else ''}"
            for what, ids in left_out.items()
        ]

    def _hinted(self, item: str) -> str:
        close = near(item, self.train.item_indices)
        return shown(item) + (f" (did you mean {close!r}?)" if close else "")


def empty_note(allowed: Allowed, seen: int, num_items: int) -> str:
    """Why a list is empty.

    Args:
        allowed: what could come out for anybody.
        seen: number of items of the user's history, which do not come out again.
        num_items: of the catalogue.
    """
    steps = allowed.steps
    if len(steps) > MOST_STEPS:  # the last one says what is left
        steps = (*steps[: MOST_STEPS - 1], f"{len(steps) - MOST_STEPS:,} more", steps[-1])
    said = "; ".join(steps) or f"the catalogue has {num_items:,} items"
    some = allowed.mask is None or allowed.mask.any()
    own = f"; the user has had {seen:,} items, which do not come out again" if seen and some else ""
    return f"nothing may come out: {said}{own}"


def nothing_alike(allowed: Allowed, row: int, space: str, num_items: int) -> str:
    """Why no item is like one; ``row`` is that one, ``space`` in what it was compared, in words."""
    rest = num_items - 1
    if allowed.mask is not None:
        rest = int(allowed.mask.sum()) - int(allowed.mask[row])
    if not rest:
        itself = allowed.mask is None or allowed.mask[row]
        return empty_note(allowed, 0, num_items) + ("; an item is not compared with itself" if itself else "")
    said = f" that may come out ({'; '.join(allowed.steps[:MOST_STEPS])})" if allowed.steps else ""
    what = "the 1 other item" if rest == 1 else f"any of the {rest:,} other items"
    return f"by {space} this item is not like {what}{said}: only cosines above 0 count"
