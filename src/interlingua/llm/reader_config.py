"""Options of the soft-prompt reader, and which of them fit together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from interlingua.config import Config, FitConfig
from interlingua.core import ReaderInputs
from interlingua.errors import ConfigError
from interlingua.llm.here import missing
from interlingua.llm.locate import identity
from interlingua.llm.models import Precision
from interlingua.llm.projector import Kind
from interlingua.llm.template import FOLDER
from interlingua.missing import Missing

SEQUENCE = "sequence"
"""the template without words"""


class Slots(Config):
    """Where the vectors in a prompt come from."""

    user: Literal["backbone", "none"] = "backbone"
    """the user's vector, or the ablation without it"""
    item: Literal["align", "backbone", "random", "none"] = "align"
    """the items' vectors: joint ones, the backbone's own (MLP-LLM), random ones (ablation), titles only"""


class SoftPromptConfig(Config):
    """Options of :class:`SoftPrompt`."""

    named_models = {"model": identity}
    named_templates = {"template": FOLDER}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a causal language model (paper: facebook/opt-6.7b)"""
    revision: str | None = None
    """commit or tag of a hub model; None: what the hub calls main, by its commit in key and card"""
    precision: Precision = "fp32"
    """fp32, bf16 or 4bit (paper: 8 bit)"""
    template: str = "next-item"
    """a template's name or path, or ``sequence``: the history's vectors alone, an answer at every position"""
    slots: Slots = Slots()
    """which vectors the prompt carries"""
    history_length: int = Field(default=10, ge=1)
    """items of the history in the prompt (paper: 10)"""
    num_candidates: int = Field(default=20, ge=2)
    """candidates in a training prompt, the answer included (paper: 20)"""
    scoring: Literal["likelihood", "generate", "head", "paper"] = "likelihood"
    """how candidates are ranked"""
    beams: int = Field(default=1, ge=1)
    """``generate``: hypotheses kept, and candidates that come out (1: greedy, Hit@1 only)"""
    length_normalisation: bool = False
    """likelihood: divide by the number of answer tokens"""
    all_positions: bool = False
    """every training event is an answer once, not only the user's last (A-LLMRec_all); ``sequence`` always does so"""
    equal: Literal["rows", "targets"] = "rows"
    """``sequence``: what batches hold equally many of, see :func:`interlingua.data.sample.sequence_batches`"""
    inference_latent: Literal["joint", "text"] = "joint"
    """``text``: items by their text latents when scoring (A-LLMRec (SBERT)); unseen items always are"""
    standardised: bool = True
    """shift and scale the item vectors (paper: no)"""
    projector: Kind = "mlp"
    """``mlp`` (paper) or ``linear``"""
    projector_init: Literal["xavier", "scaled", "titles"] = "titles"
    """``xavier`` (paper); ``scaled``: to the length of token embeddings; ``titles``: item vectors land on the
    model's own embeddings of the titles, by ridge regression"""
    num_layers: int | None = Field(default=None, ge=1)
    """only the first layers of the language model (None: all)"""
    lm_weights: Literal["pretrained", "shuffled", "none"] = "pretrained"
    """controls: ``shuffled`` weights; ``none``: no language model, its state is the mean of the soft tokens"""
    lm_weight: float = Field(default=1.0, ge=0)
    """weight of the answer's title loss; without effect where no title is generated (``sequence``)"""
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
    residual: bool = False
    """head: mix in the backbone's score, gated by the item's number of training events, and the likeness of texts"""
    cold_weight: float = Field(default=1.0, gt=0)
    """residual: how much a validation answer among the rarest 35 % of the items weighs when the mixture is learned. A
    dial, not a gain: more moves quality from frequent items to rare ones, also without any text"""
    unseen_floor: bool = True
    """residual: items without a training event are placed at least as high as texts alone would (``false``: where
    they are most likely), see :func:`interlingua.llm.calibration.raise_unseen`"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """on soft tokens and on the head's input"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut in prompts and answers"""
    fit: FitConfig = FitConfig(learning_rate=1e-4, beta2=0.98, batch_size=4, epochs=5)
    """training (paper: batches of 4, 5 epochs over the users)"""

    def lacks(self) -> list[Missing]:
        """Packages and the language model."""
        return super().lacks() + missing(self.model, self.precision, self.lm_weights)

    def check_models(self) -> None:
        """A family that cannot be read by vectors is refused when it is loaded."""
        from interlingua.llm.frozen import language_model

        if self.lm_weights != "none":  # shuffled weights are those of the same family
            language_model(self.model_copy(update={"lm_weights": "pretrained"}))

    @property
    def needs(self) -> frozenset[str]:
        """User vectors for the slot ``user``, text latents where they are scored."""
        users = {"users"} if self.slots.user != "none" else set()
        return frozenset(users | ({"items_from_text"} if self.inference_latent == "text" else set()))


def check(config: SoftPromptConfig, inputs: ReaderInputs) -> None:
    """Raises one :class:`ConfigError` that lists every setting that cannot work."""
    problems = []
    sequential = config.template == SEQUENCE or config.lm_weights == "none"
    if config.slots.user != "none" and inputs.represent is None:
        problems.append("llm.slots.user = 'backbone', but this backbone has no user vectors; set slots.user = 'none'")
    if sequential and config.slots.item == "none":
        problems.append("llm.template = 'sequence' consists of item vectors; slots.item cannot be 'none'")
    if sequential and config.scoring != "head":
        problems.append("the template 'sequence' (and lm_weights 'none') writes no titles: set llm.scoring = 'head'")
    if config.scoring == "head" and not (config.head_weight > 0 or config.distill_weight > 0):
        problems.append("llm.scoring = 'head' needs llm.head_weight > 0, else the head is never trained")
    if config.scoring == "head" and config.slots.item == "none":
        problems.append("llm.scoring = 'head' compares item vectors; slots.item cannot be 'none'")
    if (config.residual or config.distill_weight > 0) and inputs.base_score is None:
        problems.append("llm.residual and llm.distill_weight need a backbone that scores")
    if config.inference_latent == "text" and inputs.text_items is None:
        problems.append("llm.inference_latent = 'text', but the aligner gave no text latents; use aligner autoencoder")
    if not sequential and config.lm_weight <= 0 and config.head_weight <= 0:
        problems.append("llm.lm_weight and llm.head_weight are both 0: nothing to train")
    if problems:
        raise ConfigError("\n".join(problems))
