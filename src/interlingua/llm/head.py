"""Scores items by a dot product of the language model's last hidden state with projected item vectors.

A frozen model then ranks any number of items without writing a word: its state is the question, the items are the
answers. The backbone's own scores can be mixed in, less for items that training has hardly seen.

Shape key: N states, C candidates, I items, D item vectors, H hidden width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.llm.projector import Projector

PULL = 1e-3
"""strength of the pull towards the starting numbers in :meth:`Mixture.fit`"""


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


class Mixture(nn.Module):
    """``w_h log p_head + w_b (g log p_backbone + (1 - g) b0)`` with ``g = n / (n + k)`` for an item with n training events.

    For an item without events the backbone's score says nothing (g = 0), so the constant b0 stands in for it and the head
    decides. The four numbers are learned on the validation part, where the backbone has not seen the answers; on the
    training part it has, and would be trusted too much.
    """

    numbers: Tensor
    """(4,) log w_h, log w_b, log k, b0"""

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.tensor([0.0, 0.0, 0.0, -math.log(max(num_items, 2))]))

    def forward(self, head: Tensor, backbone: Tensor, counts: Tensor, numbers: Tensor | None = None) -> Tensor:
        """Combined scores.

        Args:
            head: (..., C) log-probabilities by the head.
            backbone: (..., C) log-probabilities by the backbone.
            counts: (C,) or (..., C) training events of each item.
            numbers: (4,) instead of the learned ones.
        """
        log_head, log_backbone, log_k, floor = self.numbers if numbers is None else numbers
        gate = counts / (counts + log_k.exp())
        return log_head.exp() * head + log_backbone.exp() * (gate * backbone + (1 - gate) * floor)

    def fit(
        self, head: Tensor, backbone: Tensor, counts: Tensor, targets: Tensor, seen: Tensor, steps: int = 60
    ) -> float:
        """Learns the four numbers by maximising the likelihood of held-out targets among the unseen items.

        Args:
            head: (N, I) log-probabilities.
            backbone: (N, I) log-probabilities.
            counts: (I,) training events.
            targets: (N,) item rows.
            seen: (N, I) True where an item cannot come out.
            steps: L-BFGS iterations.

        Returns:
            Mean negative log-likelihood that was reached.
        """
        start = self.numbers.detach().clone()
        numbers = start.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([numbers], max_iter=steps, line_search_fn="strong_wolfe")
        hidden = seen.clone()
        hidden[torch.arange(len(targets), device=seen.device), targets] = False

        def closure() -> Tensor:
            optimizer.zero_grad()
            scores = self(head, backbone, counts, numbers).masked_fill(hidden, -torch.inf)
            # a weak pull to the start: a few hundred users must not drive a number to infinity
            loss = functional.cross_entropy(scores, targets) + PULL * (numbers - start).square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            reached = float(optimizer.step(closure))
        if bool(torch.isfinite(numbers).all()):
            self.numbers.copy_(numbers.detach())
        return reached
