"""Lists and reasons of one run, whose items may have grown: questions in, candidates by stage out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from interlingua.contracts.scorer import BoolArray, Scorer, TopK
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import UnknownIdError
from interlingua.progress import say, track
from interlingua.retrieval.best import block_size
from interlingua.retrieval.cascade import Candidates, RetrieveThenRerank, diversified
from interlingua.retrieval.quota import Quota, best_with
from interlingua.runs.answers import Answer, Recommendation, Request, frame_of
from interlingua.runs.newcomers import STAGE, Newcomers, of_both
from interlingua.runs.questions import Allowed, Question, Questions, empty_note
from interlingua.runs.scorers import indexed, rerank_of, retriever_of
from interlingua.runs.sentence import Sentence, Sentences, text_notes
from interlingua.storage.artifact import content_key

if TYPE_CHECKING:
    from interlingua.retrieval.ann import Ann
    from interlingua.runs.new_events import NewEvents
    from interlingua.runs.reasons import Reasons
    from interlingua.runs.session import Session


@dataclass(frozen=True)
class Made:
    """Lists of some queries."""

    listed: Candidates
    new: BoolArray
    """(B,) those that popularity decided"""
    stages: Sequence[str]
    """(B) what decided each"""
    sentence: Sentence | None = None
    """what decided where a text was given"""

    @property
    def stage(self) -> str:
        """What decided the first."""
        return self.stages[0]


class Lists:
    """What a recommender asks a run. A run that has grown is another object of this class.

    Args:
        session: the run.
        index: see :class:`interlingua.recommender.Recommender`.
        closed: (I,) bool: items that never come out; None: there are none.
        events: that came after training.
        before: the run without what came after its training; None: this is it.
    """

    def __init__(
        self,
        session: Session,
        index: Path | str | None = None,
        closed: BoolArray | None = None,
        before: Lists | None = None,
        events: NewEvents | None = None,
    ) -> None:
        self.session, self.index, self.closed, self.before, self.events = session, index, closed, before, events
        self.train, self.titles = session.data.split.train, session.data.catalogue.titles
        self.has_ranker = "rank" in session.done
        self._graphs: dict[int, Ann] = {}

    @property
    def fingerprint(self) -> str:
        """Hash of the items that may come out, their columns, and the new events: it changes as the run grows."""
        table, closed = self.session.data.catalogue.items, [] if self.closed is None else self.closed.tolist()
        new = {} if self.questions.events is None else self.questions.events.of_user
        events = {user: [(each.item_id, each.value) for each in own] for user, own in new.items()}
        ids = table["item_id"].to_list()
        return content_key({"items": table.hash_rows().to_list(), "ids": ids, "closed": closed, "events": events})

    @cached_property
    def questions(self) -> Questions:
        """External ids to queries."""
        return Questions(self.session.data, self.closed, self.events)

    @cached_property
    def _ids(self) -> list[str]:
        return list(map(str, self.train.item_ids.tolist()))

    @cached_property
    def newcomers(self) -> Newcomers:
        """Whom nothing is known of."""
        return Newcomers(self.session)

    @cached_property
    def sentences(self) -> Sentences:
        """What was looked for in words."""
        return Sentences(self.session, self.retriever[1])

    @cached_property
    def reasons(self) -> Reasons:
        """Reasons for items of lists."""
        from interlingua.runs.reasons import Reasons

        return Reasons(self.session.data)

    @cached_property
    def retriever(self) -> tuple[str, Scorer]:
        """(stage, scorer) of what ranks the whole catalogue."""
        return retriever_of(self.session)

    @cached_property
    def by_retriever(self) -> RetrieveThenRerank:
        """Lists without a ranker."""
        return rerank_of(self.session, None, self.indexed(self.retriever[1], lambda run: run.retriever[1]))

    @cached_property
    def by_ranker(self) -> RetrieveThenRerank:
        """Lists in the ranker's order."""
        ranker = self.session.ranker
        if ranker.ranks_catalogue:
            return rerank_of(self.session, None, self.indexed(ranker, lambda run: run.session.ranker))
        return rerank_of(self.session, ranker, self.by_retriever.retriever)

    def indexed(self, scorer: Scorer, first: Callable[[Lists], Scorer]) -> Scorer:
        """A scorer behind its index, if there is one; ``first`` finds the same scorer of the run before it grew."""
        if self.index is None:
            return scorer
        if self.before is None:
            return self.graph(scorer)
        graph = self.before.graph(first(self.before))
        return graph.extended(scorer) if self.session.num_added else graph

    def graph(self, scorer: Scorer) -> Ann:
        """The index over a scorer, made once."""
        assert self.index is not None
        if id(scorer) not in self._graphs:
            self._graphs[id(scorer)] = indexed(self.session, scorer, self.index)
        return self._graphs[id(scorer)]

    def scorer(self, rerank: bool) -> Scorer:
        """What is explained."""
        return self.session.ranker if rerank and self.has_ranker else self.retriever[1]

    def answer(self, request: Request, question: Question) -> Answer:
        """The list for one question."""
        return self.answers(request, question, self.questions.allowed(request), [question.unknown])[0]

    def answers(
        self, request: Request, question: Question, allowed: Allowed, unknown: Sequence[dict[str, list[str]]]
    ) -> list[Answer]:
        """The lists of some queries, with ids, titles and notes.

        Args:
            request: the options.
            question: of B users or histories.
            allowed: what the request leaves.
            unknown: (B) argument -> ids of each that the run does not know.
        """
        made, out = self.made(question, request, allowed.mask), []
        listed = zip(made.listed.items.tolist(), made.listed.scores.tolist(), strict=True)
        for place, (items, scores) in enumerate(listed):
            left_out = unknown[place] | allowed.unknown
            notes = self.questions.notes(left_out)
            if request.text is not None:
                reads = not request.text_weight or made.sentence is not None
                notes += text_notes(reads, request, self.has_ranker)
            found = [
                Recommendation(self._ids[row], self.titles[row], score, made.stages[place])
                for row, score in zip(items, scores, strict=True)
                if row >= 0
            ]
            if not found:
                had = 0 if request.repeat else len(np.unique(question.seen.history(place)))
                notes.append(empty_note(allowed, had, self.train.num_items))
            elif made.new[place]:
                notes.append(self.newcomers.note(1, 1))
            notes += self.too_few(request, made.listed.items[place : place + 1]) if found else []
            ids = tuple(dict.fromkeys(id for ids in left_out.values() for id in ids)) if left_out else ()
            out.append(Answer(found, tuple(notes), ids))
        return out

    def made(self, question: Question, request: Request, allowed: BoolArray | None) -> Made:
        """The lists of some queries, and how they came about."""
        sentence = None
        if request.text is not None:
            sentence = self.sentences.scorer(request.text, request.text_weight)
        if sentence is not None and not request.text_weight:  # as without a text, which the run could read
            request, sentence = replace(request, rerank=False), None
        if sentence is not None:
            listed, new = (
                self.listed_by(sentence, question, request, allowed),
                np.zeros(len(question.queries), np.bool_),
            )
            return Made(listed, new, self.stages(replace(request, rerank=False), new), sentence)
        listed, new = self.listed(question, request, allowed)
        return Made(listed, new, self.stages(request, new))

    def listed(self, question: Question, request: Request, allowed: BoolArray | None) -> tuple[Candidates, BoolArray]:
        """The lists of some queries, and which of them popularity decided."""
        k, use_ranker = request.k, request.rerank and self.has_ranker
        cascade = self.by_ranker if use_ranker else self.by_retriever
        if request.repeat and question.whole:
            cascade = cascade.with_repeats()
        wide = max(5 * k, self.session.recipe.evaluate.retrieve) if request.diversity else k
        new, quota = self.newcomers.among(question.queries), self.quota(request)

        def of(indices: IntArray, known: bool) -> Candidates:
            queries = question.queries.take(indices)
            repeat = request.repeat and not question.whole
            how: dict[str, Any] = {"allowed": allowed, "repeat": repeat, "seen": question.seen.take(indices)}
            how["quota"] = quota
            if known:  # an item without evidence scores 0 like many others: the popular ones of them come first
                return cascade.candidates(queries, wide, ties=self.train.item_counts, **how)
            return self.newcomers.answered(self.retriever[1], queries, wide, **how)

        listed = of_both(new, of)
        if request.diversity:
            listed = diversified(listed, self.session.data.catalogue.categories, k, request.diversity, quota)
        return listed, new

    def listed_by(
        self, sentence: Sentence, question: Question, request: Request, allowed: BoolArray | None
    ) -> Candidates:
        """The lists of some queries, by a sentence and by what they have had."""
        nobody: list[list[int]] = [[] for _ in range(len(question.queries))]
        queries = Queries.of(nobody) if self.newcomers.among(question.queries).any() else question.queries
        wide = max(5 * request.k, self.session.recipe.evaluate.retrieve) if request.diversity else request.k
        how: dict[str, Any] = {"repeat": request.repeat, "seen": question.seen, "ties": self.train.item_counts}
        quota = self.quota(request)
        found = best_with(sentence, queries, wide, quota, allowed=allowed, **how)
        listed = Candidates(found.indices, found.scores, found.scores)
        if request.diversity:
            return diversified(listed, self.session.data.catalogue.categories, request.k, request.diversity, quota)
        return listed

    def quota(self, request: Request) -> Quota | None:
        """What ``new_share`` asks of each list: of items without an event in training, as all added ones are."""
        return Quota(request.new_share, self.train.item_counts == 0) if request.new_share else None

    def too_few(self, request: Request, items: IntArray) -> list[str]:
        """A note on lists (B, k) with fewer new items than ``new_share`` asks for."""
        quota = self.quota(request)
        if quota is None:
            return []
        counts, least = quota.counts(items), quota.least(request.k)
        if len(items) == 1:
            return [f"new_share: {least} of {request.k} are to be new, and {counts[0]} may come out"] * bool(
                counts[0] < least
            )
        few = int((counts < least).sum())
        said = f"new_share: {few:,} of {len(items):,} lists have fewer than {least} new items: no more may come out"
        return [said] if few else []

    def stages(self, request: Request, new: BoolArray) -> list[str]:
        """(B,) the stage that decided each list. A backbone trained with texts is named in the align stage's card."""
        kind, done = "rank" if request.rerank and self.has_ranker else self.retriever[0], self.session.done
        known = str(done[kind].card["name"] if kind in done else done["align"].card["config"]["backbone"]["name"])
        return [STAGE if is_new else known for is_new in new]

    def frame(self, names: list[str], question: Question, request: Request) -> pl.DataFrame:
        """The lists of many users, by blocks of some 64 MB of scores."""
        size = block_size(self.train.num_items)
        question, request = self.questions.excluding(question, names, request)
        allowed = self.questions.allowed(request)
        blocks = [question.slice(at, at + size) for at in range(0, len(names), size)]
        found = [self.listed(block, request, allowed.mask) for block in track(blocks, "recommend")]
        items = np.concatenate([part.items for part, _ in found]) if found else np.zeros((0, 0), np.int64)
        scores = np.concatenate([part.scores for part, _ in found]) if found else np.zeros((0, 0), np.float32)
        new = np.concatenate([part for _, part in found]) if found else np.zeros(0, np.bool_)
        none = int((items < 0).all(axis=1).sum())
        for note in self.questions.notes(question.unknown | allowed.unknown):
            say(f"note: {note}")
        if new.any():
            say(f"note: {self.newcomers.note(int(new.sum()), len(names))}")
        for note in self.too_few(request, items):
            say(f"note: {note}")
        if none:
            say(f"note: {none:,} of {len(names):,} lists are empty: {empty_note(allowed, 0, self.train.num_items)}")
        stages = self.stages(request, new) if names else []
        return frame_of(names, self.train.item_ids.tolist(), items, scores, stages)

    def alike(
        self, row: int, k: int, allowed: BoolArray | None = None, space: str | None = None
    ) -> tuple[str, list[tuple[int, float]]]:
        """Space in words, and (row, cosine) of the ``k`` items most like one; those that never come out are left out.

        ``allowed``: (I,) items that may come out, where that is known already; ``space``: see
        :func:`interlingua.runs.neighbours.similar_items`.
        """
        from interlingua.runs.neighbours import similar_items

        if allowed is None and self.closed is not None:
            allowed = ~self.closed
        space, found = similar_items(self.session, row, k, allowed, space)
        return space, _pairs(found)

    def alike_users(self, row: int, k: int) -> list[tuple[int, float]]:
        """(row, cosine) of the ``k`` users most like one."""
        from interlingua.runs.neighbours import similar_users

        if row < 0:
            raise UnknownIdError("the user is known by events after training alone, and is compared with nobody yet")
        return _pairs(similar_users(self.session, row, k))

    def explained(
        self, language_model: Any, query: Queries, items: Sequence[int], rerank: bool, text: str | None = None,
        text_weight: float = 0.5,
    ) -> list[Any]:  # fmt: skip
        """Reasons for items, by indices; of a list for a ``text`` by what ranked it."""
        sentence = None if text is None else self.sentences.scorer(text, text_weight)
        if text is None or sentence is None:
            return self.reasons.of(self.scorer(rerank), language_model, query, items, rerank)
        if self.newcomers.among(query).any():  # as :meth:`listed_by`
            nobody: list[list[int]] = [[]]
            query = Queries.of(nobody)
        by = (text, text_weight)
        return self.reasons.of(sentence, language_model, query, items, by, lambda some: sentence.sought(text, some))


def _pairs(found: TopK) -> list[tuple[int, float]]:
    """(index, score) of the one list."""
    pairs = zip(found.indices[0].tolist(), found.scores[0].tolist(), strict=True)
    return [(int(other), float(score)) for other, score in pairs]
