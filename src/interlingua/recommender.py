"""A finished run as a recommender: external ids in, ids with scores, titles, the deciding stage and reasons out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import polars as pl

from interlingua import cancel
from interlingua.answers import Asked, Histories, Recommendation, SimilarItem, SimilarUser, Support
from interlingua.cascade import Cascade, Shortlist, diversified
from interlingua.core import Queries, Ranker
from interlingua.errors import ConfigError, DataError, shown, unknown
from interlingua.evaluate.ranking import block_size
from interlingua.opening import open_session
from interlingua.progress import track
from interlingua.session import Session
from interlingua.stages import cascade_of, retriever_of

if TYPE_CHECKING:
    from interlingua.llm.explain import Explanation


__all__ = ["Recommendation", "Recommender", "SimilarItem", "SimilarUser", "Support", "load"]

DEFAULT_MODEL = "smollm2-135m"
"""says the reasons of runs without a language model of their own"""
MOST_EXPLAINED = 1000
"""reasons that are remembered"""


class Recommender:
    """Loads lazily: asking without re-ranking never opens the language model."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.train = session.data.split.train
        self.titles: list[str] = session.data.catalogue.titles
        self._explained: dict[tuple[Any, ...], Explanation[tuple[int, float]]] = {}

    @classmethod
    def load(cls, path: Path | str, device: str = "auto", *, trust: bool = False) -> Recommender:
        """Opens the folder of a finished run (``runs/evaluate-...``)."""
        return cls(open_session(path, device, trust=trust))

    @property
    def version(self) -> str:
        """Key of the run: changes with data, options and seed."""
        return self.session.done["evaluate"].key[:12]

    @property
    def has_reader(self) -> bool:
        """Whether a language model can re-rank."""
        return "read" in self.session.done

    @overload
    def recommend(
        self, user: str | None = ..., history: Sequence[str] | None = ..., k: int = ..., *, rerank: bool = ...,
        exclude: Sequence[str] = ..., diversity: float = ..., repeat: bool = ...,
    ) -> list[Recommendation]: ...  # fmt: skip

    @overload
    def recommend(
        self, *, users: Sequence[str], k: int = ..., rerank: bool = ..., exclude: Sequence[str] = ...,
        diversity: float = ..., repeat: bool = ...,
    ) -> pl.DataFrame: ...  # fmt: skip

    @overload
    def recommend(
        self, *, histories: Histories, k: int = ..., rerank: bool = ..., exclude: Sequence[str] = ...,
        diversity: float = ..., repeat: bool = ...,
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
        exclude: Sequence[str] = (),
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
            exclude: item ids that must not come out.
            diversity: 0: by score alone; more: rather items of different categories, chosen among the best
                ``max(5 k, evaluate.retrieve)`` (see :func:`interlingua.cascade.diversified`).
            repeat: items that the user has had may come out too (groceries, music).

        Returns:
            For ``users`` and ``histories`` a Polars frame with ``user_id``, ``item_id``, ``score``, ``rank``.

        Raises:
            DataError: an id that the run does not know.
            ConfigError: not exactly one of ``user``, ``history``, ``users``, ``histories``, ``k`` < 1, or a negative
                ``diversity``.
        """
        if sum(given is not None for given in (user, history, users, histories)) != 1:
            raise ConfigError("give either a user or a history, or many as users or histories")
        if k < 1:
            raise ConfigError(f"k must be at least 1, got {k}")
        if not diversity >= 0:
            raise ConfigError(f"diversity must be at least 0, got {diversity}")
        asked = Asked(k, rerank, exclude, diversity, repeat)
        if users is not None or histories is not None:
            return self._frame(*self._many(users, histories), asked)
        listed, stage = self._listed(self.query(user, history), asked)
        return [
            Recommendation(str(self.train.item_ids[row]), self.titles[row], float(score), stage)
            for row, score in zip(listed.items[0], listed.scores[0], strict=True)
            if row >= 0
        ]

    def _listed(self, queries: Queries, asked: Asked) -> tuple[Shortlist, str]:
        """The lists of some queries, and the name of the stage that decided."""
        k, hidden = asked.k, np.array([self.item_row(i) for i in asked.exclude], np.int64)
        use_reader = asked.rerank and self.has_reader
        cascade = self._by_reader if use_reader else self._by_retriever
        if asked.diversity:
            wide = max(5 * k, self.session.recipe.evaluate.retrieve)
            listed = cascade.shortlist(queries, wide, hidden, repeat=asked.repeat)
            listed = diversified(listed, self.categories, k, asked.diversity)
        else:
            listed = cascade.shortlist(queries, k, hidden, repeat=asked.repeat)
        return listed, self._stage("read" if use_reader else self._retriever[0])

    def _many(self, users: Sequence[str] | None, histories: Histories | None) -> tuple[list[str], Queries]:
        """Names and queries of many users or histories."""
        if users is not None:
            names = self._names(users, "users")
            rows = np.array([self._user_row(name) for name in names], np.int64)
            return names, self.session.data.interactions.queries(rows)
        assert histories is not None
        given = histories if isinstance(histories, Mapping) else dict(enumerate(histories))
        named = {str(name): self._names(history, f"history {name!r}") for name, history in given.items()}
        return list(named), Queries.of([[self.item_row(item) for item in history] for history in named.values()])

    @staticmethod
    def _names(ids: Any, what: str) -> list[str]:
        """Ids as texts; one text alone would be taken apart into letters."""
        if isinstance(ids, str | bytes) or not hasattr(ids, "__iter__"):
            raise ConfigError(f"{what} is {shown(ids)}; give a list of ids")
        return [str(each) for each in ids]

    def _frame(self, names: list[str], queries: Queries, asked: Asked) -> pl.DataFrame:
        """The lists of many users, by blocks of some 64 MB of scores."""
        size = block_size(self.train.num_items)
        starts = range(0, len(names), size)
        found = [self._listed(queries.slice(at, at + size), asked)[0] for at in track(starts, "recommend")]
        items = np.concatenate([part.items for part in found]) if found else np.zeros((0, 0), np.int64)
        scores = np.concatenate([part.scores for part in found]) if found else np.zeros((0, 0), np.float32)
        who, rank = np.nonzero(items >= 0)
        ids = pl.Series("user_id", names, dtype=pl.String), pl.Series(self.train.item_ids.tolist(), dtype=pl.String)
        return pl.DataFrame(
            {
                "user_id": ids[0].gather(who),
                "item_id": ids[1].gather(items[who, rank]),
                "score": pl.Series(scores[who, rank], dtype=pl.Float32),
                "rank": pl.Series(rank + 1, dtype=pl.Int64),
            }
        )

    def similar_items(self, item: str, k: int = 10) -> list[SimilarItem]:
        """The ``k`` items most like this one, best first (see :mod:`interlingua.neighbours`)."""
        ids, found = self.train.item_ids, self._nearest("items", self.item_row(item), k)
        return [SimilarItem(str(ids[row]), self.titles[row], score) for row, score in found]

    def similar_users(self, user: str, k: int = 10) -> list[SimilarUser]:
        """The ``k`` users most like this one, best first (see :mod:`interlingua.neighbours`)."""
        ids = self.train.user_ids
        return [SimilarUser(str(ids[row]), score) for row, score in self._nearest("users", self._user_row(user), k)]

    def _nearest(self, side: str, row: int, k: int) -> list[tuple[int, float]]:
        from interlingua.neighbours import nearest, similar

        if k < 1:
            raise ConfigError(f"k must be at least 1, got {k}")
        values = similar(self.session, side, row)
        return [(int(other), float(values[other])) for other in nearest(values, row, k)]

    @cached_property
    def _retriever(self) -> tuple[str, Ranker]:
        return retriever_of(self.session)

    @cached_property
    def _by_retriever(self) -> Cascade:
        return cascade_of(self.session, None, self._retriever[1])

    @cached_property
    def _by_reader(self) -> Cascade:
        return cascade_of(self.session, self.session.reader)

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
        from interlingua.llm.explain import Explanation

        query, ids = self.query(user, history), self.train.item_ids
        said = dict(zip(query.history(0).tolist(), query.history_ratings(0).tolist(), strict=True))
        out = []
        for found in self.explain_rows(query, [self.item_row(item) for item in items], rerank=rerank):
            support = [
                Support(
                    str(ids[row]), self.titles[row], float(influence), said[row] if said[row] == said[row] else None
                )
                for row, influence in found.support
            ]
            out.append(Explanation(**{**vars(found), "support": support}))
        return out

    def explain_query(self, query: Queries, item: int) -> Explanation[tuple[int, float]]:
        """:meth:`explain` by rows."""
        return self.explain_rows(query, [item])[0]

    def explain_rows(
        self, query: Queries, items: Sequence[int], *, rerank: bool = True
    ) -> list[Explanation[tuple[int, float]]]:
        """:meth:`explain_items` by rows; what was explained lately is not explained anew."""
        from interlingua.llm.explain import Catalogue, explain_items

        asked = (rerank, tuple(query.users.tolist()), query.items.tobytes())
        found = {item: self._explained[key] for item in items if (key := (*asked, item)) in self._explained}
        new = [item for item in dict.fromkeys(items) if item not in found]
        if new:
            catalogue = self.session.data.catalogue
            categories, middle = catalogue.items["categories"].to_list(), self.session.data.interactions.middle_rating
            known = Catalogue(self.titles, catalogue.domain, categories, middle)
            ranker = self.session.reader if rerank and self.has_reader else self._retriever[1]
            made = explain_items(ranker, lambda: self.language_model, query, new, known)
            found |= dict(zip(new, made, strict=True))
            if not cancel.pressed():  # what was made in a hurry is made better next time
                while self._explained and len(self._explained) + len(made) > MOST_EXPLAINED:
                    del self._explained[next(iter(self._explained))]
                self._explained |= {(*asked, item): found[item] for item in new}
        return [found[item] for item in items]

    def query(self, user: str | None = None, history: Sequence[str] | None = None) -> Queries:
        """One query from a known user (all events on record) or from a history of item ids."""
        if (user is None) == (history is None):
            raise ConfigError("give either a user or a history")
        if history is not None:
            return Queries.of([[self.item_row(i) for i in history]])
        return self.session.data.interactions.queries(np.array([self._user_row(str(user))]))

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
    def categories(self) -> list[frozenset[str]]:
        """(I,) each item's categories; empty where the catalogue has none."""
        stored = self.session.data.catalogue.items["categories"].to_list()
        return [frozenset(part.strip() for part in re.split(r"[|,]", text or "") if part.strip()) for text in stored]

    @cached_property
    def language_model(self) -> Any:
        """The language model that says reasons: the reader's, whole (a reader may score with its first layers only)."""
        from interlingua.llm.encoder import EncoderModel
        from interlingua.llm.models import load

        config = self.session.recipe.llm.config if self.session.recipe.llm is not None else None
        # an encoder writes nothing
        if config is None or isinstance(getattr(self.session.reader, "lm", None), EncoderModel):
            return load(DEFAULT_MODEL)
        whole = config.num_layers is None and config.lm_weights == "pretrained"
        return (
            self.session.reader.lm
            if whole
            else load(config.model, precision=config.precision, revision=config.revision)
        )


def load(run: Path | str | Session, device: str = "auto", *, trust: bool = False) -> Recommender:
    """Opens a finished run as a recommender (``interlingua.load``): its folder, or what ``interlingua.run`` gave."""
    return Recommender(run) if isinstance(run, Session) else Recommender.load(run, device, trust=trust)
