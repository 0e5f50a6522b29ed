"""CTRL: states of the backbone and sentences of the same records are contrasted, then the backbone trains alone.

Li et al. 2023, "CTRL: Connect Collaborative and Language Model for CTR Prediction", arXiv 2306.02841v4. Phase 1 (eq.
2-7): both sides pass a linear map and M linear sub-spaces; a record's similarity with a sentence is the sum over its
sub-vectors of the largest product with one of the sentence's, unnormalised; InfoNCE with temperature 0.7 in both
directions, halved. Phase 2 fine-tunes the collaborative model alone, on its own loss; serving needs no text.

What A-LLMRec compares with under this name is another method: ``ctrl-a-llmrec``.

Shape key: as in ``_prefix_sentences``.

**Deviations:** the paper joins a click model over tabular features with records of clicks; no authors' code is public.
- Here a record is a prefix of a history with the item that comes next: the backbone's user vector after the prefix
  against "The user recently chose A|B. The next item is ...". Backbones with a user table have one vector per user.
- With a frozen text encoder, the default, each sentence is encoded once and only the maps behind it learn. The paper
  trains it along: ``text.trainable = true``, at the rate of the rest unless ``align.fit.encoder_learning_rate`` is set.
- Of a user some prefixes are taken (``prefixes``), and no batch holds a user twice, so that no negative is a prefix of
  the same history. The paper's batches are of 6,400 records.
- The text's direction takes the largest over the record's sub-vectors, the roles exchanged (A-LLMRec's code does so
  too); the paper writes one formula.
- Adam in place of AdamW, and a warm-up from 0 in place of 1e-5. M and the width of a sub-space are not in the paper:
  A-LLMRec's 3, as wide as the joint space.
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
from interlingua.training.prefixes import Int64, by_different_users


class CtrlConfig(PrefixConfig):
    """Options of :class:`Ctrl`."""

    temperature: float = Field(0.7, gt=0)
    """tau (paper: 0.7)"""
    fit: PrefixFit = PrefixFit(learning_rate=5e-4, batch_size=256, epochs=10, warmup_steps=20)
    """phase 1 (paper: warmed up to 5e-4); phase 2 is trained by the backbone's own"""


class Ctrl(PrefixSentences):
    """The paper's contrast, between prefixes of different users."""

    Config = CtrlConfig
    named = "ctrl"

    def sentence(self, words: Words, prefix: list[int], target: int) -> str:
        """History titles, then the next item's text."""
        chosen = "|".join(words.titles[item] for item in prefix)
        return f"The user recently chose {chosen}. The next item is {words.texts[target]}"

    def contrast(self, states: Tensor, sentences: Tensor) -> Tensor:
        """InfoNCE in both directions, halved."""
        own = torch.arange(len(states), device=states.device)
        forwards = fine_grained(states, sentences) / self.config.temperature
        backwards = fine_grained(sentences, states) / self.config.temperature
        return (functional.cross_entropy(forwards, own) + functional.cross_entropy(backwards, own)) / 2

    def cut(self, events: Int64, train: Interactions, size: int, generator: np.random.Generator) -> list[Int64]:
        """Batches of prefixes of different users."""
        return by_different_users(events, train, size, generator)
