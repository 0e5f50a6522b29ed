"""CTRL as A-LLMRec compares with it, over a sequence model: another method than the paper's (see ``ctrl``).

The authors' code of A-LLMRec (arXiv 2404.11343), ``pre_train/ctrl/model_ctrl.py``; its tables 1, 4 and 5 have the
figures. Otherwise than CTRL: binary cross-entropy of a batch's matrix, the mean over its diagonal (1) plus the mean
over the rest (0), both directions halved, without temperature; a sentence names the prefix and then *the same items
again* where CTRL has the next one, so that nothing of the target is in it; blocks of 32 neighbouring rows are compared
with each other, and many of these are prefixes of one user.

Shape key: as in ``_prefix_sentences``.

**Deviations:**
- The code has one more Linear(D, D) on the state in the second phase, and measures with it; here the backbone is
  trained and measured as it is.
- The text encoder is frozen unless ``text.trainable = true``; the code trains it along. ``prefixes`` of each user
  instead of all, and at most ``history_titles`` of a prefix's items in its sentence.
- The code's words are of movies, and its loop ends after the first batch of a call; here they are of items, and an
  epoch is all batches.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from interlingua.align._prefix_sentences import PrefixConfig, PrefixFit, PrefixSentences, Words
from interlingua.data.interactions import Interactions
from interlingua.nn.sub_spaces import fine_grained
from interlingua.training.prefixes import Int64, by_users


class CtrlALlmRecConfig(PrefixConfig):
    """Options of :class:`CtrlALlmRec`."""

    joint_dim: int = Field(50, ge=1)
    """J, width of states and sentences after their first maps (code: 50)"""
    block: int = Field(32, ge=2)
    """neighbouring rows that are compared with each other (code: 32)"""
    fit: PrefixFit = PrefixFit(learning_rate=1e-3, beta2=0.98, batch_size=128, epochs=10)
    """phase 1, in batches of so many *users* (A-LLMRec: 128; the rest is not said); phase 2 is the backbone's own"""


class CtrlALlmRec(PrefixSentences):
    """Binary cross-entropy between neighbouring prefixes and sentences that tell them twice."""

    Config = CtrlALlmRecConfig
    named = "ctrl-a-llmrec"

    def sentence(self, words: Words, prefix: list[int], target: int) -> str:
        """Titles of the prefix, then the texts of the same items."""
        chosen = "|".join(words.titles[item] for item in prefix)
        return f"This is a user, who has recently chosen {chosen}. This is: {','.join(words.texts[i] for i in prefix)}"

    def contrast(self, states: Tensor, sentences: Tensor) -> Tensor:
        """The sum over blocks, as the code's; the last one may be smaller."""
        pairs = zip(states.split(self.config.block), sentences.split(self.config.block), strict=True)
        return torch.stack([both_ways(*pair) for pair in pairs]).sum()

    def cut(self, events: Int64, train: Interactions, size: int, generator: np.random.Generator) -> list[Int64]:
        """Batches of users, each with all of its prefixes side by side."""
        return by_users(events, train, size, generator)


def both_ways(states: Tensor, sentences: Tensor) -> Tensor:
    """Half of the losses of both directions, for states (B, M, S) and sentences (B, M, S)."""
    return (own_or_not(fine_grained(states, sentences)) + own_or_not(fine_grained(sentences, states))) / 2


def own_or_not(logits: Tensor) -> Tensor:
    """Mean of ``-log sigmoid`` over the diagonal of (B, B), plus mean of ``-log (1 - sigmoid)`` over the rest."""
    apart = ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    own = functional.softplus(-logits.diagonal()).mean()
    return own + functional.softplus(logits[apart]).mean() if len(logits) > 1 else own
