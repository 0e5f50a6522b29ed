"""Options of the key/value-prompt ranker, and which of them fit together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from interlingua.config import Config, FitConfig
from interlingua.contracts.ranker import RankerInputs
from interlingua.errors import ConfigError
from interlingua.injection.prompt_maps import Kind
from interlingua.injection.two_tower import Pooling
from interlingua.lm.abilities import Abilities
from interlingua.lm.here import missing
from interlingua.lm.locate import identity
from interlingua.lm.models import Precision
from interlingua.lm.prefix_attention import Place
from interlingua.lm.template import FOLDER
from interlingua.runtime.missing import Missing
from interlingua.training.sample_choice import Filter


class KvPromptConfig(Config):
    """Options of :class:`interlingua.rankers.kv_prompt.KvPrompt`."""

    named_models = {"model": identity}
    named_templates = {"user_template": FOLDER, "item_template": FOLDER}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a decoder, or of an encoder of the BERT family (paper: probably gpt2-large)"""
    revision: str | None = None
    """commit or tag of a hub model; None: what the hub calls main, by its commit in key and card"""
    precision: Precision = "fp32"
    """fp32, bf16 or, for decoders with CUDA, 4bit"""
    num_layers: int | None = Field(default=None, ge=1)
    """only the first layers of the language model (None: all)"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """``shuffled``: the control without the model's knowledge"""
    injection: Literal["kv", "direct", "input", "none"] = "kv"
    """where ID vectors enter: ``kv``: every layer's keys and values through its frozen projections (RA-Rec);
    ``direct``: the maps give keys and values themselves (as prefix tuning does); ``input``: as input tokens before the
    text (as A-LLMRec does); ``none``: nowhere, text only"""
    maps: Kind = "full"
    """``full``: a matrix per layer (paper, as far as known); ``shared``: one for all; ``low-rank``; ``diagonal``;
    ``none``: learned context only, no ID vector"""
    rank: int = Field(default=8, ge=1)
    """of ``low-rank`` maps"""
    prefix_length: int = Field(default=4, ge=0)
    """learned context vectors per layer (paper: not known)"""
    tied_start: bool = True
    """the item side's maps and context start as copies of the user side's, where the widths agree: equal vectors then
    make equal prompts, so the dot product of ID vectors survives from the start (paper: not known)"""
    start_gain: float = Field(default=1.0, gt=0)
    """prompts start at so many times the size of what a layer reads: larger ones are attended to sooner"""
    prompted_layers: list[int] | None = None
    """layers with a prompt, 0 the first (None: all, the paper); ``kv`` and ``direct``"""
    place: Place = "before"
    """``kv`` with rotary positions: the prompt stands right before the text, or has no position (``none``)"""
    id_vectors: Literal["backbone", "random"] = "backbone"
    """``random``: noise instead, fixed for each user and item (ablation)"""
    user_template: str = "ra-rec-user"
    """hard prompt of the user side: a template's name or path; ``none``: soft prompt only"""
    item_template: str = "ra-rec-item"
    """hard prompt of the item side"""
    history_length: int = Field(default=10, ge=1)
    """last items of the history in the user's hard prompt (paper: not known)"""
    max_title_words: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    pooling: Pooling = "last"
    """the state that stands for a text: ``last`` token (decoders), ``cls`` (encoders) or ``mean``"""
    readout: int = Field(default=0, ge=0)
    """0: the states themselves are compared (paper); else a learned linear map per side, to so many dimensions"""
    normalised: bool = False
    """cosine instead of the dot product (paper: dot product)"""
    temperature: float = Field(default=1.0, gt=0)
    """scores are divided by it (paper: 1)"""
    loss: Literal["bpr", "softmax"] = "bpr"
    """``bpr`` against the other items of the batch (paper), or ``softmax`` over them"""
    popularity_correction: bool = True
    """``softmax``: subtract the log of an item's share of the training events, so that scores say how likely an item is
    among all of them, however the samples were drawn"""
    distill_weight: float = Field(default=0.0, ge=0)
    """weight of learning what the backbone would choose among the batch's items: a sample then tells of all of them,
    not of one alone (paper: 0)"""
    align_weight: float = Field(default=0.1, ge=0)
    """weight of the layer-wise alignment losses (paper: not known)"""
    align_temperature: float = Field(default=0.1, gt=0)
    """temperature of the layer-wise alignment losses (paper: not known)"""
    id_dropout: float = Field(default=0.0, ge=0, lt=1)
    """share of the ID vectors that a training step replaces by zero: practice for items without one (paper: 0)"""
    fraction: float = Field(default=0.06, gt=0, le=1)
    """part of the training samples that is used (paper: 0.06)"""
    filter: Filter = "none"
    """drops a sample whose answer has nothing in common with its history: no word of the titles (``words``, the paper),
    or no likeness of text vectors (``similarity``)"""
    min_similarity: float = Field(default=0.3, ge=-1, le=1)
    """least cosine of ``similarity``"""
    user_buckets: int = Field(default=5, ge=1)
    """samples are drawn evenly over so many buckets of users by length (paper: number not known; 1: none)"""
    item_buckets: int = Field(default=5, ge=1)
    """the same for items by popularity"""
    sample_seed: int = 0
    """of the draw"""
    soft_epochs: int = Field(default=0, ge=0)
    """the first so many epochs (rounds) train the soft prompt alone, one token in the place of the text: it costs a
    small part of a step with texts, and the maps that it finds are a start for those (paper: 0)"""
    fuse_scores: bool = False
    """mix in the backbone's score and the likeness of texts by weights learned on validation users"""
    cold_weight: float = Field(default=1.0, gt=0)
    """fuse_scores: how much a validation answer among the rarest 35 % of the items weighs; a dial between rare and
    frequent items"""
    unseen_floor: bool = True
    """fuse_scores: items without a training event are placed at least as high as texts alone would"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=32, epochs=3)
    """training (paper: about 7,000 steps; the rest is not known)"""

    def lacks(self) -> list[Missing]:
        """Packages and the language model."""
        return super().lacks() + missing(self.model, self.precision, self.lm_weights)

    def check_models(self) -> None:
        """A family without keys and values to put a prompt into is refused here, not after the backbone's training."""
        from interlingua.lm.encoder import causal, frozen

        lm = frozen(self.model, self.precision, self.num_layers, "pretrained", self.revision)
        _refuse(of_model(self, causal(lm), lm.num_layers, lm.abilities))

    @property
    def needs(self) -> frozenset[str]:
        """User vectors, where maps read them."""
        return frozenset({"users"} if self.injection != "none" and self.maps != "none" else ())


def check(config: KvPromptConfig, inputs: RankerInputs, causal: bool, layers: int, abilities: Abilities) -> None:
    """Raises one :class:`ConfigError` that lists every setting that cannot work."""
    problems = of_model(config, causal, layers, abilities)
    uses_ids = config.injection != "none" and config.maps != "none"
    if uses_ids and inputs.user_embeddings is None:
        problems.append("ranker.maps needs user vectors: choose a backbone that has them, or ranker.maps = 'none'")
    for option, chosen in (("fuse_scores", config.fuse_scores), ("distill_weight", config.distill_weight > 0)):
        if chosen and inputs.base_score is None:
            problems.append(f"ranker.{option} needs a backbone that scores")
    _refuse(problems)


def of_model(config: KvPromptConfig, causal: bool, layers: int, abilities: Abilities) -> list[str]:
    """Settings that do not go together, or that the language model cannot follow."""
    problems = []
    if config.injection in ("kv", "direct") and not abilities.prompts:
        problems.append(
            f"ranker.injection = {config.injection!r} puts keys and values into every layer of ranker.model = "
            f"{config.model!r}, which has none to put them into ({abilities.reasons.get('prompts', 'not exact')}); use "
            "ranker.injection = 'input', or a model with a yes under 'prompts' in docs/results/language-models.md"
        )
    if config.pooling == "cls" and causal:
        problems.append(
            "ranker.pooling = 'cls' is for encoders: a decoder's first token sees nothing; use 'last' or 'mean'"
        )
    if config.injection != "none" and config.maps == "none" and not config.prefix_length:
        problems.append(
            "ranker.maps = 'none' with ranker.prefix_length = 0 leaves no prompt; use ranker.injection = 'none'"
        )
    if config.injection == "none" and not config.readout:
        problems.append("ranker.injection = 'none' has nothing to train; give ranker.readout, e.g. 64")
    if config.injection == "none" and "none" in (config.user_template, config.item_template):
        problems.append("ranker.injection = 'none' reads texts only; user_template and item_template cannot be 'none'")
    if config.soft_epochs and config.injection == "none":
        problems.append("ranker.soft_epochs trains the soft prompt, which ranker.injection = 'none' lacks; set it to 0")
    if config.prompted_layers is not None and not set(config.prompted_layers) <= set(range(layers)):
        problems.append(f"ranker.prompted_layers = {config.prompted_layers}: the model has layers 0 to {layers - 1}")
    if config.prompted_layers == []:
        problems.append("ranker.prompted_layers is empty; use ranker.injection = 'none'")
    if config.align_weight > 0 and config.injection == "direct":
        problems.append(
            "ranker.injection = 'direct' has no vectors in the width of a layer: set ranker.align_weight = 0"
        )
    return problems


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError("\n".join(problems))
