"""Item-item weights in closed form, from interactions and from texts.

Shape key: U users, I items, T text width. ``X`` (U, I) interactions, ``F`` (T, I) text vectors as columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from interlingua.nn.blockwise import spd_inverse
from interlingua.progress import track

COLUMNS = 1024
"""columns of a product that are made at once"""


def stacked(sources: Sequence[Tensor], weights: Sequence[float], centred: bool) -> Tensor:
    """(I, sum of T) text vectors side by side, each source in its own units.

    A source is divided by the root mean square length of its rows: its weight then says how
    much it counts, whatever its scale. The inverse square of a weight is the source's own ridge (a group ridge).

    Args:
        sources: (I, T) each.
        weights: one for each source; 0 leaves a source out.
        centred: subtract each source's mean first.
    """
    return stacked_with(sources, sources, weights, centred)


def stacked_with(sources: Sequence[Tensor], added: Sequence[Tensor], weights: Sequence[float], centred: bool) -> Tensor:
    """(n, sum of T) further texts, shifted and scaled as :func:`stacked` does with the sources.

    Args:
        sources: (I, T) each.
        added: (n, T) each, of the same sources.
        weights: one for each source.
        centred: as for :func:`stacked`.
    """
    parts = []
    for source, new, weight in zip(sources, added, weights, strict=True):
        mean = source.float().mean(0) if centred and len(source) else source.new_zeros(source.shape[1])
        spread = (source.float() - mean).square().sum(1).mean().sqrt() if len(source) else source.new_ones(())
        parts.append(weight * (new.float() - mean) / spread.clamp(min=1e-12))
    return torch.cat(parts, dim=1)


def text_weights(texts: Tensor, ridge: float) -> Tensor:
    """(I, I) EASE solved on texts instead of users: each text from the other texts, zero diagonal (L3AE, step 1).

    ``P = inverse(F'F + ridge I)`` through a (T, T) matrix where there are more items than dimensions (Woodbury);
    ``C = -P / diag(P)`` column by column.

    Args:
        texts: (I, T), the rows of F'.
        ridge: above 0.
    """
    items, width = texts.shape
    if width < items:
        inner = texts.T @ texts
        inner.diagonal().add_(ridge)
        half = texts @ spd_inverse(inner, "item texts")  # (I, T)
        weights = torch.empty(items, items)
        for at in track(range(0, items, COLUMNS), "item texts: weights"):
            weights[:, at : at + COLUMNS] = half @ texts[at : at + COLUMNS].T / ridge
        diagonal = 1 / ridge - weights.diagonal().clone()
    else:
        gram = texts @ texts.T
        gram.diagonal().add_(ridge)
        weights = -spd_inverse(gram, "item texts")
        diagonal = -weights.diagonal().clone()
    weights /= diagonal[None, :]
    return weights.fill_diagonal_(0.0)


@dataclass(frozen=True)
class AddedWeights:
    """Weights between I items and n that stand behind them."""

    columns: Tensor
    """(I + n, n) of the new items, from all"""
    lines: Tensor
    """(n, I) of the other items, from the new ones"""

    def times(self, factor: float) -> AddedWeights:
        """All weights times a number."""
        return AddedWeights(self.columns * factor, self.lines * factor)


@dataclass(frozen=True)
class TextInverse:
    """What :func:`added_text_weights` needs of the fitted texts, made once; float64."""

    texts: Tensor
    """(I, T) F'"""
    inverse: Tensor
    """(T, T) K = inverse(F F' + ridge I)"""
    half: Tensor
    """(I, T) F' K"""


def text_inverse(texts: Tensor, ridge: float) -> TextInverse:
    """Of (I, T) texts; ``ridge`` as for :func:`text_weights`."""
    exact = texts.double()
    inner = exact.T @ exact
    inner.diagonal().add_(ridge)
    inverse = spd_inverse(inner, "item texts")
    return TextInverse(exact, inverse, exact @ inverse)


def added_text_weights(known: TextInverse, added: Tensor, ridge: float) -> AddedWeights:
    """The part of :func:`text_weights` of all I + n texts that belongs to the last n (Woodbury on the inverse).

    Args:
        known: of the first I.
        added: (n, T).
        ridge: as for :func:`text_weights`.
    """
    new = added.double()
    across = new @ known.inverse  # (n, T)
    middle = torch.linalg.inv(torch.eye(len(new), dtype=new.dtype) + across @ new.T) @ across  # (n, T)
    old_half = (known.half - (known.half @ new.T) @ middle) / ridge
    new_half = (across - (across @ new.T) @ middle) / ridge
    old_scored = old_half / (1 / ridge - (old_half * known.texts).sum(1))[:, None]
    new_scored = new_half / (1 / ridge - (new_half * new).sum(1))[:, None]
    own = (new @ new_scored.T).fill_diagonal_(0.0)
    return AddedWeights(torch.cat([known.texts @ new_scored.T, own]).float(), (new @ old_scored.T).float())


def times_inverse(weights: Tensor, diagonal: Tensor, columns: Tensor) -> Tensor:
    """(I, n) ``P V`` where only EASE's weights of P are kept: ``P = (I - W) diag(p)`` for ``W = -P / diag P``.

    Args:
        weights: (I, I) W, zero on its diagonal.
        diagonal: (I,) p.
        columns: (I, n) V.
    """
    scaled = diagonal[:, None] * columns
    return scaled - weights @ scaled


def added_near_texts(
    weights: Tensor, diagonal: Tensor, target: AddedWeights, ridge: float, pull: float
) -> AddedWeights:
    """The part of :func:`near_texts` that belongs to n items without interactions: their ``P`` is 1 / ridge alone.

    Args:
        weights: (I, I) the fitted weights without their part from texts, -P / diag P.
        diagonal: (I,) of P.
        target: of C.
        ridge: as for :func:`near_texts`.
        pull: as for :func:`near_texts`.
    """
    old = len(diagonal)
    known = pull * times_inverse(weights, diagonal, target.columns[:old])
    return AddedWeights(torch.cat([known, pull / ridge * target.columns[old:]]), pull / ridge * target.lines)


def added_collective(
    weights: Tensor, diagonal: Tensor, texts: Tensor, added: Tensor, ridge: float, weight: float
) -> AddedWeights:
    """The part of :func:`collective` of all I + n items that belongs to n without interactions (a bordered inverse).

    Args:
        weights: (I, I) the fitted weights, -P / diag P.
        diagonal: (I,) of P.
        texts: (I, T).
        added: (n, T).
        ridge: as for :func:`collective`.
        weight: as for :func:`collective`.
    """
    border = weight**2 * (texts @ added.T)  # (I, n)
    reached = times_inverse(weights, diagonal, border)
    inner = weight**2 * (added @ added.T)
    inner.diagonal().add_(ridge)
    corner = spd_inverse((inner - border.T @ reached).double(), "new items").float()  # (n, n) of the whole inverse
    across = reached @ corner  # (I, n), with the sign of the weights
    columns = torch.cat([across, -corner]) / corner.diagonal()[None, :]
    columns[len(texts) :].fill_diagonal_(0.0)
    whole = diagonal + (across * reached).sum(1)
    return AddedWeights(columns, across.T / whole[None, :])


def gram_matrix(matrix: sp.csr_matrix) -> Tensor:
    """(I, I) ``X'X`` in float32."""
    return torch.from_numpy(np.ascontiguousarray((matrix.T @ matrix).toarray(), np.float32))


def ease_of_gram(gram: Tensor, ridge: float, label: str) -> Tensor:
    """(I, I) ``B`` of EASE (Steck 2019, eq. 8); ``gram`` (I, I) is overwritten."""
    gram.diagonal().add_(ridge)
    return _minus_over_diagonal(spd_inverse(gram, label))


def drawn_to(inverse: Tensor, target: Tensor) -> Tensor:
    """(I, I) ``P K - P diag(diag(P K) / diag P)``: what a target K, zero on its diagonal, gives to regression weights.

    The weights with a zero diagonal for which ``P^-1`` is the whole matrix of products and K the part of it that comes
    from texts part into ``-P / diag P`` and this. An item without interactions has only this; and any item would have
    this if its own column of interactions were empty, since ``P`` of the other items enters in the same way. So it says
    exactly what texts alone would do for an item.

    Args:
        inverse: (I, I) P, symmetric positive definite.
        target: (I, I) K.
    """
    diagonal, out = inverse.diagonal(), torch.empty_like(inverse)
    for at in track(range(0, len(inverse), COLUMNS), "items and texts"):
        columns = slice(at, at + COLUMNS)
        block = inverse @ target[:, columns]
        out[:, columns] = block - inverse[:, columns] * (block.diagonal(-at) / diagonal[columns])[None, :]
    return out.fill_diagonal_(0.0)


def near_texts(gram: Tensor, texts: Tensor, ridge: float, pull: float) -> tuple[Tensor, Tensor, Tensor]:
    """The weights that explain X and lie near ``C`` (L3AE, step 2), their part from texts, and the diagonal of P.

    ``min ||X - XB||^2 + (ridge - pull) ||B||^2 + pull ||B - C||^2`` with a zero diagonal has, with
    ``P = inverse(X'X + ridge I)``, the solution ``B = pull P C - P diag((1 + pull diag(P C)) / diag P)``: EASE's
    weights at the same ridge, and :func:`drawn_to` of ``pull C``.

    Args:
        gram: (I, I) X'X; overwritten.
        texts: (I, I) C; overwritten.
        ridge: both pulls together, above 0.
        pull: strength of the pull towards C, at least 0.

    Returns:
        B and its part from texts, (I, I) each, and (I,) the diagonal of P.
    """
    gram.diagonal().add_(ridge)
    inverse = spd_inverse(gram, "items and users")
    by_texts, diagonal = drawn_to(inverse, texts.mul_(pull)), inverse.diagonal().clone()
    return _minus_over_diagonal(inverse).add_(by_texts), by_texts, diagonal


def collective(gram: Tensor, texts: Tensor, ridge: float, weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """EASE on users and texts as rows of one matrix (Gram ``X'X + weight^2 F'F``), and what :func:`near_texts` gives.

    Args:
        gram: (I, I) X'X; overwritten.
        texts: (I, T).
        ridge: above 0.
        weight: of a row of texts, beside a user's.
    """
    of_texts = weight**2 * (texts @ texts.T)
    gram.add_(of_texts).diagonal().add_(ridge)
    inverse = spd_inverse(gram, "items, users and texts")
    by_texts, diagonal = drawn_to(inverse, of_texts.fill_diagonal_(0.0)), inverse.diagonal().clone()
    return _minus_over_diagonal(inverse), by_texts, diagonal


def _minus_over_diagonal(inverse: Tensor) -> Tensor:
    """(I, I) ``-P / diag P`` column by column, with a zero diagonal; ``inverse`` is overwritten."""
    inverse /= -inverse.diagonal().clone()[None, :]
    return inverse.fill_diagonal_(0.0)
