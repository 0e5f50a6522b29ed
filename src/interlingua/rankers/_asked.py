"""A ranker that learns nothing: a chat model, on any OpenAI-compatible server or on this machine, orders candidates.

Questions go through :mod:`interlingua.clients`: each answer is stored in a ledger and paid once, a killed run can
continue, and a budget is kept. Candidates that no answer names follow in the backbone's order. A subclass says what is
asked.

Shape key: B queries, C candidates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field

from interlingua.clients.asking import Asker, Check, Round, ServerError, Wallet, run
from interlingua.clients.completion import Completer, Request, Sampling
from interlingua.clients.endpoint import LOCAL, Endpoint, Structured
from interlingua.clients.ledger import opened
from interlingua.clients.local_model import LocalModel
from interlingua.clients.pace import Limits, Pace
from interlingua.clients.prices import FREE, Price, PriceTable, price_of
from interlingua.config import Config
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.data.queries import IntArray, Queries
from interlingua.injection.loading import whole_model
from interlingua.injection.title_scoring import presented
from interlingua.lm.here import missing
from interlingua.lm.locate import identity
from interlingua.lm.models import Precision
from interlingua.progress import say
from interlingua.rankers._given import given
from interlingua.rankers._orders import Form, shortened
from interlingua.runtime.missing import Missing, package
from interlingua.storage.artifact import content_key
from interlingua.vectors.cache import user_cache


class AskedOptions(Config):
    """Options of rankers that ask a chat model."""

    named_models = {"model": identity}
    only_with = {"revision": ("base_url", (None,)), "precision": ("base_url", (None,))}

    model: str = "smollm2-135m"
    """the server's name of the model; without ``base_url`` a model for this machine (folder, wheel or hub name)"""
    base_url: str | None = None
    """an OpenAI-compatible server, e.g. ``http://localhost:8000/v1``; None: a model on this machine"""
    key_variable: str = "OPENAI_API_KEY"
    """environment variable that holds the server's key; the key itself is written nowhere"""
    structured: Structured = "auto"
    """how the server is asked for JSON; ``auto``: the strictest way that it accepts"""
    revision: str | None = None
    """commit or tag of a hub model on this machine"""
    precision: Precision = "fp32"
    """fp32, bf16 or 4bit of a model on this machine"""
    answers: Form = "indices"
    """the order comes back as the candidates' numbers, or as their exact titles"""
    order: Literal["shuffled", "retrieved"] = "shuffled"
    """how candidates are listed: by a fixed shuffle of each question, or as the backbone ranks them (a model that only
    repeats the list then looks as good as the backbone)"""
    history_length: int = Field(default=20, ge=1)
    """items of the history in the question, the last ones"""
    max_title_chars: int = Field(default=120, ge=8)
    """longer titles are cut"""
    sampling: Sampling = Sampling(max_tokens=400, temperature=0.0)
    """how an answer is drawn"""
    limits: Limits = Limits()
    """how fast the server is asked, and how often"""
    prices: PriceTable = PriceTable()
    """what the model costs; needed with ``budget``"""
    budget: float | None = Field(default=None, ge=0)
    """money for all calls of the ledger together; what is not asked any more keeps the backbone's order"""
    ledger: str | None = None
    """file of answers; None: one of the cache folder for this model and way of asking"""
    retry_failed: bool = False
    """ask again what failed before"""
    batch_size: int = Field(default=8, ge=1)
    """questions of one forward pass of a model on this machine"""

    def lacks(self) -> list[Missing]:
        """The package for a server, or the language model."""
        if self.base_url is not None:
            return super().lacks() + package("openai", "api", f"a ranker that asks {self.base_url}")
        return super().lacks() + missing(self.model, self.precision)

    def check_models(self) -> None:
        """A server without a key, a budget without a price, or a model that cannot be read."""
        self.price()
        self.completer()

    def price(self) -> Price | None:
        """The model's price; a model on this machine costs nothing."""
        if self.base_url is None:
            return FREE
        return price_of(self.model, self.prices, needed=self.budget is not None)

    def completer(self) -> Completer:
        """The server, or the model on this machine."""
        if self.base_url is not None:
            return Endpoint(
                self.base_url, self.model, key_variable=self.key_variable, timeout_s=self.limits.timeout_s,
                structured=self.structured,
            )  # fmt: skip
        held = whole_model(self)
        return LocalModel(
            held.model, held.tokenizer, name=held.name, revision=held.revision, batch_size=self.batch_size,
            cache_limit=held.abilities.cache,
        )  # fmt: skip


class AskedRanker(Ranker):
    """One conversation per query; its last answer is an order of the candidates."""

    name: ClassVar[str]
    """of the component, for its ledger and its messages"""
    lenient: ClassVar[bool] = False
    """a model that keeps replying nothing that can be used leaves the backbone's order; False: it is an error"""

    def __init__(self, config: AskedOptions, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.shown = [shortened(title, config.max_title_chars) for title in inputs.titles]
        self.unanswered = 0
        """questions without a usable answer so far"""
        self._pace = Pace(config.limits)

    @classmethod
    def needs(cls, config: AskedOptions) -> frozenset[str]:
        """Needs a retriever, and no vectors."""
        return frozenset({"scores"})

    @classmethod
    def fingerprint(cls, config: AskedOptions) -> dict[str, str]:
        """Empty for a server's model: its name, which is all that is known, is among the options."""
        remote = ("model",) if config.base_url is not None else ()
        return {name: found for name, found in super().fingerprint(config).items() if name not in remote}

    @classmethod
    def caveats(cls, config: AskedOptions) -> list[str]:
        """Notes: what leaves this machine, and that a model's name does not fix its version."""
        if config.base_url is None or urlsplit(config.base_url).hostname in LOCAL:
            return []
        return [
            f"the ranker {cls.name!r} sends titles of users' histories to {config.base_url}; a server may change what "
            f"it means by {config.model!r}, so that only answers in the ledger can be had again"
        ]

    def fit(self, job: Fitting) -> FitLog:
        """Nothing is learned."""
        return FitLog.untrained()

    @cached_property
    def completer(self) -> Completer:
        """The server, or the model on this machine."""
        config: AskedOptions = self.config
        return config.completer()

    @cached_property
    def ledger(self) -> Path:
        """File of answers: the named one, or one in the cache folder for this model and form of question."""
        config: AskedOptions = self.config
        if config.ledger is not None:
            return Path(config.ledger).expanduser()
        sampling = config.sampling.model_dump()
        key = content_key({"ledger": self.name, "model": self.completer.identity, "sampling": sampling})
        return user_cache() / self.name / f"{key[:16]}.sqlite"

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) in (0, 1]: 1 for the first of the order, evenly down to the last.

        Raises:
            ConfigError: ``items`` is None.
            ServerError: the server refuses every call or is down; answers so far are kept.
        """
        candidates = given(items, self.name)
        if not candidates.size:
            return np.zeros(candidates.shape, np.float32)
        shuffled = [list(dict.fromkeys(row)) for row in presented(candidates, queries).tolist()]
        fallback = self._retrieved(queries, candidates, shuffled)
        config: AskedOptions = self.config
        orders = shuffled if config.order == "shuffled" else fallback
        named = self.named(queries, orders)
        out = np.zeros(candidates.shape, np.float32)
        for at, (first, rest) in enumerate(zip(named, fallback, strict=True)):
            self.unanswered += not first
            place = {item: number for number, item in enumerate(dict.fromkeys([*first, *rest]))}
            out[at] = [1 - place[item] / len(place) for item in candidates[at].tolist()]
        return out

    def named(self, queries: Queries, orders: Sequence[list[int]]) -> list[list[int]]:
        """For each query the candidates that its answer names, in the answer's order; none where there is no answer.

        Args:
            queries: B queries.
            orders: for each its candidates, each once, as they are to be listed.
        """
        raise NotImplementedError

    def _retrieved(self, queries: Queries, candidates: IntArray, shuffled: list[list[int]]) -> list[list[int]]:
        """Candidates in the backbone's order. Ties stay shuffled, because callers may put the answer first."""
        if self.inputs.base_score is None:
            return shuffled
        scores = self.inputs.base_score(queries, candidates)
        out = []
        for each, items, values in zip(shuffled, candidates.tolist(), scores.tolist(), strict=True):
            of = dict(zip(items, values, strict=True))
            out.append(sorted(each, key=lambda item, of=of: -of[item]))  # type: ignore[misc]
        return out

    def answers(self, requests: Sequence[Request], check: Check) -> list[Any]:
        """What ``check`` keeps of each answer (JSON), read; None where there is no answer.

        Raises:
            ServerError: the server refuses every call or is down; answers so far are kept.
        """
        config: AskedOptions = self.config
        with opened(self.ledger) as ledger:
            wallet = Wallet(config.price(), config.budget, ledger.spent().money)
            asker = Asker(
                self.completer, ledger, config.sampling, config.limits, wallet, self._pace.in_another_loop()
            )  # fmt: skip
            outcome = run(self._round(asker, requests, check))
            entries = [outcome.entries.get(asker.key(request)) for request in requests]
        borne = outcome.stopped == "budget" or (self.lenient and outcome.replied and not outcome.fatal)
        if outcome.stopped and not borne:
            raise ServerError(
                f"ranker {self.name!r} stopped: {outcome.stopped}; answers so far are kept in {self.ledger}: "
                "run again to continue"
            )
        found = [json.loads(e.value) if e is not None and e.state == "done" else None for e in entries]
        lacking = sum(answer is None for answer in found)
        if lacking:
            why = "the budget is spent" if outcome.stopped == "budget" else "no usable answer"
            say(f"ranker {self.name}: {lacking} of {len(found)} questions keep the backbone's order ({why})")
        return found

    async def _round(self, asker: Asker, requests: Sequence[Request], check: Check) -> Round:
        try:
            return await asker.ask(requests, check, self.name, retry_failed=self.config.retry_failed)
        finally:
            await self.completer.close()
