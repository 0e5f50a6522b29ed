"""RQ-VAE: a vector as K codes, each of them the nearest to what the codes before it leave.

Rajput et al., "Recommender Systems with Generative Retrieval" (TIGER), NeurIPS 2023, arXiv 2305.05065, section 3.1;
LC-Rec (arXiv 2311.09049) has the same with four codebooks. Encoder and decoder are MLPs, codebooks begin by K-means;
the loss is the reconstruction plus, per level, ``|sg(r) - e|^2 + beta |r - sg(e)|^2``, with beta .25.

Shape key: n vectors, T width, d width of a code, K levels, L codes of a level.

**Deviations:** every level begins by K-means over what the levels before it leave; codes that no item uses are moved
(:func:`interlingua.nn.quantise.restarted`). With ``sinkhorn``, LC-Rec's weight of the entropy, the last level is
assigned uniformly in training, and :meth:`ResidualQuantiser.told_apart` changes it (:mod:`interlingua.nn.sinkhorn`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.nn.quantise import Quantiser, kmeans, nearest, restarted
from interlingua.nn.sinkhorn import told_apart, uniform


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths, with ReLU between them."""
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.ReLU()] * bool(layers) + [nn.Linear(width, following)]
    return nn.Sequential(*layers)


class ResidualQuantiser(Quantiser):
    """K codebooks, one for what the other leaves, between an encoder and a decoder."""

    def __init__(
        self, width: int, hidden: Sequence[int], code_dim: int, levels: int, size: int, beta: float = 0.25,
        sinkhorn: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [width, *hidden, code_dim]
        self.encoder, self.decoder = mlp(widths), mlp(widths[::-1])
        self.codebooks = nn.Parameter(torch.zeros(levels, size, code_dim))
        self.beta, self.sinkhorn = beta, sinkhorn

    @torch.no_grad()
    def begin(self, vectors: Tensor) -> None:
        """Level by level, the centres of a K-means over what the levels before leave of ``vectors`` (n, T)."""
        rest = self.encoder(vectors)
        for codebook in self.codebooks:
            codebook.copy_(kmeans(rest, len(codebook)))
            rest = rest - codebook[nearest(rest, codebook)]

    @torch.no_grad()
    def restart(self, vectors: Tensor) -> int:
        """Moves the codes of every level that none of ``vectors`` (n, T) uses; their number."""
        rest, count = self.encoder(vectors), 0
        for codebook in self.codebooks:
            count += restarted(codebook, rest)
            rest = rest - codebook[nearest(rest, codebook)]
        return count

    def losses(self, vectors: Tensor) -> dict[str, Tensor]:
        """``reconstruction``, ``codebook`` and ``commitment`` of vectors (n, T)."""
        encoded = self.encoder(vectors)
        rest, total = encoded, torch.zeros_like(encoded)
        codebook_loss, commitment = encoded.new_zeros(()), encoded.new_zeros(())
        for level, codebook in enumerate(self.codebooks, 1):
            last = level == len(self.codebooks)
            code = codebook[self._assigned(rest.detach(), codebook.detach(), last)]
            codebook_loss = codebook_loss + functional.mse_loss(code, rest.detach())
            commitment = commitment + functional.mse_loss(rest, code.detach())
            rest, total = rest - code.detach(), total + code
        through = encoded + (total - encoded).detach()  # straight through: the encoder gets the decoder's gradient
        return {
            "reconstruction": functional.mse_loss(self.decoder(through), vectors),
            "codebook": codebook_loss,
            "commitment": self.beta * commitment,
        }

    def _assigned(self, rest: Tensor, codebook: Tensor, last: bool) -> Tensor:
        """(n,) codes in training of what earlier levels leave (n, d)."""
        return uniform(rest, codebook, self.sinkhorn) if last and self.sinkhorn else nearest(rest, codebook)

    @torch.no_grad()
    def codes(self, vectors: Tensor) -> Tensor:
        """(n, K) codes of vectors (n, T)."""
        rest, found = self.encoder(vectors), []
        for codebook in self.codebooks:
            found.append(nearest(rest, codebook))
            rest = rest - codebook[found[-1]]
        return torch.stack(found, dim=1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """(n, T) vectors of codes (n, K)."""
        levels = zip(self.codebooks, codes.T, strict=True)
        made: Tensor = self.decoder(torch.stack([book[column] for book, column in levels]).sum(0))
        return made

    @torch.no_grad()
    def told_apart(self, codes: Tensor, vectors: Tensor) -> Tensor:
        """(n, K) codes (n, K), the last m those of vectors (m, T), with other last codes where two are equal.

        See :func:`interlingua.nn.sinkhorn.told_apart`.
        """
        rest = self.encoder(vectors)
        levels = zip(self.codebooks[:-1], codes[len(codes) - len(vectors) :].T, strict=False)
        for codebook, column in levels:
            rest = rest - codebook[column]
        return told_apart(codes, rest, self.codebooks[-1], self.sinkhorn)
