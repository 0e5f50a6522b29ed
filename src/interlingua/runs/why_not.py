"""Why an item is not in a list, in facts that were measured: what keeps it out, where each scorer puts it, which items
of the history speak for it and against it, and which one event more would bring it in.

Where something keeps the item out (it was had, a filter), places are those that it would have if nothing did.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interlingua.contracts.scorer import BoolArray, Scorer
from interlingua.data.queries import Queries
from interlingua.errors import near
from interlingua.retrieval.best import best
from interlingua.runs.answers import Request, Support, names_of, one_id
from interlingua.runs.questions import Question
from interlingua.runs.scorers import fusion_of
from interlingua.runs.why_not_facts import Block, Change, Place, WhyNot
from interlingua.runtime import cancel

if TYPE_CHECKING:
    from interlingua.retrieval.cascade import RetrieveThenRerank
    from interlingua.runs.lists import Lists, Made

SHOWN = 3
"""items of the history that are named on either side, and changes that are"""
TRIED = 20
"""items most like the one in question that are tried as one event more"""


def why_not(lists: Lists, item: str, question: Question, request: Request) -> WhyNot:
    """The facts for one item and one question; an item that the run does not know is one of them."""
    name, indices = one_id(item, "item"), lists.train.item_indices
    allowed = lists.questions.allowed(request)
    notes = tuple(lists.questions.notes(question.unknown | allowed.unknown))
    if name not in indices:
        return WhyNot(name, None, request.k, None, (Block("unknown", near(name, indices) or ""),), notes=notes)
    row = indices[name]
    made = lists.made(question, request, allowed.mask)
    own = np.flatnonzero(made.listed.items[0] == row)
    blocks = _blocks(lists, name, row, question, request)
    mask = allowed.mask
    if mask is not None and not mask[row]:
        mask = mask.copy()
        mask[row] = True
    measured = _Measured(lists, row, replace(question, seen=_without(question.seen, row)), request, mask, made)
    most, least, basis = measured.influence()
    rank = int(own[0]) + 1 if len(own) else None
    changes, tried, into = ((), 0, "list") if rank else measured.changes()
    return WhyNot(
        name,
        lists.titles[row],
        request.k,
        rank,
        blocks,
        measured.places,
        most,
        least,
        basis,
        changes,
        tried,
        into,
        notes,
    )


def _blocks(lists: Lists, name: str, row: int, question: Question, request: Request) -> tuple[Block, ...]:
    found = []
    if row in question.seen.items and not request.repeat:
        found.append(Block("had", ""))
    if request.items is not None and name not in set(names_of(request.items, "items")):
        found.append(Block("items", f"{len(request.items):,}"))
    if name in set(names_of(request.exclude, "exclude")):
        found.append(Block("exclude", ""))
    found += [Block("filter", words) for words in lists.questions.unmet(request, row)]
    if lists.closed is not None and lists.closed[row]:
        found.append(Block("unavailable", ""))
    return tuple(found)


def _without(seen: Queries, row: int) -> Queries:
    """The one history without an item."""
    return Queries.of([np.asarray(seen.history(0))[seen.history(0) != row]], np.asarray(seen.users))


class _Measured:
    """One item and one question, as if nothing kept the item out."""

    def __init__(
        self, lists: Lists, row: int, question: Question, request: Request, mask: BoolArray | None, made: Made
    ) -> None:
        self.lists, self.row, self.question, self.request, self.mask, self.made = (
            lists,
            row,
            question,
            request,
            mask,
            made,
        )
        self.by_ranker = made.sentence is None and not made.new.any() and request.rerank and lists.has_ranker
        self.reranks = self.by_ranker and not lists.session.ranker.ranks_catalogue
        """whether a ranker orders candidates"""
        self.ties = lists.train.item_counts
        self.places = tuple(self._places())

    def _places(self) -> list[Place]:
        lists, made, k = self.lists, self.made, self.request.k
        if made.sentence is not None:
            return [self._place("text", "text", True, made.sentence, k)]
        if made.new.any():
            self.ties = None
            return [self._place("popularity", "popularity", True, lists.newcomers.scorer(lists.retriever[1]), k)]
        wide = max(lists.by_ranker.n, k) if self.reranks else k
        retrieved = replace(self.request, rerank=False)
        found = [
            self._place(lists.stages(retrieved, made.new)[0], "retriever", not self.by_ranker, lists.retriever[1], wide)
        ]
        if lists.session.recipe.fuse is not None:
            names = [member.recipe.name for member in lists.session.members]
            members = zip(names, fusion_of(lists.session).members, strict=True)
            found += [self._place(name, "member", False, member, k) for name, member in members]
        if self.reranks:
            found.append(self._among_candidates(lists.by_ranker, made.stage, wide))
        elif self.by_ranker:
            found.append(self._place(made.stage, "ranker", True, lists.session.ranker, k))
        return found

    def _place(self, name: str, role: str, decides: bool, scorer: Scorer, cut: int) -> Place:
        """The item in the whole order of one scorer."""
        cancel.check()
        found = best(
            scorer, self.question.queries, self.lists.train.num_items, allowed=self.mask, repeat=self.request.repeat,
            seen=self.question.seen, ties=self.ties,
        )  # fmt: skip
        some = found.indices[0] >= 0
        return self._placed(name, role, decides, found.indices[0][some], found.scores[0][some], cut)

    def _placed(
        self, name: str, role: str, decides: bool, order: np.ndarray, scores: np.ndarray, cut: int, given: bool = True
    ) -> Place:
        at, rest = np.flatnonzero(order == self.row), scores[order != self.row]
        last = float(rest[cut - 1]) if len(rest) >= cut else None
        rank, score = (int(at[0]) + 1, float(scores[at[0]])) if len(at) else (None, None)
        return Place(name, role, decides, rank, len(order), score, cut, last, given)

    def _among_candidates(self, cascade: RetrieveThenRerank, name: str, wide: int) -> Place:
        """The item in the ranker's order of what was retrieved, or in place of the last of it."""
        queries, request = self.question.queries, self.request
        listed = cascade.candidates(
            queries,
            wide,
            allowed=self.mask,
            repeat=request.repeat,
            seen=self.question.seen,
            ties=self.ties,
            quota=self.lists.quota(request),
        )
        some = listed.items[0] >= 0
        order, scores, given = listed.items[0][some], listed.scores[0][some], self.row in listed.items[0]
        if not given and len(order):
            by_retriever = np.argsort(-listed.retrieved[0][some], kind="stable")
            exchanged = np.concatenate([order[by_retriever][:-1], [self.row]])
            assert cascade.ranker is not None
            said = np.asarray(cascade.ranker.score(queries, exchanged[None]), np.float32)[0]
            best_first = np.argsort(-said, kind="stable")
            order, scores = exchanged[best_first], said[best_first]
        return self._placed(name, "ranker", True, order, scores, request.k, given)

    def influence(self) -> tuple[tuple[Support, ...], tuple[Support, ...], str]:
        """Items of the history that raise the score most, and least."""
        from interlingua.explain.influence import influences

        history = np.asarray(self.question.queries.history(0), np.int64)
        if self.made.new.any() or not len(history):
            return (), (), "score"
        scorer = self.made.sentence or self.lists.scorer(self.request.rerank)
        (found,) = influences(scorer, self.question.queries, [self.row])
        values = {row: value for row, value in zip(found.items, found.values, strict=True) if np.isfinite(value)}
        values.pop(self.row, None)
        order = sorted(values, key=lambda row: -values[row])
        raising = [row for row in order if values[row] > 0][:SHOWN]
        rest = [row for row in reversed(order) if row not in raising][:SHOWN]
        most, least = (tuple(self._support(row, values[row]) for row in some) for some in (raising, rest))
        return most, least, found.basis.value

    def _support(self, row: int, influence: float) -> Support:
        return Support(str(self.lists.train.item_ids[row]), self.lists.titles[row], float(influence))

    def changes(self) -> tuple[tuple[Change, ...], int, str]:
        """Items that bring this one in when they are had too, how many were tried, and into what.

        They are asked as new events are: by the whole history, whatever a model learned of the user. Where a ranker
        orders, what it is given is tried, without it. Nothing is tried for an item that would be in already.
        """
        first = self.places[0]
        inside = first.rank is not None and first.rank <= first.cut
        if self.made.sentence is not None or (inside and first.decides) or (self.reranks and self.places[-1].given):
            return (), 0, "list"
        queries, seen = self.question.queries, self.question.seen
        history, had = (np.asarray(each.history(0), np.int64) for each in (queries, seen))
        telling = self.lists.newcomers.items
        _, near_ones = self.lists.alike(self.row, TRIED)
        tried = [row for row, _ in near_ones if row != self.row and row not in had and telling[row]]
        if not tried:
            return (), 0, "list"
        cancel.check()
        question = Question(
            Queries.of([np.append(history, row) for row in tried]), Queries.of([np.append(had, row) for row in tried])
        )
        request, into = self.request, "list"
        if self.reranks:
            request, into = replace(request, rerank=False, diversity=0.0, k=self.places[0].cut), "candidates"
        listed = self.lists.made(question, request, self.mask).listed.items
        found = [
            Change(str(self.lists.train.item_ids[row]), self.lists.titles[row], int(at[0]) + 1)
            for row, items in zip(tried, listed, strict=True)
            if len(at := np.flatnonzero(items == self.row))
        ]
        return tuple(sorted(found, key=lambda change: change.rank)[:SHOWN]), len(tried), into
