"""Options of scorers that read vectors with a frozen language model, and which of them fit together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from interlingua.config import Config, FitConfig
from interlingua.contracts.ranker import RankerInputs
from interlingua.errors import ConfigError
from interlingua.injection.projector import Kind
from interlingua.lm.adapters import LoraOptions, Tune
from interlingua.lm.here import missing
from interlingua.lm.locate import identity
from interlingua.lm.models import Precision
from interlingua.runtime.missing import Missing, package


class Slots(Config):
    """Where the vectors in a prompt come from."""

    user: Literal["backbone", "none"] = "backbone"
    """the user's vector, or the ablation without it"""
    item: Literal["align", "backbone", "random", "none"] = "align"
    """the items' vectors: joint ones, the backbone's own (MLP-LLM), random ones (ablation), titles only"""


class VectorRankerConfig(Config):
    """Options that :class:`SoftPromptConfig` and :class:`SequenceHeadConfig` share."""

    named_models = {"model": identity}
    files = ("adapters",)
    begins_with = ("adapters",)
    only_with = {"lora": ("tune", ("lora",)), "adapters": ("tune", ("lora",))}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a causal language model (paper: facebook/opt-6.7b)"""
    revision: str | None = None
    """commit or tag of a hub model; None: what the hub calls main, by its commit in key and card"""
    precision: Precision = "fp32"
    """fp32, bf16 or 4bit (paper: 8 bit)"""
    slots: Slots = Slots()
    """which vectors the prompt carries"""
    history_length: int = Field(default=10, ge=1)
    """items of the history in the prompt (paper: 10)"""
    inference_latent: Literal["joint", "text"] = "joint"
    """``text``: items by their text latents when scoring (A-LLMRec (SBERT)); unseen items always are"""
    standardised: bool = True
    """shift and scale the item vectors (paper: no)"""
    projector: Kind = "mlp"
    """``mlp`` (paper), ``plain`` (the same without LayerNorm) or ``linear``"""
    projector_init: Literal["xavier", "scaled", "titles"] = "titles"
    """``xavier`` (paper); ``scaled``: to the length of token embeddings; ``titles``: item vectors land on the
    model's own embeddings of the titles, by ridge regression"""
    num_layers: int | None = Field(default=None, ge=1)
    """only the first layers of the language model (None: all)"""
    head_weight: float = Field(default=0.0, ge=0)
    """weight of the head's softmax over all items; needed for ``scoring = "head"``"""
    head_items: int = Field(default=20000, ge=1)
    """the head's softmax runs over all items up to this many, else over this many sampled ones"""
    distill_weight: float = Field(default=0.0, ge=0)
    """weight of the cross-entropy with the backbone's distribution (head only)"""
    distill_temperature: float = Field(default=1.0, gt=0)
    """softens the backbone's distribution"""
    cold_dropout: float = Field(default=0.0, ge=0, le=1)
    """share of items that a training step sees by their text alone"""
    text_below: int = Field(default=1, ge=0)
    """items with fewer training events than this are seen by their text when scoring"""
    fuse_scores: bool = False
    """head: mix in the backbone's score, gated by the item's number of training events, and the likeness of texts"""
    cold_weight: float = Field(default=1.0, gt=0)
    """fuse_scores: how much a validation answer among the rarest 35 % of the items weighs when the fusion is learned. A
    dial, not a gain: more moves quality from frequent items to rare ones, also without any text"""
    unseen_floor: bool = True
    """fuse_scores: items without a training event are placed at least as high as texts alone would (``false``: where
    they are most likely), see :func:`interlingua.injection.calibration.raise_unseen`"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """on soft tokens and on the head's input"""
    fit: FitConfig = FitConfig(learning_rate=1e-4, beta2=0.98, batch_size=4, epochs=5)
    """training (paper: batches of 4, 5 epochs over the users)"""
    lm_weights: Literal["pretrained", "shuffled", "none"] = "pretrained"
    """controls: ``shuffled`` weights; ``none`` where a scorer works without a language model"""
    tune: Tune = "none"
    """whether the language model learns too: ``lora`` adapters beside its frozen weights, or its ``full`` weights"""
    lora: LoraOptions = LoraOptions()
    """rank, alpha, dropout and modules of the adapters"""
    adapters: str | None = None
    """a folder of LoRA adapters in peft's layout to begin with, made for the same model; None: new ones"""

    @model_validator(mode="after")
    def _a_model_that_learns(self) -> VectorRankerConfig:
        if self.tune != "none" and self.lm_weights == "none":
            raise ValueError(f"tune = {self.tune!r} needs a language model, and lm_weights = 'none' leaves it out")
        return self

    @property
    def has_head(self) -> bool:
        """A head over the items is trained."""
        return self.head_weight > 0 or self.distill_weight > 0

    def lacks(self) -> list[Missing]:
        """Packages and the language model."""
        lora = package("peft", "llm", "ranker.tune = 'lora'") if self.tune == "lora" else []
        return super().lacks() + missing(self.model, self.precision, self.lm_weights) + lora

    def check_models(self) -> None:
        """A family that cannot be read by vectors is refused when it is loaded."""
        from interlingua.injection.loading import whole_model

        if self.lm_weights != "none":  # shuffled weights are those of the same family
            whole_model(self)

    @property
    def needs(self) -> frozenset[str]:
        """User vectors for the slot ``user``, text latents where they are scored."""
        users = {"users"} if self.slots.user != "none" else set()
        return frozenset(users | ({"items_from_text"} if self.inference_latent == "text" else set()))


def check(config: VectorRankerConfig, inputs: RankerInputs) -> None:
    """Raises one :class:`ConfigError` that lists every setting that cannot work with what there is."""
    problems = []
    if config.slots.user != "none" and inputs.user_embeddings is None:
        problems.append(
            "ranker.slots.user = 'backbone', but this backbone has no user vectors; set slots.user = 'none'"
        )
    if (config.fuse_scores or config.distill_weight > 0) and inputs.base_score is None:
        problems.append("ranker.fuse_scores and ranker.distill_weight need a backbone that scores")
    if config.inference_latent == "text" and inputs.items_from_text is None:
        problems.append(
            "ranker.inference_latent = 'text', but the aligner gave no text latents; use aligner autoencoder"
        )
    if problems:
        raise ConfigError("\n".join(problems))
