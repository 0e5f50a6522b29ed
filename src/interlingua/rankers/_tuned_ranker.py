"""A ranker around a language model that may learn: its options, and the life of its adapters.

Rankers with projectors and a likelihood or a head over vectors have parents of their own (``_vector_ranker.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field
from torch import Tensor

from interlingua.config import Config
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.injection.loading import language_model, whole_model
from interlingua.lm.adapter_checks import store_checked
from interlingua.lm.adapters import LoraOptions, Tune, Tuned, check_learned, tuned
from interlingua.lm.here import missing
from interlingua.lm.locate import identity
from interlingua.lm.models import LanguageModel, Precision
from interlingua.runtime.missing import Missing, package


class TunedOptions(Config):
    """Options of the language model and of what learns of it."""

    named_models = {"model": identity}
    only_with: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]] = {"lora": ("tune", ("lora",))}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a causal language model"""
    revision: str | None = None
    """commit or tag of a hub model; None: what the hub calls main, by its commit in key and card"""
    precision: Precision = "fp32"
    """fp32, bf16 or 4bit"""
    num_layers: int | None = Field(default=None, ge=1)
    """only the first layers of the language model (None: all)"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """control: ``shuffled`` weights"""
    tune: Tune = "lora"
    """what learns of the language model: ``lora`` adapters beside its frozen weights, its ``full`` weights, ``none``"""
    lora: LoraOptions = LoraOptions()
    """rank, alpha, dropout and modules of the adapters"""

    def lacks(self) -> list[Missing]:
        """Packages and the language model."""
        lora = package("peft", "llm", "ranker.tune = 'lora'") if self.tune == "lora" else []
        return super().lacks() + missing(self.model, self.precision, self.lm_weights) + lora

    def check_models(self) -> None:
        """Loads the model once: an unsupported family is refused here."""
        whole_model(self)


class TunedRanker(Ranker):
    """Holds the model, trains it where the options say so, and refuses one that was to learn and did not."""

    words: ClassVar[bool] = True
    """the language model reads or writes words; False: its embeddings and output matrix stay frozen in ``full``"""
    lm: LanguageModel
    """None where a subclass's options leave it out (``lm_weights = "none"``)"""
    tuned: Tuned | None
    counts: Tensor

    def __init__(self, config: Any, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        base = language_model(config)
        self.reads = base is not None
        self.tuned = None if base is None else self._learning(base)
        self.lm = cast(LanguageModel, base if self.tuned is None else self.tuned.lm)
        self.register_buffer("counts", torch.as_tensor(inputs.train.item_counts).float(), persistent=False)

    def _learning(self, base: LanguageModel) -> Tuned | None:
        """What the options train of a model; None: nothing."""
        return tuned(base, self.config.tune, self.config.lora, words=self.words)

    @property
    def device(self) -> torch.device:
        """Where what learns lives; the language model follows."""
        return self.counts.device

    def _place(self) -> None:
        if self.reads:
            self.lm.place(self.device)

    def fit(self, job: Fitting) -> FitLog:
        """See :class:`Ranker`; a language model that was to learn and did not is an error."""
        log = super().fit(job)
        check_learned(self.tuned, f"this {type(self).__name__}")
        return log

    def _forget(self) -> None:
        """Drops what was made with other weights, in a subclass that keeps some of it."""

    def train(self, mode: bool = True) -> Self:
        """Training makes stale what is remembered."""
        if mode:
            self._forget()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Adapters that change nothing are refused, but of a training in which they do not learn (yet)."""
        self._forget()
        found = super().load_state_dict(*args, **kwargs)
        if self._adapters_learn():
            check_learned(self.tuned, f"this {type(self).__name__}")
        return found

    def _adapters_learn(self) -> bool:
        return self.tuned is not None and any(parameter.requires_grad for parameter in self.tuned.parameters())

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Writes the LoRA adapters in peft's layout, besides the run's own weights; names the model."""
        card: dict[str, Any] = {"language_model": {"name": self.lm.name, "revision": self.lm.revision}}
        return card | store_checked(self.tuned, self.config.lora, folder / "adapters")

    def writer(self) -> Any:
        """See :class:`Ranker`: the original model, without cuts, controls or training."""
        config = self.config
        whole = config.num_layers is None and config.lm_weights == "pretrained" and config.tune == "none"
        return self.lm if whole else whole_model(config)
