"""A language model that learns, whose state after a history scores all items by a head: the parent of such rankers.

``head = "full"``: a fresh matrix with a row for every item, without a bias. ``"tied"``: the state, mapped, against the
items' projected vectors over the root of their width. Item vectors go into prompts through one affine map.

Shape key: B rows, L history, I items, n items that came later, D item vectors, H input width, H' width of a state, W
what is compared.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.scorer import Towers, products
from interlingua.data.queries import IntArray, Queries
from interlingua.injection.id_vectors import IdVectors
from interlingua.injection.loading import state_width
from interlingua.injection.projector import Projector
from interlingua.injection.remembered import Remembered
from interlingua.lm import packed
from interlingua.lm.history import queries_of
from interlingua.lm.prompt import PromptBatch, embed_prompts
from interlingua.progress import track
from interlingua.rankers._tuned_ranker import TunedOptions, TunedRanker

AT_ONCE = 16
"""queries per forward pass of the language model when scoring"""


class ItemHeadOptions(TunedOptions):
    """Options that these rankers share."""

    head: Literal["full", "tied"] = "full"
    """``full``: a row of its own for every item (papers); ``tied``: the items' projected vectors (ours)"""


class ItemHeadRanker(TunedRanker):
    """A subclass writes :meth:`states` and batches with one target each.

    Args:
        noise: random item vectors instead of the backbone's (control).
    """

    ranks_catalogue = True
    validation = "ranking"
    words = False

    def __init__(self, config: Any, inputs: RankerInputs, noise: bool = False) -> None:
        super().__init__(config, inputs)
        self.ids = IdVectors(inputs, noise)
        self.item_projector = Projector(self.ids.item_dim, self.lm.hidden_size, nn.Identity(), "linear")
        width, self.learned = state_width(self.lm), self.num_items - inputs.added
        outputs = self.learned if config.head == "full" else self.lm.hidden_size
        self.head = nn.Linear(width, outputs, bias=False)
        self._known, self._outputs = Remembered(), torch.zeros(0, 0)

    def states(self, queries: Queries) -> Tensor:
        """(B, H') states of the language model after what the queries' prompts say."""
        raise NotImplementedError

    def key(self, queries: Queries, row: int) -> Hashable:
        """What the state of one query depends on besides the weights: by default the last events."""
        return queries.history(row)[-self.config.history_length :].tobytes()

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

    def _forget(self) -> None:
        """States and outputs."""
        self._known.forget()
        self._outputs = torch.zeros(0, 0)

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

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, W) what the items' outputs are multiplied with; a history is read once for a set of weights."""
        self.eval()
        self._place()
        if not len(queries):
            return self.all_item_embeddings()[:0]
        keys = [self.key(queries, row) for row in range(len(queries))]
        return self._known.of(keys, lambda indices: self._read(queries.take(indices)))

    def _read(self, queries: Queries) -> Tensor:
        """(B, W) of queries; those of similar length run together."""
        order = np.argsort(np.minimum(queries.lengths(), self.config.history_length), kind="stable")
        parts = [order[at : at + AT_ONCE] for at in range(0, len(order), AT_ONCE)]
        made = torch.cat([self._queries(self.states(queries.take(part))) for part in track(parts, "histories")])
        return made[torch.as_tensor(np.argsort(order), device=made.device)]

    @torch.no_grad()
    def all_item_embeddings(self) -> Tensor:
        """(I, W) the items' outputs, made once for a set of weights; those that came later than the matrix: its mean.

        The matrix itself where none came later: who changes it in place copies it first.
        """
        if len(self._outputs) != self.num_items or self._outputs.device != self.device:
            outputs = self._item_outputs().detach()
            later = outputs.mean(0, keepdim=True).expand(self.num_items - len(outputs), -1)
            self._outputs = torch.cat([outputs, later]) if len(later) else outputs
        return self._outputs

    def towers(self) -> Towers:
        """States and outputs: an index can search them."""
        return Towers(self.user_embeddings, self.all_item_embeddings())

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of the catalogue, or of candidates (see :class:`interlingua.contracts.scorer.Scorer`)."""
        return products(self.user_embeddings(queries), self.all_item_embeddings(), items)
