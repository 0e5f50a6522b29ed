"""Scores items by a dot product of the language model's last hidden state with projected item vectors.

A frozen model then ranks any number of items without writing a word: its state is the question, the items are the
answers.

Shape key: N states, I items, D item vectors, H' width of the state, H hidden width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from interlingua.injection.projector import Projector


class Head(nn.Module):
    """``score = (Q LN(state)) . F_C(item) / sqrt(H)`` with a second projector F_C for items as answers.

    Args:
        state_dim: width of the language model's output.
        item_dim: D.
        width: H.
    """

    def __init__(self, state_dim: int, item_dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(state_dim)
        self.query = nn.Linear(state_dim, width)
        self.items = Projector(item_dim, width, nn.GELU())
        nn.init.xavier_normal_(self.query.weight)
        nn.init.zeros_(self.query.bias)
        self.width = width

    def queries(self, states: Tensor) -> Tensor:
        """(N, H') states of the language model -> (N, H)."""
        return self.query(self.norm(states.float())) / self.width**0.5

    def table(self, vectors: Tensor) -> Tensor:
        """(I, D) item vectors -> (I, H)."""
        return self.items(vectors)


def choices(num_items: int, targets: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Items that the softmax runs over, and where among them the (N,) targets stand.

    All I items up to ``limit``; in a larger catalogue ``limit`` uniform draws, shared by the batch, and its targets.
    """
    if num_items <= limit:
        return torch.arange(num_items, device=targets.device), targets
    drawn = torch.randint(num_items, (limit,), device=targets.device)
    items, places = torch.unique(torch.cat([targets, drawn]), return_inverse=True)
    return items, places[: len(targets)]
