"""TokenRec: a language model reads a history as a set of code tokens and answers with a vector in the backbone's space.

Qu et al., "TokenRec: Learning to Tokenize ID for LLM-based Generative Recommendation", TKDE 2025, arXiv 2406.10450, and
the authors' code. Every item is K codes (the aligner ``masked-vq`` over ``lightgcn``), each (codebook, code) a new
token. Behind the history's tokens stand P output tokens; their states side by side go through Linear - dropout - ReLU -
Linear to a vector, which a cosine loss draws to the next item's vector and away from one random item's (margin 0).
Items are retrieved by cosine; nothing is written, so nothing invalid can be.

Shape key: B rows, L events, K codes, P output tokens, I items, D item vectors, H input width, H' width of a state.

**Deviations:**
- A frozen causal model (SmolLM2): only the new tokens and the output layers learn, where the authors tune all of
  T5-small. ``tune = "lora"`` or ``"full"`` trains it along. The P output tokens stand for T5's 20 decoder positions.
- No words around the codes (the authors draw one of ten templates) and no codes of the user: a user is the history.
- Early stopping reads the validation part. The released code's "validation" items are the test items.
- Cosines are with the backbone's vectors as they are; an item that it has not learned, and no text makes, scores 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.scorer import Towers, products
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.injection.item_vectors import unlearned
from interlingua.injection.loading import state_width
from interlingua.injection.remembered import Remembered
from interlingua.lm.adapters import Tune
from interlingua.lm.history import shifted
from interlingua.progress import track
from interlingua.rankers._tuned_ranker import TunedOptions, TunedRanker
from interlingua.training.batches import last_position_batches

AT_ONCE = 32
"""histories per forward pass when scoring"""


class TokenRecConfig(TunedOptions):
    """Options of :class:`TokenRec`."""

    tune: Tune = "none"
    """what learns of the language model: ``none``, ``lora`` adapters, its ``full`` weights (paper, of T5-small)"""
    history_length: int = Field(default=50, ge=1)
    """L (paper: 50)"""
    order: Literal["set", "sequence"] = "set"
    """``set``: histories are shuffled in training (paper), and read by item numbers when scoring"""
    output_tokens: int = Field(default=8, ge=1)
    """P (paper: 20)"""
    hidden_dim: int = Field(default=256, ge=1)
    """between the two output layers (paper: 256)"""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """between them (paper: .2)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=32, epochs=5, weight_decay=0.01)
    """training (paper: AdamW 5e-5, 128 rows, 100 epochs, every event a target)"""


class TokenRec(TunedRanker):
    """Codes of a history in, a vector out."""

    Config = TokenRecConfig
    version = 1
    ranks_catalogue = True
    validation = "ranking"
    words = False

    codes: Tensor
    items: Tensor

    def __init__(self, config: TokenRecConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        if inputs.item_codes is None:
            raise ConfigError("the ranker 'token-rec' reads codes of items: choose the aligner masked-vq or rq-vae")
        codes = inputs.item_codes.long()
        sizes = codes[: len(codes) - inputs.added].max(0).values + 2  # the last one: codes that no item had in training
        starts = functional.pad(sizes.cumsum(0), (1, 0))
        self.register_buffer("codes", torch.minimum(codes, sizes - 1) + starts[:-1], persistent=False)
        vectors = inputs.items.detach().float()
        if inputs.items_from_text is None:
            vectors = vectors.masked_fill(unlearned(inputs)[:, None], 0.0)
        self.register_buffer("items", functional.normalize(vectors, dim=1), persistent=False)
        width = self.lm.hidden_size
        self.tokens = nn.Parameter(torch.randn(int(starts[-1]), width) * (self.lm.embedding_norm / width**0.5))
        self.answers = nn.Parameter(torch.randn(config.output_tokens, width) * (self.lm.embedding_norm / width**0.5))
        self.out = nn.Sequential(
            nn.Linear(config.output_tokens * state_width(self.lm), config.hidden_dim), nn.Dropout(config.dropout),
            nn.ReLU(), nn.Linear(config.hidden_dim, vectors.shape[1]),
        )  # fmt: skip
        self._known = Remembered()

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Item vectors, and codes of items."""
        return super().needs(config) | {"item_codes"}

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Every event once, after those before it, with one random negative; in a new order where they are a set."""
        train, config = self.inputs.train, self.config
        drawn = last_position_batches(
            train, config.history_length, config.fit.batch_size, generator, stops=np.arange(len(train))
        )
        for batch in drawn:
            if config.order == "set" and batch.histories is not None:
                padded = batch.histories.numpy()
                keys = np.where(padded == PAD, -1.0, generator.random(padded.shape))  # padding stays in front
                order = torch.from_numpy(np.argsort(keys, axis=1, kind="stable"))
                batch.histories.copy_(batch.histories.gather(1, order))
            yield batch

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss ``cosine``."""
        assert batch.histories is not None
        assert batch.negatives is not None
        self._place()
        made = self.vectors(batch.histories[:, -self.config.history_length :])
        return {"cosine": cosine_loss(made, self.items[batch.positives], self.items[batch.negatives.view(-1)])}

    def vectors(self, histories: Tensor) -> Tensor:
        """(B, D) what is answered to left-padded histories (B, L)."""
        items, where = shifted(histories, histories)
        count, (_, per_item) = self.config.output_tokens, self.codes.shape
        tokens = self.codes[items.clamp(min=0)].flatten(1)  # (B, L K), real ones first
        lengths = where.sum(1) * per_item
        places = torch.arange(tokens.shape[1] + count, device=tokens.device)[None] - lengths[:, None]
        read = functional.pad(functional.embedding(tokens, self.tokens), (0, 0, 0, count))
        answers = self.answers[places.clamp(0, count - 1)]
        embeds = torch.where((places < 0)[..., None], read, answers)  # what is behind the answers reaches nothing
        states = self.lm.forward(embeds.to(self.lm.dtype)).states
        index = lengths[:, None] + torch.arange(count, device=tokens.device)
        chosen = states.gather(1, index[..., None].expand(-1, -1, states.shape[2])).float()
        made: Tensor = self.out(chosen.flatten(1))
        return made

    def _forget(self) -> None:
        """Vectors of histories."""
        self._known.forget()

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) unit vectors; a history is read once for a set of weights."""
        self.eval()
        self._place()
        if not len(queries):
            return self.items[:0]
        histories = queries.padded(self.config.history_length)
        if self.config.order == "set":
            histories = np.sort(histories, axis=1)  # PAD is below every item
        return self._known.of([row.tobytes() for row in histories], lambda fresh: self._read(histories[fresh]))

    def _read(self, histories: IntArray) -> Tensor:
        """(B, D) unit vectors of left-padded histories (B, L); those of similar length run together."""
        lengths = np.maximum((histories != PAD).sum(1), 1)
        order = np.argsort(lengths, kind="stable")
        parts = [order[at : at + AT_ONCE] for at in range(0, len(order), AT_ONCE)]
        made = torch.cat([
            self.vectors(torch.from_numpy(histories[part, -lengths[part[-1]] :]).to(self.device))
            for part in track(parts, "histories")
        ])  # fmt: skip
        return functional.normalize(made, dim=1)[torch.as_tensor(np.argsort(order), device=made.device)]

    def towers(self) -> Towers:
        """Unit vectors of answers and items: an index can search them."""
        return Towers(self.user_embeddings, self.items)

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Cosines (see :class:`interlingua.contracts.scorer.Scorer`)."""
        return products(self.user_embeddings(queries), self.items, items)


def cosine_loss(made: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Mean of ``1 - cos`` with the positive and of ``max(0, cos)`` with the negative; all (B, D)."""
    good = 1 - functional.cosine_similarity(made, positives, dim=1)
    bad = functional.cosine_similarity(made, negatives, dim=1).clamp(min=0)
    return torch.cat([good, bad]).mean()
