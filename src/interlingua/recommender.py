"""A finished run as a recommender: external ids in, ids with scores, titles, the deciding stage and reasons out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interlingua.cascade import Cascade, diversified
from interlingua.core import Queries, Ranker
from interlingua.errors import ConfigError, DataError, unknown
from interlingua.session import Session, open_session
from interlingua.stages import cascade_of, retriever_of

if TYPE_CHECKING:
    from interlingua.llm.explain import Explanation


DEFAULT_MODEL = "smollm2-135m"
"""says the reasons of runs without a language model of their own"""


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    item_id: str
    title: str
    score: float
    """the deciding stage's score: comparable within one answer only"""
    stage: str
    """which stage decided the place: the backbone's name, or the reader's"""


class Recommender:
    """Loads lazily: asking without re-ranking never opens the language model."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.train = session.data.split.train
        self.titles: list[str] = session.data.catalogue.titles

    @classmethod
    def load(cls, path: Path | str, device: str = "auto") -> Recommender:
        """Opens the folder of a finished run (``runs/evaluate-...``)."""
        return cls(open_session(path, device))

    @property
    def version(self) -> str:
        """Key of the run: changes with data, options and seed."""
        return self.session.done["evaluate"].key[:12]

    @property
    def has_reader(self) -> bool:
        """Whether a language model can re-rank."""
        return "read" in self.session.done

    def recommend(
        self,
        user: str | None = None,
        history: Sequence[str] | None = None,
        k: int = 10,
        *,
        rerank: bool = True,
        exclude: Sequence[str] = (),
        diversity: float = 0.0,
    ) -> list[Recommendation]:
        """The best ``k`` items that the user has not had.

        Args:
            user: external id of a known user, or
            history: item ids, oldest first, of anybody (an empty list: a new user).
            k: how many.
            rerank: let the language model order what the backbone retrieved, where the run has one.
            exclude: item ids that must not come out.
            diversity: 0: by score alone; more: rather items of different categories, chosen among the best
                ``max(5 k, evaluate.retrieve)`` (see :func:`interlingua.cascade.diversified`).

        Raises:
            DataError: an id that the run does not know.
            ConfigError: neither or both of ``user`` and ``history``, ``k`` < 1, or a negative ``diversity``.
        """
        if k < 1:
            raise ConfigError(f"k must be at least 1, got {k}")
        if not diversity >= 0:
            raise ConfigError(f"diversity must be at least 0, got {diversity}")
        queries = self.query(user, history)
        hidden = np.array([self.item_row(i) for i in exclude], np.int64)
        use_reader = rerank and self.has_reader
        cascade = self._by_reader if use_reader else self._by_retriever
        if diversity:
            listed = cascade.shortlist(queries, max(5 * k, self.session.recipe.evaluate.retrieve), hidden)
            listed = diversified(listed, self.categories, k, diversity)
        else:
            listed = cascade.shortlist(queries, k, hidden)
        stage = self._stage("read" if use_reader else self._retriever[0])
        return [
            Recommendation(str(self.train.item_ids[row]), self.titles[row], float(score), stage)
            for row, score in zip(listed.items[0], listed.scores[0], strict=True)
            if row >= 0
        ]

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

    def explain(self, item: str, user: str | None = None, history: Sequence[str] | None = None) -> Explanation:
        """Why this item: a sentence, and the history items that support it (by influence on the score)."""
        return self.explain_query(self.query(user, history), self.item_row(item))

    def explain_query(self, query: Queries, item: int) -> Explanation:
        """:meth:`explain` by rows."""
        from interlingua.llm.explain import explain

        return explain(
            self.session.reader if self.has_reader else self._retriever[1],
            self.language_model,
            query,
            item,
            self.titles,
            self.session.data.catalogue.domain,
            self.session.data.catalogue.items["categories"].to_list(),
        )

    def query(self, user: str | None = None, history: Sequence[str] | None = None) -> Queries:
        """One query from a known user (all events on record) or from a history of item ids."""
        if (user is None) == (history is None):
            raise ConfigError("give either a user or a history")
        if history is not None:
            return Queries.of([[self.item_row(i) for i in history]])
        if str(user) not in self.train.user_rows:
            raise DataError(
                f"unknown user {user!r}: the run knows {self.train.num_users} users; give a history of item ids instead"
            )
        return self.session.data.interactions.queries(np.array([self.train.user_rows[str(user)]]))

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
        return self.session.reader.lm if whole else load(config.model, precision=config.precision)


def load(path: Path | str, device: str = "auto") -> Recommender:
    """Opens a finished run as a recommender (``interlingua.load``)."""
    return Recommender.load(path, device)
