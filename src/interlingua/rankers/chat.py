"""Asks a chat model, on any OpenAI-compatible server or on this machine, to order candidates. Nothing is trained.

The list-wise question of Hou et al. (ECIR 2024, arXiv 2305.08845): titles of the history and numbered candidates; the
answer is an order. Questions go through :mod:`interlingua.clients`: each answer is stored in a ledger and paid once, a
killed run can continue, and a budget is kept. Answers are matched by numbers or whole titles, never by parts of them.
Candidates that are not in the answer follow in the backbone's order.

Shape key: B queries, C candidates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field

from interlingua.clients.answers import UnusableAnswerError, object_in
from interlingua.clients.asking import Asker, Round, ServerError, Wallet, run
from interlingua.clients.completion import Answer, Completer, Request, Sampling
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
from interlingua.errors import ConfigError
from interlingua.injection.loading import whole_model
from interlingua.injection.title_scoring import presented
from interlingua.lm.here import missing
from interlingua.lm.locate import identity
from interlingua.lm.models import Precision
from interlingua.lm.template import FOLDER, Template
from interlingua.progress import say
from interlingua.runtime.missing import Missing, package
from interlingua.storage.artifact import content_key
from interlingua.vectors.cache import user_cache

FIELD = "ranking"
SEPARATOR = "|"
"""between titles of an answer; a title that holds it is shown with a stroke instead"""
HOW = {
    "indices": f'Answer with a JSON object {{"{FIELD}": "..."}} that lists the numbers of the candidates, the most '
    "likely first, separated by commas. Numbers only, each once.",
    "titles": f'Answer with a JSON object {{"{FIELD}": "..."}} that lists the titles of the candidates exactly as they '
    f"are written above, the most likely first, separated by {SEPARATOR}.",
}


class ChatConfig(Config):
    """Options of :class:`interlingua.rankers.chat.Chat`."""

    named_models = {"model": identity}
    named_templates = {"template": FOLDER}
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
    template: str = "chat"
    """a template's name or path: slots ``{history}`` and ``{candidates}``, entries with ``{title}`` and ``{number}``"""
    answers: Literal["indices", "titles"] = "indices"
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
            return super().lacks() + package("openai", "api", f"the ranker 'chat' with {self.base_url}")
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


class Chat(Ranker):
    """One question per query; the answer is an order of its candidates."""

    Config = ChatConfig
    version = 1

    def __init__(self, config: ChatConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.template = Template.load(config.template)
        self.shown = [shortened(title, config.max_title_chars) for title in inputs.titles]
        self.unanswered = 0
        """questions without a usable answer so far"""
        self._pace = Pace(config.limits)

    @classmethod
    def needs(cls, config: ChatConfig) -> frozenset[str]:
        """Needs a retriever, and no vectors."""
        return frozenset({"scores"})

    @classmethod
    def fingerprint(cls, config: ChatConfig) -> dict[str, str]:
        """Empty for a server's model: its name, which is all that is known, is among the options."""
        remote = ("model",) if config.base_url is not None else ()
        return {name: found for name, found in super().fingerprint(config).items() if name not in remote}

    @classmethod
    def caveats(cls, config: ChatConfig) -> list[str]:
        """Notes: what leaves this machine, and that a model's name does not fix its version."""
        if config.base_url is None or urlsplit(config.base_url).hostname in LOCAL:
            return []
        return [
            f"the ranker 'chat' sends titles of users' histories to {config.base_url}; a server may change what it "
            f"means by {config.model!r}, so that only answers in the ledger can be had again"
        ]

    def fit(self, job: Fitting) -> FitLog:
        """Nothing is learned."""
        return FitLog.untrained()

    @cached_property
    def completer(self) -> Completer:
        """The server, or the model on this machine."""
        config: ChatConfig = self.config
        return config.completer()

    @cached_property
    def ledger(self) -> Path:
        """File of answers: the named one, or one in the cache folder for this model and form of question."""
        config: ChatConfig = self.config
        if config.ledger is not None:
            return Path(config.ledger).expanduser()
        sampling = config.sampling.model_dump()
        key = content_key({"ledger": "chat", "model": self.completer.identity, "sampling": sampling})
        return user_cache() / "chat" / f"{key[:16]}.sqlite"

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) in (0, 1]: 1 for the first of the order, evenly down to the last.

        Raises:
            ConfigError: ``items`` is None.
            ServerError: the server refuses every call or is down; answers so far are kept.
        """
        if items is None:
            raise ConfigError("the ranker 'chat' orders given candidates; retrieve some first (evaluate.retrieve)")
        candidates = np.asarray(items, np.int64)
        if not candidates.size:
            return np.zeros(candidates.shape, np.float32)
        shuffled = [list(dict.fromkeys(row)) for row in presented(candidates, queries).tolist()]
        fallback = self._retrieved(queries, candidates, shuffled)
        config: ChatConfig = self.config
        orders = shuffled if config.order == "shuffled" else fallback
        answers = self._answers([self._request(queries.history(at), each) for at, each in enumerate(orders)])
        out = np.zeros(candidates.shape, np.float32)
        for at, (answer, shown, rest) in enumerate(zip(answers, orders, fallback, strict=True)):
            first = [] if answer is None else self._chosen(answer, shown)
            self.unanswered += not first
            place = {item: number for number, item in enumerate(dict.fromkeys([*first, *rest]))}
            out[at] = [1 - place[item] / len(place) for item in candidates[at].tolist()]
        return out

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

    def _request(self, history: IntArray, candidates: Sequence[int]) -> Request:
        config: ChatConfig = self.config
        read = [{"title": self.shown[item]} for item in history[-config.history_length :].tolist()]
        listed = [{"title": self.shown[item], "number": str(n)} for n, item in enumerate(candidates, 1)]
        text = self.template.render(self.inputs.domain, {"history": read, "candidates": listed})
        return Request(self.template.system(self.inputs.domain), f"{text.strip()}\n\n{HOW[config.answers]}", (FIELD,))

    def _answers(self, requests: Sequence[Request]) -> list[list[str] | None]:
        """The checked parts of each answer; None where there is none."""
        config: ChatConfig = self.config
        with opened(self.ledger) as ledger:
            wallet = Wallet(config.price(), config.budget, ledger.spent().money)
            asker = Asker(
                self.completer, ledger, config.sampling, config.limits, wallet, self._pace.in_another_loop()
            )  # fmt: skip
            outcome = run(self._round(asker, requests))
            entries = [outcome.entries.get(asker.key(request)) for request in requests]
        if outcome.stopped and outcome.stopped != "budget":
            raise ServerError(
                f"ranker 'chat' stopped: {outcome.stopped}; answers so far are kept in {self.ledger}: "
                "run again to continue"
            )
        found = [json.loads(e.value) if e is not None and e.state == "done" else None for e in entries]
        lacking = sum(answer is None for answer in found)
        if lacking:
            why = "the budget is spent" if outcome.stopped else "no usable answer"
            say(f"ranker chat: {lacking} of {len(found)} questions keep the backbone's order ({why})")
        return found

    async def _round(self, asker: Asker, requests: Sequence[Request]) -> Round:
        config: ChatConfig = self.config
        try:
            return await asker.ask(
                requests, lambda answer: checked(answer, config.answers), "chat", retry_failed=config.retry_failed
            )
        finally:
            await self.completer.close()

    def _chosen(self, answer: Sequence[str], shown: Sequence[int]) -> list[int]:
        """Candidates in the answer's order: each once, those that were shown."""
        config: ChatConfig = self.config
        if config.answers == "indices":
            numbers = [int(part) for part in answer]
            return list(dict.fromkeys(shown[n - 1] for n in numbers if 1 <= n <= len(shown)))
        places: dict[str, list[int]] = {}
        for item in shown:
            places.setdefault(plain(self.shown[item]), []).append(item)
        out = []
        for part in answer:
            equal = places.get(plain(part))
            if equal:  # equal titles: the next of them
                out.append(equal.pop(0))
        return out


def checked(answer: Answer, answers: str) -> bytes:
    """The form in which the ledger keeps an answer: its parts, as JSON.

    Raises:
        UnusableAnswerError: it is no object with a ranking, or holds more than the numbers.
    """
    found: dict[str, Any] = object_in(answer.text) or {}
    value = next((v for k, v in found.items() if str(k).strip().lower() == FIELD), None)
    if isinstance(value, str):
        text = value if answers == "titles" else value.strip().strip("[]").replace(",", SEPARATOR)
        parts = text.replace("\n", SEPARATOR).split(SEPARATOR)
    elif isinstance(value, list):
        parts = [str(part) for part in value]
    else:
        raise UnusableAnswerError(f"no JSON object with {FIELD!r} in the answer: {answer.text[:80]!r}")
    parts = [part.strip() for part in parts if part.strip()]
    if answers == "indices":
        parts = [part.rstrip(".").lstrip("#") for part in parts]
        strange = next((part for part in parts if not (part.isascii() and part.isdigit() and len(part) < 10)), None)
        if strange is not None:
            raise UnusableAnswerError(f"{strange!r} in {FIELD!r} is no number")
    if not parts:
        raise UnusableAnswerError(f"{FIELD!r} is empty")
    return json.dumps(parts).encode()


def plain(title: str) -> str:
    """A title for comparison: lower case, without surrounding quotes, single spaces."""
    return " ".join(title.strip().strip("\"'“”").casefold().split())


def shortened(title: str, limit: int) -> str:
    """One line without the separator of answers, cut to the length."""
    line = " ".join(title.replace(SEPARATOR, "/").split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
