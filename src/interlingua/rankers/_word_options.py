"""Options of rankers whose language model learns to answer in words."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from interlingua.config import Config
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.here import missing
from interlingua.lm.locate import identity
from interlingua.lm.models import Precision
from interlingua.runtime.missing import Missing, package


class WordConfig(Config):
    """Options that rankers with a tuned language model share."""

    named_models = {"model": identity}
    files = ("adapters",)
    begins_with = ("adapters",)
    only_with = {"lora": ("tune", ("lora",)), "adapters": ("tune", ("lora",))}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a causal language model"""
    revision: str | None = None
    """commit or tag of a hub model; None: what the hub calls main, by its commit in key and card"""
    precision: Precision = "fp32"
    """fp32, bf16 or 4bit"""
    num_layers: int | None = Field(default=None, ge=1)
    """only the first layers of the language model (None: all)"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """control: ``shuffled`` weights to begin with"""
    tune: Literal["lora", "full"] = "lora"
    """what learns: ``lora`` adapters beside the frozen weights, or the ``full`` weights"""
    lora: LoraOptions = LoraOptions()
    """rank, alpha, dropout and modules of the adapters"""
    adapters: str | None = None
    """a folder of LoRA adapters in peft's layout to begin with, made for the same model; None: new ones"""
    history_length: int = Field(default=10, ge=1)
    """items of the history in the prompt"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut"""

    def lacks(self) -> list[Missing]:
        """Packages and the language model."""
        lora = package("peft", "llm", "ranker.tune = 'lora'") if self.tune == "lora" else []
        return super().lacks() + missing(self.model, self.precision, self.lm_weights) + lora

    def check_models(self) -> None:
        """Loads the model once: an unsupported family is refused here."""
        from interlingua.injection.loading import whole_model

        whole_model(self)
