"""MoRec: items are their titles through a sentence encoder that learns along with the sequence model, end to end.

Yuan et al., "Where to Go Next for Recommender Systems? ID- vs. Modality-based Recommender Models Revisited", SIGIR
2023, arXiv 2303.13835, and the authors' code (IDvs.MoRec). One encoder makes the inputs of histories and of targets;
nothing is learned per item, so an item without an event is like any other. ``vector = GELU(W encoder(title) + b)``. The
encoder and the rest have learning rates of their own; the ratio is tuned per dataset, and one rate for both is a common
cause of bad results.

With frozen texts it is the authors' two-stage variant: the same map over stored vectors, then ``hidden_layers`` layers
(theirs: 8). Three things are called MoRec: this one (recipe ``morec``), frozen vectors through a map (``morec-frozen``,
the aligner ``replace``), and vectors as the first ID vectors (``morec-init``, the aligner ``init``: A-LLMRec's use).

Shape key: I items, n distinct items of a batch, T text width, D width of the backbone's inputs.

**Deviations:**
- A batch's distinct titles are encoded once a step, so all copies of an item have one dropout mask; the authors encode
  every position.
- With ``text.train_layers`` the layers below are read without dropout, once for all titles; the authors' code runs them
  at every step, with dropout.
- The encoder's own pooling (MiniLM: the mean) in place of the last [CLS], and its own case and limit of tokens
  (``text.max_tokens``; the authors: lower-cased, 30).
- The backbone is ours (SASRec with its norms, and inputs times sqrt(D)); its ``loss`` is the authors' ``bce``, with
  one negative per position, or their debiased ``in-batch``. A softmax over all items encodes all titles at every step.
- Adam's weight decay is decoupled (AdamW), one for all weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from interlingua.align._encoder_rate import two_rates
from interlingua.align._profile_map import needed
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.text import Text
from interlingua.nn.in_batch import batch_items
from interlingua.progress import say


class MoRecFit(FitConfig):
    """Training of :class:`MoRec`: one optimiser with two groups of weights."""

    decoupled: ClassVar[bool] = True

    encoder_learning_rate: float = Field(default=5e-5, gt=0)
    """of the text encoder (the authors: 5e-5); ``learning_rate`` is the rest's"""
    learning_rate: float = Field(default=1e-3, gt=0)
    """of the map and the backbone (the authors: 1e-4 or 5e-5, in batches of 64 on a million users)"""
    weight_decay: float = Field(default=0.01, ge=0)
    """of all weights (the authors: 0.01)"""
    batch_size: int = Field(default=32, ge=1)
    """sequences (the authors: 64; 128 for ``in-batch``)"""
    epochs: int = Field(default=30, ge=0)
    """at most (the authors: 150)"""
    patience: int | None = Field(default=6, ge=1)
    """validations without a better metric (the authors: 6)"""
    patience_steps: int = Field(default=0, ge=0)
    """nor stop before so many steps without a better metric"""

    def groups(self, named: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
        """The encoder's weights at their own rate, and all others."""
        return two_rates(named, self.encoder_learning_rate)


class MoRecConfig(Config):
    """Options of :class:`MoRec`; how much of the encoder learns is ``text.trainable`` and ``text.train_layers``."""

    hidden_layers: int = Field(default=0, ge=0)
    """further layers (dropout, Linear, GELU) behind the map (the authors: 0 end to end, 8 over frozen vectors)"""
    map_dropout: float = Field(default=0.1, ge=0, lt=1)
    """before each of them (the authors: 0.1)"""
    fit: MoRecFit = MoRecFit()
    """training"""


class MoRec(Aligner):
    """The backbone's inputs are mapped outputs of a sentence encoder."""

    Config = MoRecConfig
    reads = frozenset({"text.items"})
    trains_backbone = True
    makes_inputs = True

    def __init__(self, config: MoRecConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        layers: list[nn.Module] = [nn.Linear(text_dim, backbone_dim), nn.GELU()]
        for _ in range(config.hidden_layers):
            layers += [nn.Dropout(config.map_dropout), nn.Linear(backbone_dim, backbone_dim), nn.GELU()]
        self.map = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.all_items = True

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Freezes the ID vectors, which are no longer read, and learns which items a step of the backbone reads."""
        source = needed(text, "morec")
        backbone.input_embeddings().items.requires_grad_(False)
        self.all_items = backbone.reads_all_items(backbone.config)
        if source.frozen is not None:
            say("note: morec: [text] is frozen, so only the map learns of texts; text.trainable = true trains it along")
        elif self.all_items:
            say(
                f"warning: morec: a step of the backbone reads all {backbone.num_items:,} items, so it encodes all "
                "their texts; backbone.loss = 'in-batch' or 'bce' (sasrec) reads the batch's alone"
            )

    def inputs(self, inputs: Embeddings, text: Text | None) -> Embeddings:
        """All items from their texts, users as they are: what is evaluated and deployed, without dropout."""
        return Embeddings(inputs.users, self.map(needed(text, "morec").rows("items")))

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The batch encoded from its items' texts; no loss of its own.

        Rows of the table (I, D) whose items are not in the batch are zero, and nobody reads them.
        """
        source = needed(text, "morec")
        if self.all_items:
            return encode(self.inputs(inputs, source), batch), {}
        items = batch_items(batch.histories, batch.positives, batch.negatives)
        made = self.map(source.rows("items", items))  # (n, D)
        table = made.new_zeros(len(inputs.items), made.shape[1]).index_copy(0, items, made)
        return encode(Embeddings(inputs.users, table), batch), {}
