"""Options of the soft-prompt ranker, and which of them fit together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from interlingua.errors import ConfigError
from interlingua.injection.vector_reading import VectorRankerConfig
from interlingua.lm.template import FOLDER


class SoftPromptConfig(VectorRankerConfig):
    """Options of :class:`SoftPrompt`."""

    named_templates = {"template": FOLDER}

    template: str = "next-item"
    """a template's name or path"""
    num_candidates: int = Field(default=20, ge=2)
    """candidates in a training prompt, the answer included (paper: 20)"""
    scoring: Literal["likelihood", "generate", "head", "paper"] = "likelihood"
    """how candidates are ranked"""
    beams: int = Field(default=1, ge=1)
    """``generate``: hypotheses kept, and candidates that come out (1: greedy, Hit@1 only)"""
    length_normalisation: bool = False
    """likelihood: divide by the number of answer tokens"""
    all_positions: bool = False
    """every training event is an answer once, not only the user's last (A-LLMRec_all)"""
    lm_weight: float = Field(default=1.0, ge=0)
    """weight of the answer's title loss"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut in prompts and answers"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """control: ``shuffled`` weights; without a language model: the scorer ``sequence-head``"""


def check(config: SoftPromptConfig) -> None:
    """Raises one :class:`ConfigError` that lists every setting that cannot work together."""
    problems = []
    if config.scoring == "head" and not config.has_head:
        problems.append("ranker.scoring = 'head' needs ranker.head_weight > 0, else the head is never trained")
    if config.scoring == "head" and config.slots.item == "none":
        problems.append("ranker.scoring = 'head' compares item vectors; slots.item cannot be 'none'")
    if config.lm_weight <= 0 and config.head_weight <= 0:
        problems.append("ranker.lm_weight and ranker.head_weight are both 0: nothing to train")
    if problems:
        raise ConfigError("\n".join(problems))
