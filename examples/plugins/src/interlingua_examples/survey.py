"""Asks a chat model on an OpenAI-compatible server for a mark from 0 to 100 of each candidate. Nothing is trained.

Answers are kept in a ledger by :mod:`interlingua.clients`: the same question is bought once, a killed run goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from interlingua.clients.answers import UnusableAnswerError, object_in
from interlingua.clients.asking import Asker, Round, ServerError, Wallet, run
from interlingua.clients.completion import Answer, Request, Sampling
from interlingua.clients.endpoint import Endpoint
from interlingua.clients.ledger import opened
from interlingua.clients.pace import Limits
from interlingua.config import Config
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.data.queries import IntArray, Queries
from interlingua.storage.artifact import content_key
from interlingua.vectors.cache import user_cache

FIELD = "mark"
SYSTEM = f'You know what people like. Answer with a JSON object {{"{FIELD}": "..."}} that holds a number from 0 to 100.'


class SurveyConfig(Config):
    """Options of ``survey``."""

    base_url: str = "http://localhost:8000/v1"
    """an OpenAI-compatible server"""
    model: str = "some-model"
    """the server's name of the model"""
    key_variable: str = "OPENAI_API_KEY"
    """environment variable that holds the server's key; the key itself is written nowhere"""
    history_length: int = Field(default=10, ge=1)
    """items of the history in a question, the last ones"""
    limits: Limits = Limits()
    """how fast the server is asked"""


class Survey(Ranker):
    """Orders what another stage retrieved, by one question a candidate."""

    Config = SurveyConfig

    @classmethod
    def needs(cls, config: SurveyConfig) -> frozenset[str]:
        """Something that retrieves."""
        return frozenset({"scores"})

    @classmethod
    def caveats(cls, config: SurveyConfig) -> list[str]:
        """What leaves this machine."""
        return [f"the ranker 'survey' sends titles of users' histories to {config.base_url}"]

    def __init__(self, config: SurveyConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.sampling = Sampling(max_tokens=40, temperature=0.0)

    def fit(self, job: Fitting) -> FitLog:
        """Nothing is learned."""
        return FitLog.untrained()

    @cached_property
    def server(self) -> Endpoint:
        """Whoever is asked."""
        config: SurveyConfig = self.config
        return Endpoint(config.base_url, config.model, key_variable=config.key_variable)

    @property
    def ledger(self) -> Path:
        """Where answers of this model are kept."""
        key = content_key({"ledger": "survey", "model": self.server.identity})
        return user_cache() / "survey" / f"{key[:16]}.sqlite"

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) marks in 0..1; a candidate without a usable answer has 0.

        Raises:
            ServerError: the server refuses every question.
        """
        rows = np.asarray(np.tile(np.arange(self.num_items), (len(queries), 1)) if items is None else items)
        asked = [[self._question(queries.history(at), item) for item in row] for at, row in enumerate(rows)]
        marks = self._marks([question for row in asked for question in row])
        return np.asarray(marks, np.float32).reshape(rows.shape) / np.float32(100)

    def _question(self, history: IntArray, item: int) -> Request:
        config: SurveyConfig = self.config
        domain, titles = self.inputs.domain, self.inputs.titles
        had = "; ".join(titles[each] for each in history[-config.history_length :]) or "nothing"
        told = f"A person has {domain.past}: {had}.\nHow much will they like to {domain.verb} {titles[item]!r}?"
        return Request(SYSTEM, told, (FIELD,))

    def _marks(self, questions: Sequence[Request]) -> list[float]:
        config: SurveyConfig = self.config
        with opened(self.ledger) as ledger:
            asker = Asker(self.server, ledger, self.sampling, config.limits, Wallet(None, None, 0.0))
            asked = run(self._ask(asker, questions))
            entries = [asked.entries.get(asker.key(question)) for question in questions]
        if asked.stopped:
            raise ServerError(f"the ranker 'survey' stopped: {asked.stopped}; run again to go on")
        return [float(json.loads(e.value)) if e is not None and e.state == "done" else 0.0 for e in entries]

    async def _ask(self, asker: Asker, questions: Sequence[Request]) -> Round:
        try:
            return await asker.ask(questions, mark, "survey", retry_failed=False)
        finally:
            await self.server.close()


def mark(answer: Answer) -> bytes:
    """The number of an answer, at most 100, as the ledger keeps it.

    Raises:
        UnusableAnswerError: there is none.
    """
    found: dict[str, Any] = object_in(answer.text) or {}
    number = re.search(r"\d+(\.\d+)?", str(found.get(FIELD, "")))
    if number is None:
        raise UnusableAnswerError(f"no number under {FIELD!r} in the answer: {answer.text[:80]!r}")
    return json.dumps(min(float(number[0]), 100.0)).encode()
