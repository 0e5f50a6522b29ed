"""Options of the ranker ``chat``: which model is asked, how, and what it may cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from interlingua.clients.completion import Completer, Sampling
from interlingua.clients.endpoint import Endpoint, Structured
from interlingua.clients.local_model import LocalModel
from interlingua.clients.pace import Limits
from interlingua.clients.prices import FREE, Price, PriceTable, price_of
from interlingua.config import Config
from interlingua.injection.loading import whole_model
from interlingua.lm.here import missing
from interlingua.lm.locate import identity
from interlingua.lm.models import Precision
from interlingua.lm.template import FOLDER
from interlingua.runtime.missing import Missing, package


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
