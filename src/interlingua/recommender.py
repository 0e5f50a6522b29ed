"""A finished run as a recommender: external ids in, ids with scores, titles, the deciding stage and reasons out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import polars as pl

from interlingua.contracts.scorer import BoolArray, Scorer
from interlingua.data.allowed import Filters
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.progress import say, track
from interlingua.retrieval.best import block_size
from interlingua.retrieval.cascade import Candidates, RetrieveThenRerank, diversified
from interlingua.runs.answers import (
    Answer,
    Histories,
    Recommendation,
    Request,
    SimilarItem,
    SimilarUser,
    Support,
    frame_of,
)
from interlingua.runs.newcomers import STAGE, Newcomers, of_both
from interlingua.runs.opening import open_session
from interlingua.runs.questions import Question, Questions, empty_note
from interlingua.runs.scorers import indexed, rerank_of, retriever_of
from interlingua.runs.session import Session
from interlingua.runs.sharing import Shared

if TYPE_CHECKING:
    from interlingua.explain.explain import Explanation
    from interlingua.runs.reasons import Reasons


__all__ = [
    "Answer", "Recommendation", "Recommender", "SimilarItem", "SimilarUser", "Support", "align",
    "from_pretrained", "load",
]  # fmt: skip


class Recommender(Shared):
    """A finished run that recommends. Loads lazily: without re-ranking the language model is never opened.

    With an ``index`` (:func:`interlingua.runs.scorers.indexed`), made at once, the best items are found approximately.
    ``reasons`` says who words them: ``auto`` (the ranker's language model; else a rule), ``rule``, or a model's name.
    """

    def __init__(self, session: Session, index: Path | str | None = None, reasons: str = "auto") -> None:
        super().__init__(session, index)
        from interlingua.runs.reasons import checked

        self.reasons = checked(reasons)
        self.train = session.data.split.train
        self.titles: list[str] = session.data.catalogue.titles
        if index is not None:
            _ = self._by_ranker if self.has_ranker else self._by_retriever

    @classmethod
    def load(
        cls, path: Path | str, device: str = "auto", *, trust: bool = False, index: Path | str | None = None,
        reasons: str = "auto",
    ) -> Recommender:  # fmt: skip
        """Opens the folder of a finished run (``runs/evaluate-...``)."""
        return cls(open_session(path, device, trust=trust), index, reasons)

    @property
    def version(self) -> str:
        """Key of the run: changes with data, options and seed."""
        return self.session.done["evaluate"].key[:12]

    @property
    def has_ranker(self) -> bool:
        """Whether a language model can re-rank."""
        return "rank" in self.session.done

    @overload
    def recommend(
        self, user: str | None = ..., history: Sequence[str] | None = ..., k: int = ..., *, rerank: bool = ...,
        items: Sequence[str] | None = ...,
        exclude: Sequence[str] = ..., filters: Filters | None = ..., diversity: float = ..., repeat: bool = ...,
    ) -> list[Recommendation]: ...  # fmt: skip

    @overload
    def recommend(
        self, *, users: Sequence[str], k: int = ..., rerank: bool = ..., items: Sequence[str] | None = ...,
        exclude: Sequence[str] = ..., filters: Filters | None = ..., diversity: float = ..., repeat: bool = ...,
    ) -> pl.DataFrame: ...  # fmt: skip

    @overload
    def recommend(
        self, *, histories: Histories, k: int = ..., rerank: bool = ..., items: Sequence[str] | None = ...,
        exclude: Sequence[str] = ..., filters: Filters | None = ..., diversity: float = ..., repeat: bool = ...,
    ) -> pl.DataFrame: ...  # fmt: skip

    def recommend(
        self,
        user: str | None = None,
        history: Sequence[str] | None = None,
        k: int = 10,
        *,
        users: Sequence[str] | None = None,
        histories: Histories | None = None,
        rerank: bool = True,
        items: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        filters: Filters | None = None,
        diversity: float = 0.0,
        repeat: bool = False,
    ) -> list[Recommendation] | pl.DataFrame:
        """The best ``k`` items that the user has not had: a list for one user, a frame for many.

        Args:
            user: external id of a known user, or
            history: item ids, oldest first, of any user (an empty list: a new user).
            k: how many.
            users: many known users, or
            histories: many histories; as a mapping, its keys are the frame's ``user_id``, else they are numbered.
            rerank: let the language model reorder what the backbone retrieved, if the run has one.
            items: the only item ids that may come out; None: all.
            exclude: item ids that must not come out.
            filters: conditions on columns of the catalogue, e.g. ``'year >= 1990 and "Comedy" in categories'`` or
                ``{"categories": "Comedy", "year>=": 1990}`` (see :mod:`interlingua.data.allowed`).
            diversity: 0: by score only; higher: prefer items of different categories, chosen among the best
                ``max(5 k, evaluate.retrieve)`` (see :func:`interlingua.retrieval.cascade.diversified`).
            repeat: whether items of the user's history may come out again (groceries, music).

        Item ids that the run does not know are left out and said. Who is new to the run (no history, or one that says
        nothing to it) gets what is popular in training.

        Returns:
            For ``users`` and ``histories`` a Polars frame with ``user_id``, ``item_id``, ``score``, ``rank`` and
            ``stage``: what decided, as in :class:`Recommendation`.

        Raises:
            DataError: a user or a column that the run does not know.
            ConfigError: not exactly one of ``user``, ``history``, ``users``, ``histories``, ``k`` < 1, a negative
                ``diversity``, or a filter that cannot be read.
        """
        request = Request(k, rerank, exclude, items, filters, diversity, repeat)
        if users is not None or histories is not None:
            request.check(user, history, users, histories)
            return self._frame(*self._questions.of_many(users, histories), request)
        found = self._answer(request, user, history)
        for note in found.notes:
            say(f"note: {note}")
        return found.items

    def answer(
        self, user: str | None = None, history: Sequence[str] | None = None, k: int = 10, **options: Any
    ) -> Answer:
        """:meth:`recommend` for one user, with its notes in the answer instead of on stderr; the same options."""
        return self._answer(Request.of(k, options), user, history)

    def _answer(self, request: Request, user: str | None, history: Sequence[str] | None) -> Answer:
        request.check(user, history)
        question, allowed = self._questions.of_one(user, history), self._questions.allowed(request)
        unknown = question.unknown | allowed.unknown
        notes = self._questions.notes(unknown)
        listed, new = self._listed(question, request, allowed.mask)
        stages = self._stages(request, new)
        found = [
            Recommendation(str(self.train.item_ids[row]), self.titles[row], float(score), stages[0])
            for row, score in zip(listed.items[0], listed.scores[0], strict=True)
            if row >= 0
        ]
        if not found:
            had = 0 if request.repeat else len(np.unique(question.seen.items))
            notes.append(empty_note(allowed, had, self.train.num_items))
        elif new.any():
            notes.append(self._newcomers.note(1, 1))
        return Answer(found, tuple(notes), tuple(dict.fromkeys(id for ids in unknown.values() for id in ids)))

    def _listed(self, question: Question, request: Request, allowed: BoolArray | None) -> tuple[Candidates, BoolArray]:
        """The lists of some queries, and which of them popularity decided."""
        k, use_ranker = request.k, request.rerank and self.has_ranker
        cascade = self._by_ranker if use_ranker else self._by_retriever
        wide = max(5 * k, self.session.recipe.evaluate.retrieve) if request.diversity else k
        new = self._newcomers.among(question.queries)

        def of(indices: IntArray, known: bool) -> Candidates:
            queries = question.queries.take(indices)
            how: dict[str, Any] = {"allowed": allowed, "repeat": request.repeat, "seen": question.seen.take(indices)}
            if known:  # an item without evidence scores 0 like many others: the popular ones of them come first
                return cascade.candidates(queries, wide, ties=self.train.item_counts, **how)
            return self._newcomers.answered(self._retriever[1], queries, wide, **how)

        listed = of_both(new, of)
        if request.diversity:
            listed = diversified(listed, self.session.data.catalogue.categories, k, request.diversity)
        return listed, new

    def _stages(self, request: Request, new: BoolArray) -> list[str]:
        """(B,) the stage that decided each list. A backbone trained with texts is named in the align stage's card."""
        kind, done = "rank" if request.rerank and self.has_ranker else self._retriever[0], self.session.done
        known = str(done[kind].card["name"] if kind in done else done["align"].card["config"]["backbone"]["name"])
        return [STAGE if is_new else known for is_new in new]

    def _frame(self, names: list[str], question: Question, request: Request) -> pl.DataFrame:
        """The lists of many users, by blocks of some 64 MB of scores."""
        size = block_size(self.train.num_items)
        allowed = self._questions.allowed(request)
        blocks = [question.slice(at, at + size) for at in range(0, len(names), size)]
        found = [self._listed(block, request, allowed.mask) for block in track(blocks, "recommend")]
        items = np.concatenate([part.items for part, _ in found]) if found else np.zeros((0, 0), np.int64)
        scores = np.concatenate([part.scores for part, _ in found]) if found else np.zeros((0, 0), np.float32)
        new = np.concatenate([part for _, part in found]) if found else np.zeros(0, np.bool_)
        none = int((items < 0).all(axis=1).sum())
        for note in self._questions.notes(question.unknown | allowed.unknown):
            say(f"note: {note}")
        if new.any():
            say(f"note: {self._newcomers.note(int(new.sum()), len(names))}")
        if none:
            say(f"note: {none:,} of {len(names):,} lists are empty: {empty_note(allowed, 0, self.train.num_items)}")
        stages = self._stages(request, new) if names else []
        return frame_of(names, self.train.item_ids.tolist(), items, scores, stages)

    def similar_items(self, item: str, k: int = 10) -> list[SimilarItem]:
        """The ``k`` items most like this one, best first (see :mod:`interlingua.runs.neighbours`)."""
        ids, found = self.train.item_ids, self._nearest("items", self.item_row(item), k)
        return [SimilarItem(str(ids[row]), self.titles[row], score) for row, score in found]

    def similar_users(self, user: str, k: int = 10) -> list[SimilarUser]:
        """The ``k`` users most like this one, best first (see :mod:`interlingua.runs.neighbours`)."""
        ids = self.train.user_ids
        return [SimilarUser(str(ids[row]), score) for row, score in self._nearest("users", self.user_row(user), k)]

    def _nearest(self, side: str, row: int, k: int) -> list[tuple[int, float]]:
        from interlingua.runs.neighbours import similar

        found = similar(self.session, side, row, k)
        return [(int(other), float(score)) for other, score in zip(found.indices[0], found.scores[0], strict=True)]

    @cached_property
    def _retriever(self) -> tuple[str, Scorer]:
        return retriever_of(self.session)

    @cached_property
    def _by_retriever(self) -> RetrieveThenRerank:
        return rerank_of(self.session, None, self._indexed(self._retriever[1]))

    @cached_property
    def _by_ranker(self) -> RetrieveThenRerank:
        ranker = self.session.ranker
        if ranker.ranks_catalogue:
            return rerank_of(self.session, None, self._indexed(ranker))
        return rerank_of(self.session, ranker, self._by_retriever.retriever)

    def _indexed(self, scorer: Scorer) -> Scorer:
        return scorer if self.index is None else indexed(self.session, scorer, self.index)

    def explain(
        self, item: str, user: str | None = None, history: Sequence[str] | None = None, *, rerank: bool = True
    ) -> Explanation[Support]:
        """The reason for an item: a sentence, and the history items that support it (by influence on the score).

        ``rerank``: as in :meth:`recommend`; False: the retriever's score is explained.
        """
        return self.explain_items([item], user, history, rerank=rerank)[0]

    def explain_items(
        self,
        items: Sequence[str],
        user: str | None = None,
        history: Sequence[str] | None = None,
        *,
        rerank: bool = True,
    ) -> list[Explanation[Support]]:
        """:meth:`explain` for several items of one answer; their influences are measured together."""
        query = self.query(user, history)
        found = self.explain_rows(query, [self.item_row(item) for item in items], rerank=rerank)
        return [self._reasons.with_ids(each, query) for each in found]

    def explain_query(self, query: Queries, item: int) -> Explanation[tuple[int, float]]:
        """:meth:`explain` by indices."""
        return self.explain_rows(query, [item])[0]

    def explain_rows(
        self, query: Queries, items: Sequence[int], *, rerank: bool = True
    ) -> list[Explanation[tuple[int, float]]]:
        """:meth:`explain_items` by indices; recent reasons are remembered."""
        scorer = self.session.ranker if rerank and self.has_ranker else self._retriever[1]
        return self._reasons.of(scorer, lambda: self.language_model, query, items, rerank)

    @cached_property
    def _reasons(self) -> Reasons:
        from interlingua.runs.reasons import Reasons

        return Reasons(self.session.data)

    def query(self, user: str | None = None, history: Sequence[str] | None = None) -> Queries:
        """A query from a known user (all events on record) or from a history of item ids; reports unknown ids."""
        if (user is None) == (history is None):
            raise ConfigError("give either a user or a history")
        question = self._questions.of_one(user, history)
        for note in self._questions.notes(question.unknown):
            say(f"note: {note}")
        return question.queries

    def user_row(self, user: str) -> int:
        """Index of an external user id."""
        return self._questions.user_row(user)

    def item_row(self, item: str) -> int:
        """Index of an external item id."""
        return self._questions.item_row(item)

    @cached_property
    def _questions(self) -> Questions:
        return Questions(self.session.data)

    @cached_property
    def _newcomers(self) -> Newcomers:
        return Newcomers(self.session)

    @cached_property
    def language_model(self) -> Any:
        """What words reasons (see :func:`interlingua.runs.reasons.writer_of`); None: a rule, and nothing is loaded."""
        from interlingua.runs.reasons import writer_of

        return writer_of(self.session, self.reasons)


def load(
    run: Path | str | Session, device: str = "auto", *, trust: bool = False, index: Path | str | None = None,
    reasons: str = "auto",
) -> Recommender:  # fmt: skip
    """Opens a finished run as a :class:`Recommender`: its folder, or what ``interlingua.run`` gave."""
    session = run if isinstance(run, Session) else open_session(run, device, trust=trust)
    return Recommender(session, index, reasons)


def from_pretrained(name: Path | str, revision: str | None = None, **options: Any) -> Recommender:
    """Opens a saved model, ``interlingua.from_pretrained``: see :meth:`Recommender.from_pretrained`."""
    return Recommender.from_pretrained(name, revision, **options)


def align(
    items: Any, users: Any = None, catalogue: Any = None, interactions: Any = None, method: str = "auto", **options: Any
) -> Recommender:
    """Vectors of another system and texts of a catalogue as a recommender: :func:`interlingua.runs.bring.align`."""
    from interlingua.runs.bring import align as aligned

    return Recommender(aligned(items, users, catalogue, interactions, method, **options))
