"""A frozen language model reads every title once; what is learned is how histories and items meet in its space.

An item is the mean of the model's last states over its title. A user is a learned matrix times the mean of the last
items. The softmax runs over the next item and a few others. Scores are dot products, so that an index can serve them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.config import Config, FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.contracts.scorer import TableScorer, Towers
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.injection.hard_prompt import tokens
from interlingua.injection.two_tower import by_length, read
from interlingua.lm.encoder import frozen
from interlingua.lm.locate import identity
from interlingua.training.batches import last_position_batches


class TitleStatesConfig(Config):
    """Options of ``title-states``."""

    named_models = {"model": identity}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a language model"""
    history_length: int = Field(default=10, ge=1)
    """items of the history that are read, the last ones"""
    num_negatives: int = Field(default=8, ge=2)
    """other items beside the next one"""
    fit: FitConfig = FitConfig(learning_rate=1e-2, batch_size=64, epochs=5)
    """training of the matrix"""


class TitleStates(Ranker):
    """Ranks the whole catalogue by itself."""

    Config = TitleStatesConfig
    ranks_catalogue = True
    states: Tensor
    """(I, H) unit vectors: made again when a run is opened, so not stored"""

    def __init__(self, config: TitleStatesConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.lm = frozen(config.model, "fp32", None, "pretrained")
        self.register_buffer("states", self._read(inputs.titles), persistent=False)
        width = self.states.shape[1]
        self.bridge = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.bridge.weight)

    @classmethod
    def needs(cls, config: TitleStatesConfig) -> frozenset[str]:
        """Titles are all that is read."""
        return frozenset({"scores"})

    @torch.no_grad()
    def _read(self, titles: list[str]) -> Tensor:
        ids = tokens(self.lm, titles)
        states = by_length(
            ids, self.lm.pad_token_id, lambda _, each, mask: read(self.lm, each, mask, "mean"), label="read titles"
        )
        return functional.normalize(states - states.mean(0), dim=1).cpu()

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Every event but a user's first is a target once."""
        config: TitleStatesConfig = self.config
        return last_position_batches(
            self.inputs.train, config.history_length, config.fit.batch_size, generator,
            num_negatives=config.num_negatives, all_positions=True,
        )  # fmt: skip

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the next item among itself and the drawn ones."""
        assert batch.histories is not None
        assert batch.negatives is not None
        items = torch.cat([batch.positives[:, None], batch.negatives], dim=1)
        logits = torch.einsum("bh,bch->bc", self._users(batch.histories), self.states[items])
        return {
            "next": functional.cross_entropy(logits, torch.zeros(len(batch), dtype=torch.long, device=logits.device))
        }

    def _users(self, histories: Tensor) -> Tensor:
        """(B, H) of (B, L) items, padded."""
        there = (histories != PAD).to(self.states)[..., None]
        mean = (self.states[histories.clamp_min(0)] * there).sum(1) / there.sum(1).clamp_min(1.0)
        return self.bridge(mean)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, H) of any queries."""
        config: TitleStatesConfig = self.config
        return self._users(torch.as_tensor(queries.padded(config.history_length), device=self.states.device))

    def towers(self) -> Towers:
        """Users and titles."""
        return Towers(self.user_embeddings, self.states)

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, I), or (B, C) of candidates: dot products."""
        return TableScorer(self.states, self.user_embeddings).score(queries, items)
