"""Joins what the head, the backbone and the texts say of an item; the backbone counts less where it has seen little.

The weights are learned on the validation part. On the training part the backbone has already seen the answers, so a
weight learned there would trust it too much. Shape key: B or N queries, I items, T text width.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.core import IntArray, Queries

PULL = 1e-3
"""strength of the pull towards the starting numbers in :meth:`Mixture.fit`"""
COLD_SHARE = 0.35
"""the rarest items by training events, as A-LLMRec's cold-item experiment has them"""
CALIBRATION_ROWS = 2000
"""most validation questions that the mixture is learned from"""
TEXT_HISTORY = 10
"""last items whose mean text a user is compared by"""
SHARPNESS = 10.0
"""cosines are multiplied by this, which brings their spread near that of log-probabilities"""


class Mixture(nn.Module):
    """``w_h h + w_t t + w_b g b + (1 - g) f`` with ``g = n / (n + k)`` for an item with n training events.

    h and b are log-probabilities by head and backbone, t the likeness of texts, each centred over the catalogue. For an
    item without events g is 0: the backbone says nothing of it, and the constant f stands in.
    """

    numbers: Tensor
    """(5,) log w_h, log w_b, log w_t, log k, f"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.tensor([-1.0, 0.0, -1.0, 0.0, 0.0]))

    def forward(
        self, head: Tensor, backbone: Tensor, text: Tensor, counts: Tensor, numbers: Tensor | None = None
    ) -> Tensor:
        """Combined scores.

        Args:
            head: (B, I) centred log-probabilities by the head.
            backbone: (B, I) the same by the backbone.
            text: (B, I) centred likeness of texts.
            counts: (I,) training events of each item.
            numbers: (5,) instead of the learned ones.
        """
        used = self.numbers if numbers is None else numbers
        weight_head, weight_backbone, weight_text, k = used[:4].exp()
        gate = counts / (counts + k)
        return weight_head * head + weight_text * text + weight_backbone * gate * backbone + (1 - gate) * used[4]

    def user_vectors(self, head: Tensor, backbone: Tensor, text: Tensor | None) -> Tensor:
        """(B, D) rows whose dot products with :meth:`item_vectors` are the combined scores: all parts, and a one.

        Args:
            head: (B, Dh) vectors whose dot products with the items' are the part's scores.
            backbone: (B, Db) the same.
            text: (B, T) the same, or None.
        """
        parts = [head, backbone, *([] if text is None else [text]), head.new_ones(len(head), 1)]
        return torch.cat(parts, 1)

    def item_vectors(
        self, head: Tensor, backbone: tuple[Tensor, Tensor | None], text: Tensor | None, counts: Tensor
    ) -> Tensor:
        """(I, D) the other side of :meth:`user_vectors`; a centred score is the product with a centred vector.

        Args:
            head: (I, Dh).
            backbone: (I, Db) and the items' bias (I,) or None.
            text: (I, T) or None.
            counts: (I,) training events of each item.
        """
        weight_head, weight_backbone, weight_text, k = self.numbers[:4].exp()
        gate = counts / (counts + k)
        table, bias = backbone
        constant = (1 - gate) * self.numbers[4]
        if bias is not None:
            constant = constant + weight_backbone * gate * (bias - bias.mean())
        parts = [weight_head * (head - head.mean(0)), weight_backbone * gate[:, None] * (table - table.mean(0))]
        if text is not None:
            parts.append(weight_text * (text - text.mean(0)))
        return torch.cat([*parts, constant[:, None]], 1)

    def fit(
        self,
        features: tuple[Tensor, Tensor, Tensor],
        counts: Tensor,
        targets: Tensor,
        seen: Tensor,
        *,
        cold_weight: float = 1.0,
        steps: int = 100,
    ) -> float:
        """Learns the five numbers by maximising the likelihood of held-out answers among the unseen items.

        Args:
            features: head, backbone and text, (N, I) each.
            counts: (I,) training events.
            targets: (N,) item rows.
            seen: (N, I) True where an item cannot come out.
            cold_weight: how much an answer among the rarest items weighs, compared with any other.
            steps: L-BFGS iterations.

        Returns:
            Mean negative log-likelihood that was reached, weighted.
        """
        start = self.numbers.detach().clone()
        numbers = start.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([numbers], max_iter=steps, line_search_fn="strong_wolfe")
        hidden = seen.clone()
        hidden[torch.arange(len(targets), device=seen.device), targets] = False
        weights = torch.where(rarest(counts)[targets], cold_weight, 1.0)
        weights = weights / weights.sum()

        def closure() -> Tensor:
            optimizer.zero_grad()
            scores = self(*features, counts, numbers).masked_fill(hidden, -torch.inf)
            # a weak pull to the start: a few hundred users must not drive a number to infinity
            loss = (weights * functional.cross_entropy(scores, targets, reduction="none")).sum()
            loss = loss + PULL * (numbers - start).square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
            reached = float(closure().detach())
        if math.isfinite(reached) and bool(torch.isfinite(numbers).all()):
            self.numbers.copy_(numbers.detach())
        return reached


class TextLikeness(nn.Module):
    """Cosine of an item's text vector with the mean text of the user's last items. Nothing is learned or saved."""

    table: Tensor

    def __init__(self, texts: Tensor) -> None:
        super().__init__()
        centred = texts.detach().float() - texts.detach().float().mean(0)
        self.register_buffer("table", functional.normalize(centred, dim=1), persistent=False)

    def forward(self, queries: Queries) -> Tensor:
        """(B, I)."""
        return self.users(queries) @ self.table.T

    def users(self, queries: Queries) -> Tensor:
        """(B, T) whose dot products with the table are the likeness."""
        rows = torch.as_tensor(queries.padded(TEXT_HISTORY), device=self.table.device)
        there = (rows >= 0).float()[..., None]
        mean = (self.table[rows.clamp_min(0)] * there).sum(1) / there.sum(1).clamp_min(1.0)
        return SHARPNESS * mean


def rarest(counts: Tensor, share: float = COLD_SHARE) -> Tensor:
    """(I,) True for the given share of items with the fewest training events (ties: lower rows first)."""
    order = torch.argsort(counts, stable=True)
    out = torch.zeros(len(counts), dtype=torch.bool, device=counts.device)
    out[order[: int(round(share * len(counts), 6))]] = True  # 180 * 0.35 is 62.99... in binary
    return out


def centred(scores: Tensor) -> Tensor:
    """Each row's mean over the catalogue taken off: only differences between items count."""
    return scores - scores.mean(1, keepdim=True)


def seen_mask(queries: Queries, num_items: int) -> Tensor:
    """(B, I) True at the items of each query's own history."""
    out = torch.zeros(len(queries), num_items, dtype=torch.bool)
    owners: IntArray = torch.repeat_interleave(torch.arange(len(queries)), torch.as_tensor(queries.lengths())).numpy()
    out[torch.as_tensor(owners), torch.as_tensor(queries.items.astype("int64"))] = True
    return out


def some_of(queries: Queries, targets: IntArray, limit: int = CALIBRATION_ROWS) -> tuple[Queries, IntArray]:
    """At most ``limit`` questions, the same ones every time."""
    if len(queries) <= limit:
        return queries, targets
    rows = np.random.default_rng(0).choice(len(queries), limit, replace=False)
    return queries.take(rows), targets[rows]
