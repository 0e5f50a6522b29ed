"""UniSRec: items are their texts through a mixture of whitening experts, and may have ID vectors beside them.

Hou et al., "Towards Universal Sequence Representation Learning for Recommender Systems", KDD 2022, arXiv 2206.05941,
and the authors' code. Over ``sasrec`` by cosines (temperature 0.07) with a softmax over all items. The adaptor is
:class:`interlingua.align._whitening_experts.WhiteningExperts`. Inductive: texts alone, so that an item without an event
is like all others. Transductive (``ids``): the item's ID vector is added to its text's.

Pre-training (the first ``fit.pretrain_epochs`` epochs): every prefix of a history against the item that follows, among
the batch's next items; plus ``sequence_weight`` times the prefix against itself with a fifth of its items left out.

Shape key: B rows, L positions, T text width, D width of the backbone's inputs.

**Deviations:**
- The authors pre-train on other domains, here the run's own events come first; nothing is frozen afterwards.
- A prefix is compared with itself without some items; the authors take this or, as often, texts without some words,
  for which they keep a second vector of each text.
- ``equal_targets = "left-out"``: a row whose next item is the same is no negative. The authors set its logit to 0, so
  that it still counts exp(0): ``"authors"``.
- Over a backbone whose vectors start larger than 0.02, the maps start larger by as much.
- ID vectors are added where an item has training events; all others are their texts, as if they came later. The
  authors add them to all, and they learn as negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.align._profile_map import needed
from interlingua.align._whitening_experts import WhiteningExperts
from interlingua.config import Config, FitConfig, PretrainedFit
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.text import Text
from interlingua.data.queries import PAD
from interlingua.errors import ConfigError
from interlingua.nn.in_batch import EqualTargets, contrast
from interlingua.training.batches import last_position_batches

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions

MAX_HISTORY = 50
"""events of a history if the backbone sets no limit (the authors: 50)"""


FIRST_SIZE = 0.02
"""standard deviation of the maps' first weights, as of the ID vectors of the authors' sequence model"""


class UniSRecConfig(Config):
    """Options of :class:`UniSRec`."""

    num_experts: int = Field(default=8, ge=1)
    """maps that are mixed (the authors: 8)"""
    text_dropout: float = Field(default=0.2, ge=0, lt=1)
    """on the text vectors (the authors: 0.2)"""
    ids: bool = False
    """add ID vectors (the paper's transductive setting)"""
    temperature: float = Field(default=0.07, gt=0)
    """of the pre-training (the authors: 0.07)"""
    sequence_weight: float = Field(default=1e-3, ge=0)
    """of sequences against themselves in the pre-training (the authors: 1e-3); 0: they are not made"""
    item_drop: float = Field(default=0.2, ge=0, lt=1)
    """fraction of a sequence's items that its other view leaves out (the authors: 0.2)"""
    equal_targets: EqualTargets = "left-out"
    """rows of a pre-training batch with the same next item, see the module's deviations"""
    fit: PretrainedFit | None = None
    """training; None: the backbone's own, without pre-training"""


class UniSRec(Aligner):
    """The backbone's inputs are texts through gated experts, with or without ID vectors."""

    Config = UniSRecConfig
    reads = frozenset({"text.items"})
    trains_backbone = True
    makes_inputs = True

    def __init__(self, config: UniSRecConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.map = WhiteningExperts(text_dim, backbone_dim, config.num_experts, config.text_dropout)
        self.learned: Tensor | None = None  # (I, 1) items with training events, once these are known

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Freezes the ID vectors where they are not read.

        Raises:
            ConfigError: there are no texts, or a backbone that reads no sequences is to be pre-trained on them.
        """
        needed(text, "unisrec")
        if self._pretrain_epochs and backbone.sampling != "sequences":
            raise ConfigError(
                f"align.fit.pretrain_epochs = {self._pretrain_epochs}: pre-training compares histories with the item "
                "that follows, and this backbone reads pairs; choose a sequence model (sasrec), or set it to 0"
            )
        ids = backbone.input_embeddings().items
        size = float(ids.detach().square().mean().sqrt())
        if size > 2 * FIRST_SIZE:  # a backbone whose vectors start larger than SASRec's
            with torch.no_grad():
                self.map.maps.weight.mul_(size / FIRST_SIZE)
        if not self.config.ids:
            ids.requires_grad_(False)

    @property
    def _pretrain_epochs(self) -> int:
        return self.config.fit.pretrain_epochs if self.config.fit else 0

    def batches(
        self, backbone: Backbone, train: Interactions, fit: FitConfig
    ) -> Callable[[int, np.random.Generator], Iterable[Batch]]:
        """Every prefix with its next item in the pre-training; then the backbone's own."""
        self.learned = torch.as_tensor(train.item_counts > 0)[:, None]
        tuned, length = backbone.batches(train, fit), backbone.history_length(backbone.config) or MAX_HISTORY

        def make(epoch: int, generator: np.random.Generator) -> Iterable[Batch]:
            self.only_own_losses = epoch < self._pretrain_epochs
            if not self.only_own_losses:
                return tuned(epoch, generator)
            return last_position_batches(train, length, fit.batch_size, generator, num_negatives=0, all_positions=True)

        return make

    def inputs(self, inputs: Embeddings, text: Text | None) -> Embeddings:
        """Mapped texts, with ID vectors where they are asked for; users as they are."""
        mapped = self.map(needed(text, "unisrec").rows("items"))
        if self.config.ids:
            ids = inputs.items
            mapped = mapped + (ids if self.learned is None else ids * self.learned.to(ids.device))
        return Embeddings(inputs.users, mapped)

    def inputs_from_texts(self, text: Text, width: int) -> Tensor:
        """(n, D) the mapped texts."""
        mapped: Tensor = self.map(text.rows("items"))
        return mapped

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The encoded batch; in the pre-training the losses ``items`` and ``sequences``, else none of its own."""
        made = self.inputs(inputs, text)
        encoded = encode(made, batch)
        if not self.only_own_losses:
            return encoded, {}
        assert batch.histories is not None
        config, targets = self.config, batch.positives
        options = config.temperature, config.equal_targets
        losses = {"items": contrast(encoded.query, encoded.tables.items[targets], targets, *options)}
        if config.sequence_weight:
            other = encode(made, replace(batch, histories=without_some(batch.histories, config.item_drop)))
            losses["sequences"] = config.sequence_weight * contrast(encoded.query, other.query, targets, *options)
        return encoded, losses


def without_some(histories: Tensor, fraction: float) -> Tensor:
    """(B, L) left-padded histories without each event with probability ``fraction``; the last one stays."""
    stays = (histories != PAD) & (torch.rand(histories.shape, device=histories.device) >= fraction)
    stays[:, -1] = histories[:, -1] != PAD
    order = stays.to(torch.uint8).argsort(dim=1, stable=True)  # what is left out goes to the front
    return histories.masked_fill(~stays, PAD).gather(1, order)
