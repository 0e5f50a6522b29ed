"""Options of profile writing: the model, its input, how it is called, and its cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from interlingua.clients.completion import Sampling
from interlingua.clients.pace import Limits
from interlingua.clients.prices import PriceTable
from interlingua.config import Config

FIELDS = ["title", "categories", "description", "brand", "city"]


class ProfilesConfig(Config):
    """Profiles of items and users (RLMRec, arXiv 2310.15950v5, section 3.2 and appendix A.2)."""

    model: str = "smollm2-135m"
    """the server's name of the model; without ``base_url`` a model for this machine (folder, wheel or hub name)"""
    base_url: str | None = None
    """an OpenAI-compatible server, e.g. ``http://localhost:8000/v1``; None: a model on this machine"""
    key_variable: str = "OPENAI_API_KEY"
    """environment variable that holds the server's key; the key itself is written nowhere"""
    structured: Literal["auto", "json_schema", "json_object", "none"] = "auto"
    """how JSON is requested from the server; ``auto``: the strictest way that it accepts"""
    prompts: str | None = None
    """a domain that ships (movie, product, game, book, place, generic), another kind of text that ships (intent; of a
    written profile, with ``based_on``: motives, situations, neighbours), or a file; None: by the catalogue's noun"""
    based_on: str | None = None
    """folder of a profile set that is rewritten: a prompt shows its text instead of fields, histories and reviews"""
    fields: list[str] = FIELDS
    """catalogue columns that an item's prompt shows; default columns that do not exist are skipped"""
    sample_items: int = Field(default=6, ge=1)
    """a user's prompt shows so many of the user's train items, drawn uniformly (RLMRec's published prompts show 6)"""
    item_reviews: int = Field(default=6, ge=0)
    """an item without a description is shown with so many of its train reviews, drawn uniformly (RLMRec: 6)"""
    max_field_chars: int = Field(default=2000, ge=20)
    """each field and review is cut after so many characters"""
    answer_tokens: int = Field(default=160, ge=1)
    """expected length of an answer: for estimates only"""
    sampling: Sampling = Sampling()
    """how an answer is drawn"""
    limits: Limits = Limits()
    """limits on the rate and number of calls"""
    prices: PriceTable = PriceTable()
    """what the model costs; needed for ``--budget``"""
    batch_size: int = Field(default=8, ge=1)
    """questions of one forward pass of a model on this machine"""
