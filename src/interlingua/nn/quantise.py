"""Vectors as integer codes: nearest codes, K-means for first and dead codes, equal tuples, and what codes are worth.

Shape key: n vectors, d width of a code, L codes of a codebook, I items, K codes of an item.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

KMEANS_ROUNDS = 10
"""assignments of a K-means"""
SPREAD = 1e-2
"""distance of a further centre from its point, in the points' deviation, where there are fewer points than centres"""
RETRIEVED = 10
"""items of a list in which :attr:`CodeReport.retrieved` looks"""
MEASURED = 2000
"""items that it is measured on, evenly spaced"""


class Quantiser(nn.Module):
    """What turns vectors into codes and back."""

    def losses(self, vectors: Tensor) -> dict[str, Tensor]:
        """Named losses of vectors (n, T)."""
        raise NotImplementedError

    def codes(self, vectors: Tensor) -> Tensor:
        """(n, K) codes of vectors (n, T), each by itself."""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """(n, T) vectors of codes (n, K)."""
        raise NotImplementedError

    def begin(self, vectors: Tensor) -> None:
        """Places the codes before training, by vectors (n, T)."""
        raise NotImplementedError

    def restart(self, vectors: Tensor) -> int:
        """Moves codes that no vector uses; their number."""
        raise NotImplementedError


def nearest(points: Tensor, codebook: Tensor) -> Tensor:
    """(n,) the code of ``codebook`` (L, d) that is nearest to each of ``points`` (n, d); of equal ones the first."""
    return (codebook.square().sum(1)[None] - 2 * points @ codebook.T).argmin(dim=1)


@torch.no_grad()
def kmeans(points: Tensor, count: int) -> Tensor:
    """(count, d) centres of points (n, d), from random points on (PyTorch's generator); an empty one stays.

    With fewer points than centres, the further centres lie near points.
    """
    size = len(points)
    drawn = torch.cat([torch.randperm(size, device=points.device) for _ in range(-(-count // size))])[:count]
    centres = points[drawn].clone()
    if count > size:
        further = centres[size:]
        centres[size:] = further + SPREAD * points.std().nan_to_num() * torch.randn_like(further)
    for _ in range(KMEANS_ROUNDS):
        owners = nearest(points, centres)
        counts = torch.bincount(owners, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, owners, points)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres


@torch.no_grad()
def restarted(codebook: Tensor, points: Tensor) -> int:
    """Moves, in place, the codes (L, d) that are nearest to none of ``points`` (n, d); their number.

    They go to the centres of a K-means over the points that lie farther from their codes than the mean.
    """
    owners = nearest(points, codebook)
    dead = torch.bincount(owners, minlength=len(codebook)) == 0
    count = int(dead.sum())
    if count:
        errors = (points - codebook[owners]).square().sum(1)
        codebook[dead] = kmeans(points[errors >= errors.mean().minimum(errors.max())], count)
    return count


def numbered(codes: Tensor, limit: int) -> Tensor:
    """(I, K + 1) codes (I, K) and a number that tells items of equal codes apart, in their order (TIGER, section 3.1).

    ``limit``: the numbers are 0 to ``limit`` - 1; further items of a tuple have the last one, and equal codes.
    """
    counts: dict[tuple[int, ...], int] = {}
    numbers = []
    for code in map(tuple, codes.tolist()):
        number = counts.get(code, 0)
        counts[code] = number + 1
        numbers.append(min(number, limit - 1))
    return torch.cat([codes, torch.tensor(numbers, dtype=codes.dtype, device=codes.device)[:, None]], dim=1)


@dataclass(frozen=True)
class CodeReport:
    """How good codes are."""

    used_codes: float
    """fraction of all codes of all codebooks that an item has"""
    least_used: float
    """the same of the codebook that is used least"""
    collisions: int
    """items whose codes are all those of an earlier item"""
    reconstruction: float
    """mean cosine of centred vectors with what is decoded from their codes"""
    retrieved: float
    """fraction of items among the ten nearest, by cosine, to what is decoded from their own codes"""

    def entries(self) -> dict[str, float | int]:
        """For a stage's card."""
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def in_words(self) -> str:
        """One line."""
        return (
            f"{self.used_codes:.0%} of the codes are used ({self.least_used:.0%} in the least used codebook), "
            f"{self.collisions} items share all codes with an earlier one, reconstruction cosine "
            f"{self.reconstruction:.3f}, {self.retrieved:.0%} of the items are among the ten nearest to it"
        )


@torch.no_grad()
def code_report(codes: Tensor, size: int, vectors: Tensor, decoded: Tensor) -> CodeReport:
    """Report on ``codes`` (I, K) of codebooks of ``size`` codes, for ``vectors`` (I, T) and ``decoded`` (I, T)."""
    used = [len(column.unique()) / size for column in codes.T]
    mean = vectors.mean(0)
    cosine = torch.cosine_similarity(vectors - mean, decoded - mean, dim=1).mean()
    collisions = len(codes) - len(codes.unique(dim=0))
    found = retrieved(vectors, decoded)
    return CodeReport(sum(used) / len(used), min(used), collisions, float(cosine), found)


def retrieved(vectors: Tensor, decoded: Tensor) -> float:
    """Fraction of the items (at most :data:`MEASURED`) that fewer than ten others are before, by the cosine.

    Args:
        vectors: (I, T) that are compared.
        decoded: (I, T) of each item's codes: what is asked for.
    """
    unit, queries = functional.normalize(vectors, dim=1), functional.normalize(decoded, dim=1)
    indices = torch.arange(0, len(unit), -(-len(unit) // MEASURED), device=unit.device)
    before = [
        (products > products.gather(1, part[:, None])).sum(1)
        for part in indices.split(100)
        for products in [queries[part] @ unit.T]
    ]
    return float((torch.cat(before) < RETRIEVED).float().mean())
