"""Joins the scores of head, backbone and texts; the backbone's weight is smaller for items with few events.

Its numbers are learned by :mod:`interlingua.injection.calibration`. Shape key: B queries, I items, T text width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.contracts.batch import FloatArray
from interlingua.data.queries import IntArray, Queries

Score = Callable[[Queries, IntArray | None], FloatArray]
"""(queries, items) -> scores, as of a backbone"""
BLOCK = 256
"""queries whose scores of the whole catalogue by a head are made at once"""
START = (-1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0)
"""of :attr:`ScoreFusion.numbers`"""
TEXT_HISTORY = 10
"""last items whose mean text a user is compared by"""
SHARPNESS = 10.0
"""factor of cosines, which brings their spread near that of log-probabilities"""


class ScoreFusion(nn.Module):
    """``w_h h + (w_t + (1 - g) w_c) t + w_b g b + (1 - g) f + [n = 0] u``, ``g = n / (n + k)`` for n training events.

    h and b are log-probabilities by head and backbone, t the likeness of texts, each centred over the catalogue. For an
    item without events g is 0: the backbone says nothing of it, the texts count for more, and the constants f and u
    stand in.
    """

    numbers: Tensor
    """(7,) log w_h, log w_b, log w_t, log k, f, w_c, u"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.tensor(START))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Runs made before w_c and u existed have five numbers; 0 for the others says the same."""
        stored = state_dict.get(prefix + "numbers")
        if stored is not None and len(stored) < len(START):
            missing = stored.new_zeros(len(START) - len(stored))
            state_dict = {**state_dict, prefix + "numbers": torch.cat([stored, missing])}
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(
        self, head: Tensor, backbone: Tensor, text: Tensor, counts: Tensor, numbers: Tensor | None = None
    ) -> Tensor:
        """Combined scores.

        Args:
            head: (B, I) centred log-probabilities by the head.
            backbone: (B, I) the same by the backbone.
            text: (B, I) centred similarity of texts.
            counts: (I,) training events of each item.
            numbers: (7,) instead of the learned ones.
        """
        of_head, of_backbone, of_text, constant = self.weights(counts, numbers)
        return of_head * head + of_text * text + of_backbone * backbone + constant

    def weights(self, counts: Tensor, numbers: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What head (), backbone (I,) and text (I,) are multiplied by, and the constant (I,) of each item."""
        used = self.numbers if numbers is None else numbers
        of_head, of_backbone, of_text, k = used[:4].exp()
        gate = counts / (counts + k)
        constant = (1 - gate) * used[4] + (counts == 0) * used[6]
        return of_head, of_backbone * gate, of_text + (1 - gate) * used[5], constant

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
        of_head, of_backbone, of_text, constant = self.weights(counts)
        table, bias = backbone
        if bias is not None:
            constant = constant + of_backbone * (bias - bias.mean())
        parts = [of_head * (head - head.mean(0)), of_backbone[:, None] * (table - table.mean(0))]
        if text is not None:
            parts.append(of_text[:, None] * (text - text.mean(0)))
        return torch.cat([*parts, constant[:, None]], 1)


class TextSimilarity(nn.Module):
    """Cosine of an item's text vector with the mean text of the user's last items. Nothing is learned or saved."""

    table: Tensor

    def __init__(self, texts: Tensor, added: int = 0) -> None:
        """``texts`` (I, T); the last ``added`` of them came after training, and change no mean."""
        super().__init__()
        centred = texts.detach().float() - texts[: len(texts) - added].detach().float().mean(0)
        self.register_buffer("table", functional.normalize(centred, dim=1), persistent=False)

    def forward(self, queries: Queries) -> Tensor:
        """(B, I)."""
        return self.users(queries) @ self.table.T

    def users(self, queries: Queries) -> Tensor:
        """(B, T) vectors whose dot products with the table are the similarities."""
        indices = torch.as_tensor(queries.padded(TEXT_HISTORY), device=self.table.device)
        mask = (indices >= 0).float()[..., None]
        mean = (self.table[indices.clamp_min(0)] * mask).sum(1) / mask.sum(1).clamp_min(1.0)
        return SHARPNESS * mean


def centred(scores: Tensor) -> Tensor:
    """Each row's mean over the catalogue taken off: only differences between items count."""
    return scores - scores.mean(1, keepdim=True)


Features = tuple[Tensor, Tensor, Tensor]
"""scores of head, backbone and texts for every item, (B, I) each, centred"""


def features(own: Tensor, base: FloatArray, similarity: TextSimilarity | None, queries: Queries) -> Features:
    """The inputs of :class:`ScoreFusion`.

    Args:
        own: (B, I) scores of the head.
        base: (B, I) scores of the backbone.
        similarity: of texts, where there are any.
        queries: B queries.
    """
    head = centred(torch.log_softmax(own, dim=-1))
    backbone = centred(torch.log_softmax(torch.as_tensor(base, device=own.device), dim=-1))
    return head, backbone, torch.zeros_like(head) if similarity is None else centred(similarity(queries))


def features_in_blocks(
    own: Callable[[Queries], Tensor], base: Score | None, similarity: TextSimilarity | None, queries: Queries
) -> Features:
    """:func:`features` of any number of queries.

    Args:
        own: (b, I) scores of the head for a block of queries.
        base: scores of the backbone.
        similarity: of texts, where there are any.
        queries: B queries.
    """
    assert base is not None, "there is nothing to fuse with"
    parts = [own(queries.slice(at, at + BLOCK)) for at in range(0, len(queries), BLOCK)]
    return features(torch.cat(parts), base(queries, None), similarity, queries)


def seen_mask(queries: Queries, num_items: int) -> Tensor:
    """(B, I) True at the items of each query's own history."""
    out = torch.zeros(len(queries), num_items, dtype=torch.bool)
    owners: IntArray = torch.repeat_interleave(torch.arange(len(queries)), torch.as_tensor(queries.lengths())).numpy()
    out[torch.as_tensor(owners), torch.as_tensor(queries.items.astype("int64"))] = True
    return out
