"""What the page's routes answer, made from the recommender that serves; each answer has a bounded size.

Called by the model's thread alone, as every question is. What is made once for a recommender (titles to search, the
map) is kept until another serves or its items change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

import numpy as np

from interlingua.data.catalogue import split_categories
from interlingua.runs.answers import Request
from interlingua.runs.grown import takes_new_items
from interlingua.runs.item_map import ItemMap, map_of
from interlingua.runs.reach import reach, users_for
from interlingua.runs.stage_lists import column_answer, column_reasons, columns_of
from interlingua.runs.title_search import NONE_CLOSED, TitleSearch
from interlingua.serve.one_item import reason
from interlingua.serve.page_schema import (
    MOST_HISTORY,
    About,
    Alike,
    Column,
    ItemRequest,
    ItemResponse,
    Listed,
    ListRequest,
    ListResponse,
    MapResponse,
    ModelResponse,
    Place,
    Point,
    Question,
    ShownItem,
    ShownUser,
    Titles,
    UserHistory,
    Users,
    UsersRequest,
    WhyRequest,
    WhyResponse,
)

if TYPE_CHECKING:
    from interlingua.recommender import Recommender
    from interlingua.runs import questions
    from interlingua.runs.lists import Lists

MOST_NEW, LAST, BEST, ALIKE = 500, 3, 10, 8
"""new items on the map, titles beside a user, users named for an item, items alike"""
MOST_TITLE, MOST_CATEGORIES = 500, 10
"""characters of a title, and categories, that are shown"""


class PageViews:
    """Answers of the page's routes; ``now`` is the recommender that serves."""

    def __init__(self, now: Callable[[], Recommender]) -> None:
        self.now = now
        self._titles: tuple[Any, TitleSearch] | None = None
        self._map: tuple[str, ItemMap | None] | None = None
        self._reads: tuple[str, bool] | None = None

    @property
    def lists(self) -> Lists:
        """Of the recommender that serves, with all its changes; each answer takes them, or it, once."""
        return self.now()._lists

    def titles(self, query: str, limit: int) -> Titles:
        """Items by words of their titles."""
        lists = self.lists
        if self._titles is None or self._titles[0] is not lists.titles:
            ids = [str(each) for each in lists.train.item_ids]
            self._titles = lists.titles, TitleSearch(ids, lists.titles, lists.train.item_counts)
        found = self._titles[1].find(query, limit, NONE_CLOSED if lists.closed is None else lists.closed)
        return Titles(items=[shown_item(lists, row) for row in found])

    def about(self) -> About:
        """The run in a few words."""
        served = self.now()
        lists = served._lists
        session = lists.session
        return About(
            name=session.recipe.name,
            model_version=served.version,
            dataset=session.data.card["name"],
            thing=session.data.catalogue.domain.noun,
            users=lists.train.num_users,
            items=lists.train.num_items,
            added=session.num_added,
            reads_texts=self._reads_texts(served),
            columns=[Column(**vars(each)) for each in columns_of(lists)],
            versions=False,
        )

    def users(self, request: UsersRequest) -> Users:
        """Users by a part of their ids, those that begin with it first; without a part a sample of all."""
        lists = self.lists
        everybody, part = lists.questions.everybody(), request.part.strip().casefold()
        if part:
            some = (user for user in everybody if part in user.casefold())
            found = nsmallest(request.limit, some, lambda user: (not user.casefold().startswith(part), len(user), user))
        else:
            places = users_for(len(everybody), 1, request.limit)
            found = [everybody[place] for place in places]
        return Users(users=[_shown_user(lists, user) for user in found], total=len(everybody))

    def user(self, user: str) -> UserHistory:
        """The last items of a user."""
        lists = self.lists
        had = lists.questions.of_users([user]).seen.history(0)
        return UserHistory(
            user_id=user, events=len(had), history=[shown_item(lists, int(row)) for row in had[-MOST_HISTORY:]]
        )

    def listed(self, request: ListRequest) -> ListResponse:
        """The list of one column."""
        started, served = time.perf_counter(), self.now()
        lists = served._lists
        options = {"text": request.text, "text_weight": request.text_weight}
        made = column_answer(lists, request.column, Request.of(request.k, options), self._question(lists, request))
        listed = [(one.item_id, one.score, one.stage) for one in made.items]
        return response(served, request.column, listed, made.notes, started)

    def why(self, request: WhyRequest) -> WhyResponse:
        """Reasons for items by the score of one column."""
        served = self.now()
        lists = served._lists
        query = self._question(lists, request).queries
        indices = [lists.questions.item_row(item) for item in request.items]
        said = (request.text, request.text_weight)
        found = column_reasons(lists, lambda: served.language_model, request.column, query, indices, *said)
        return WhyResponse(reasons=[reason(lists.reasons.with_ids(each, query)) for each in found])

    def item_map(self) -> MapResponse:
        """The map, with all items that came after training."""
        served = self.now()
        lists = served._lists
        made, total = self._made_map(served), lists.train.num_items
        if made is None:
            return MapResponse(space="", explained=[], points=[], total=total, model_version=served.version)
        points = list(zip(made.items.tolist(), made.points.tolist(), strict=True))
        new = np.arange(total - lists.session.num_added, total)[-MOST_NEW:]
        at = made.at(lists.session, new) if len(new) else None
        if at is not None:
            points += list(zip(new.tolist(), at.tolist(), strict=True))
        closed = set() if lists.closed is None else set(np.flatnonzero(lists.closed).tolist())
        return MapResponse(
            space=made.space,
            explained=[round(part, 4) for part in made.plane.explained],
            points=[
                Point(**vars(shown_item(lists, row)), x=round(x, 5), y=round(y, 5))
                for row, (x, y) in points
                if row not in closed
            ],
            total=total,
            model_version=served.version,
        )

    def item(self, request: ItemRequest) -> ItemResponse:
        """Where an item stands, and in whose lists it comes out."""
        served = self.now()
        lists = served._lists
        row, made = lists.questions.item_row(request.item_id), self._made_map(served)
        at = None if made is None else made.at(lists.session, np.array([row]))
        space, near = lists.alike(row, ALIKE)
        alike = [Alike(**vars(shown_item(lists, other)), score=round(score, 4)) for other, score in near]
        names, total = list[str](), lists.train.num_items
        if request.users and lists.questions.has_users:
            known = lists.train.user_ids
            names = [str(known[place]) for place in users_for(len(known), total, request.users)]
        users = lists.questions.of_users(names)
        found = reach(lists.retriever[1], users.queries, users.seen, row, lists.closed)
        order = np.argsort(found.places, kind="stable")[:BEST]
        return ItemResponse(
            item=shown_item(lists, row),
            point=None if at is None else [round(value, 5) for value in at[0].tolist()],
            space=space,
            alike=alike,
            sampled=len(found.users),
            had=found.had,
            in_10=int((found.places <= 10).sum()),
            in_100=int((found.places <= 100).sum()),
            median=int(np.median(found.places)) if len(found.places) else None,
            best=[Place(user_id=names[found.users[n]], place=int(found.places[n])) for n in order],
        )

    def _reads_texts(self, served: Recommender) -> bool:
        if self._reads is None or self._reads[0] != served.version:
            self._reads = served.version, takes_new_items(served.session)
        return self._reads[1]

    def model(self) -> ModelResponse:
        """What the run is made of, and what was measured."""
        served = self.now()
        session = served.session
        stages = [
            {"stage": stage, "name": made.card.get("name"), "seconds": made.card.get("seconds")}
            for stage, made in session.done.items()
        ]
        return ModelResponse(
            name=session.recipe.name,
            model_version=served.version,
            dataset=session.data.card["name"],
            folder=session.path.name,
            stages=stages,
            protocols={name: _measured(report) for name, report in session.summary.items()},
        )

    def _made_map(self, served: Recommender) -> ItemMap | None:
        if self._map is None or self._map[0] != served.version:
            self._map = served.version, map_of(served.session)
        return self._map[1]

    def _question(self, lists: Lists, request: Question) -> questions.Question:
        return lists.questions.of_one(request.user_id, request.history)


def response(
    served: Recommender, column: str, listed: Iterable[tuple[str, float, str]], notes: Iterable[str], started: float,
    fallback_reason: str | None = None,
) -> ListResponse:  # fmt: skip
    """A list as the page shows it; ``listed``: (item id, score, what decided), best first."""
    lists = served._lists
    indices = lists.train.item_indices
    items = [
        Listed(**vars(shown_item(lists, indices[item])), score=score, stage=stage) for item, score, stage in listed
    ]
    return ListResponse(
        column=column, items=items, fallback_reason=fallback_reason, notes=list(notes), model_version=served.version,
        latency_ms=round((time.perf_counter() - started) * 1000, 1),
    )  # fmt: skip


def _shown_user(lists: Lists, user: str) -> ShownUser:
    had = lists.questions.of_users([user]).seen.history(0)
    return ShownUser(user_id=user, events=len(had), last=[lists.titles[row] for row in had[-LAST:]])


def _measured(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a protocol's report."""
    slices = {
        name: {key: part.get(key) for key in ("definition", "n_users", "n_targets", "metrics")}
        for name, part in report.get("slices", {}).items()
    }
    shown = ("protocol", "n_users", "n_targets", "metrics", "intervals", "warnings")
    return {key: report.get(key) for key in shown} | {"slices": slices}


def shown_item(lists: Lists, row: int) -> ShownItem:
    """An item as the page shows it."""
    counts, catalogue = lists.train.item_counts, lists.session.data.catalogue
    text = catalogue.items["categories"][row]
    return ShownItem(
        item_id=str(lists.train.item_ids[row]),
        title=lists.titles[row][:MOST_TITLE],
        categories=split_categories(text or "")[:MOST_CATEGORIES],
        events=int(counts[row]) if row < len(counts) else 0,
        new=row >= lists.train.num_items - lists.session.num_added,
    )
