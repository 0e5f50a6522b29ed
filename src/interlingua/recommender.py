"""A finished run as a recommender: external ids in, ids with scores, titles, the deciding stage and reasons out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import polars as pl

from interlingua.contracts.scorer import Scorer
from interlingua.data.allowed import Filters, allowed_by
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, DataError, shown, unknown
from interlingua.progress import track
from interlingua.retrieval.best import BoolArray, block_size
from interlingua.retrieval.cascade import Candidates, RetrieveThenRerank, diversified
from interlingua.runs.answers import (
    Asked,
    Histories,
    Recommendation,
    SimilarItem,
    SimilarUser,
    Support,
    frame_of,
    names_of,
)  # fmt: skip
from interlingua.runs.opening import open_session
from interlingua.runs.scorers import indexed, rerank_of, retriever_of
from interlingua.runs.session import Session

if TYPE_CHECKING:
    from interlingua.explain.explain import Explanation
    from interlingua.runs.reasons import Reasons


__all__ = ["Recommendation", "Recommender", "SimilarItem", "SimilarUser", "Support", "align", "load"]

DEFAULT_MODEL = "smollm2-135m"
"""says the reasons of runs without a language model of their own"""


class Recommender:
    """Loads lazily: asking without re-ranking never opens the language model.

    With an ``index`` (see :func:`interlingua.runs.scorers.indexed`), which is made at once, the best items are found
    approximately, fast in catalogues of millions.
    """

    def __init__(self, session: Session, index: Path | str | None = None) -> None:
        self.session, self.index = session, index
        self.train = session.data.split.train
        self.titles: list[str] = session.data.catalogue.titles
        if index is not None:
            _ = self._by_reader if self.has_reader else self._by_retriever

    @classmethod
    def load(
        cls, path: Path | str, device: str = "auto", *, trust: bool = False, index: Path | str | None = None
    ) -> Recommender:
        """Opens the folder of a finished run (``runs/evaluate-...``)."""
        return cls(open_session(path, device, trust=trust), index)

    @property
    def version(self) -> str:
        """Key of the run: changes with data, options and seed."""
        return self.session.done["evaluate"].key[:12]

    @property
    def has_reader(self) -> bool:
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
            history: item ids, oldest first, of anybody (an empty list: a new user).
            k: how many.
            users: many known users, or
            histories: many histories; as a mapping, its keys are the frame's ``user_id``, else they are numbered.
            rerank: let the language model order what the backbone retrieved, where the run has one.
            items: item ids that alone may come out; None: all.
            exclude: item ids that must not come out.
            filters: conditions on columns of the catalogue, e.g. ``{"categories": "Comedy", "year>=": 1990}`` (see
                :mod:`interlingua.data.allowed`).
            diversity: 0: by score alone; more: rather items of different categories, chosen among the best
                ``max(5 k, evaluate.retrieve)`` (see :func:`interlingua.retrieval.cascade.diversified`).
            repeat: items that the user has had may come out too (groceries, music).

        Returns:
            For ``users`` and ``histories`` a Polars frame with ``user_id``, ``item_id``, ``score``, ``rank``.

        Raises:
            DataError: an id or a column that the run does not know.
            ConfigError: not exactly one of ``user``, ``history``, ``users``, ``histories``, ``k`` < 1, a negative
                ``diversity``, or a filter that cannot be read.
        """
        if sum(given is not None for given in (user, history, users, histories)) != 1:
            raise ConfigError("give either a user or a history, or many as users or histories")
        if k < 1:
            raise ConfigError(f"k must be at least 1, got {k}")
        if not diversity >= 0:
            raise ConfigError(f"diversity must be at least 0, got {diversity}")
        asked = Asked(k, rerank, exclude, items, filters, diversity, repeat)
        if users is not None or histories is not None:
            return self._frame(*self._many(users, histories), asked)
        listed, stage = self._listed(self.query(user, history), asked, self._allowed(asked))
        return [
            Recommendation(str(self.train.item_ids[row]), self.titles[row], float(score), stage)
            for row, score in zip(listed.items[0], listed.scores[0], strict=True)
            if row >= 0
        ]

    def _allowed(self, asked: Asked) -> BoolArray | None:
        """(I,) items that may come out for anybody; None: all."""
        if asked.items is None and not len(asked.exclude) and not asked.filters:
            return None
        out = np.full(self.train.num_items, asked.items is None)
        if asked.items is not None:
            out[[self.item_row(item) for item in names_of(asked.items, "items")]] = True
        if asked.filters:
            out &= allowed_by(self.session.data.catalogue, asked.filters)
        out[[self.item_row(item) for item in names_of(asked.exclude, "exclude")]] = False
        return out

    def _listed(self, queries: Queries, asked: Asked, allowed: BoolArray | None) -> tuple[Candidates, str]:
        """The lists of some queries, and the name of the stage that decided."""
        k, use_reader = asked.k, asked.rerank and self.has_reader
        cascade = self._by_reader if use_reader else self._by_retriever
        wide = max(5 * k, self.session.recipe.evaluate.retrieve) if asked.diversity else k
        listed = cascade.shortlist(queries, wide, allowed, repeat=asked.repeat)
        if asked.diversity:
            listed = diversified(listed, self.session.data.catalogue.categories, k, asked.diversity)
        return listed, self._stage("rank" if use_reader else self._retriever[0])

    def _many(self, users: Sequence[str] | None, histories: Histories | None) -> tuple[list[str], Queries]:
        """Names and queries of many users or histories."""
        if users is not None:
            names = names_of(users, "users")
            rows = np.array([self._user_row(name) for name in names], np.int64)
            return names, self.session.data.on_record.queries(rows)
        assert histories is not None
        given = histories if isinstance(histories, Mapping) else dict(enumerate(histories))
        named = {str(name): names_of(history, f"history {name!r}") for name, history in given.items()}
        return list(named), Queries.of([[self.item_row(item) for item in history] for history in named.values()])

    def _frame(self, names: list[str], queries: Queries, asked: Asked) -> pl.DataFrame:
        """The lists of many users, by blocks of some 64 MB of scores."""
        size = block_size(self.train.num_items)
        starts = range(0, len(names), size)
        allowed = self._allowed(asked)
        found = [self._listed(queries.slice(at, at + size), asked, allowed)[0] for at in track(starts, "recommend")]
        items = np.concatenate([part.items for part in found]) if found else np.zeros((0, 0), np.int64)
        scores = np.concatenate([part.scores for part in found]) if found else np.zeros((0, 0), np.float32)
        return frame_of(names, self.train.item_ids.tolist(), items, scores)

    def similar_items(self, item: str, k: int = 10) -> list[SimilarItem]:
        """The ``k`` items most like this one, best first (see :mod:`interlingua.runs.neighbours`)."""
        ids, found = self.train.item_ids, self._nearest("items", self.item_row(item), k)
        return [SimilarItem(str(ids[row]), self.titles[row], score) for row, score in found]

    def similar_users(self, user: str, k: int = 10) -> list[SimilarUser]:
        """The ``k`` users most like this one, best first (see :mod:`interlingua.runs.neighbours`)."""
        ids = self.train.user_ids
        return [SimilarUser(str(ids[row]), score) for row, score in self._nearest("users", self._user_row(user), k)]

    def _nearest(self, side: str, row: int, k: int) -> list[tuple[int, float]]:
        from interlingua.runs.neighbours import nearest, similar

        if k < 1:
            raise ConfigError(f"k must be at least 1, got {k}")
        values = similar(self.session, side, row)
        return [(int(other), float(values[other])) for other in nearest(values, row, k)]

    @cached_property
    def _retriever(self) -> tuple[str, Scorer]:
        return retriever_of(self.session)

    @cached_property
    def _by_retriever(self) -> RetrieveThenRerank:
        return rerank_of(self.session, None, self._indexed(self._retriever[1]))

    @cached_property
    def _by_reader(self) -> RetrieveThenRerank:
        ranker = self.session.ranker
        if ranker.ranks_catalogue:
            return rerank_of(self.session, None, self._indexed(ranker))
        return rerank_of(self.session, ranker, self._by_retriever.retriever)

    def _indexed(self, scorer: Scorer) -> Scorer:
        return scorer if self.index is None else indexed(self.session, scorer, self.index)

    def _stage(self, kind: str) -> str:
        """Name of what answered; a backbone trained along with texts stands in the align stage's card."""
        done = self.session.done
        if kind == "align":
            return str(done["align"].card["name"])
        return str(done[kind].card["name"] if kind in done else done["align"].card["config"]["backbone"]["name"])

    def explain(
        self, item: str, user: str | None = None, history: Sequence[str] | None = None, *, rerank: bool = True
    ) -> Explanation[Support]:
        """Why this item: a sentence, and the history items that support it (by influence on the score).

        ``rerank``: as in :meth:`recommend`; False: the retriever's score is what is explained.
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
        """:meth:`explain` for several items of one answer: their influences are measured in one go."""
        query = self.query(user, history)
        found = self.explain_rows(query, [self.item_row(item) for item in items], rerank=rerank)
        return [self._reasons.with_ids(each, query) for each in found]

    def explain_query(self, query: Queries, item: int) -> Explanation[tuple[int, float]]:
        """:meth:`explain` by rows."""
        return self.explain_rows(query, [item])[0]

    def explain_rows(
        self, query: Queries, items: Sequence[int], *, rerank: bool = True
    ) -> list[Explanation[tuple[int, float]]]:
        """:meth:`explain_items` by rows; what was explained lately is not explained anew."""
        scorer = self.session.ranker if rerank and self.has_reader else self._retriever[1]
        return self._reasons.of(scorer, lambda: self.language_model, query, items, rerank)

    @cached_property
    def _reasons(self) -> Reasons:
        from interlingua.runs.reasons import Reasons

        return Reasons(self.session.data)

    def query(self, user: str | None = None, history: Sequence[str] | None = None) -> Queries:
        """One query from a known user (all events on record) or from a history of item ids."""
        if (user is None) == (history is None):
            raise ConfigError("give either a user or a history")
        if history is not None:
            return Queries.of([[self.item_row(i) for i in history]])
        return self.session.data.on_record.queries(np.array([self._user_row(str(user))]))

    def _user_row(self, user: str) -> int:
        """Row of an external user id."""
        if str(user) not in self.train.user_rows:
            raise DataError(
                f"unknown user {shown(user)}: the run knows {self.train.num_users} users; give a history of item ids "
                "instead"
            )
        return self.train.user_rows[str(user)]

    def item_row(self, item: str) -> int:
        """Row of an external item id."""
        rows = self.train.item_rows
        if str(item) not in rows:
            raise DataError(unknown("item id", str(item), rows, see="items.parquet of the run's prepare stage"))
        return rows[str(item)]

    @cached_property
    def language_model(self) -> Any:
        """The language model that says reasons: the ranker's, whole (a ranker may score with its first layers only)."""
        from interlingua.lm.load import load

        own = self.session.ranker.writer() if "rank" in self.session.done else None
        return load(DEFAULT_MODEL) if own is None else own


def load(
    run: Path | str | Session, device: str = "auto", *, trust: bool = False, index: Path | str | None = None
) -> Recommender:
    """Opens a finished run as a recommender (``interlingua.load``): its folder, or what ``interlingua.run`` gave."""
    return (
        Recommender(run, index) if isinstance(run, Session) else Recommender.load(run, device, trust=trust, index=index)
    )


def align(
    items: Any, users: Any = None, catalogue: Any = None, interactions: Any = None, method: str = "auto", **options: Any
) -> Recommender:
    """Vectors of another system and texts of a catalogue as a recommender (``interlingua.align``).

    Every argument is explained at :func:`interlingua.runs.bring.align`.
    """
    from interlingua.runs.bring import align as aligned

    return Recommender(aligned(items, users, catalogue, interactions, method, **options))
