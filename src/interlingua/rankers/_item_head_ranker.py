"""A language model that learns, whose state after a history scores all items by a head: the parent of such rankers.

``head = "full"``: a fresh matrix with a row for every item, without a bias. ``"tied"``: the state, mapped, against the
items' projected vectors over the root of their width. Item vectors go into prompts through one affine map.

Shape key: B rows, L history, I items, n items that came later, D item vectors, H input width, H' width of a state.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.contracts.batch import Batch
from interlingua.contracts.ranker import RankerInputs
from interlingua.injection.id_vectors import IdVectors
from interlingua.injection.loading import state_width
from interlingua.injection.projector import Projector
from interlingua.lm import packed
from interlingua.lm.history import queries_of
from interlingua.lm.prompt import PromptBatch, embed_prompts
from interlingua.rankers._state_ranker import StateRanker
from interlingua.rankers._tuned_ranker import TunedOptions


class ItemHeadOptions(TunedOptions):
    """Options that these rankers share."""

    head: Literal["full", "tied"] = "full"
    """``full``: a row of its own for every item (papers); ``tied``: the items' projected vectors (ours)"""


class ItemHeadRanker(StateRanker):
    """A subclass writes :meth:`states` and batches with one target each.

    Args:
        noise: random item vectors instead of the backbone's (control).
    """

    def __init__(self, config: Any, inputs: RankerInputs, noise: bool = False) -> None:
        super().__init__(config, inputs)
        self.ids = IdVectors(inputs, noise)
        self.item_projector = Projector(self.ids.item_dim, self.lm.hidden_size, nn.Identity(), "linear")
        width, self.learned = state_width(self.lm), self.num_items - inputs.added
        outputs = self.learned if config.head == "full" else self.lm.hidden_size
        self.head = nn.Linear(width, outputs, bias=False)

    def read(self, prompts: PromptBatch, users: Tensor | None = None) -> Tensor:
        """(B, H') states behind prompts, whose item places get the items' projected vectors; ``users``: (B, H)."""
        embeds = self.embedded(prompts, users)
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        return packed.prompt_states(self.lm, embeds, mask).float()

    def embedded(self, prompts: PromptBatch, users: Tensor | None = None) -> Tensor:
        """(B, T, H) prompts with the items' projected vectors, and (B, H) of users, in their places."""
        distinct, back = np.unique(prompts.item_indices, return_inverse=True)  # each item is projected once
        items = self.item_projector(self.ids.items[torch.as_tensor(distinct)])[torch.as_tensor(back)]
        return embed_prompts(self.lm, prompts, users, items)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss ``next``."""
        assert batch.histories is not None
        self._place()
        states = self.states(queries_of(batch.histories, batch.users.cpu().numpy()))
        return {"next": functional.cross_entropy(self._queries(states) @ self._item_outputs().T, batch.positives)}

    def _queries(self, states: Tensor) -> Tensor:
        """(B, H') states -> what meets those of :meth:`_item_outputs`."""
        return states if self.config.head == "full" else self.head(states) / self.lm.hidden_size**0.5

    def _item_outputs(self) -> Tensor:
        """(I - n, H') rows of the matrix, or (I, H) the items' projected vectors."""
        return self.head.weight if self.config.head == "full" else self.item_projector(self.ids.items)
