"""TokenRec's masked vector quantiser: K encoders read a vector with another part masked, each has a codebook.

Qu et al., "TokenRec: Learning to Tokenize ID for LLM-based Generative Recommendation", TKDE 2025, arXiv 2406.10450,
and the authors' code. Encoder k reads the vector, in training with entries of its k-th part masked at random (rate .2),
plus a position vector of its own; its code is the nearest of its codebook; the decoder reads the mean of the K codes.

Shape key: n vectors, T width, d width of a code, K codebooks, L codes of each.

**Deviations.** The working form, which is the default, is a reconstruction: straight-through gradient, commitment .25,
and K-means restarts of dead codes. ``as_released`` is the authors' code: the decoder reads the *sum* of the raw codes,
so that the reconstruction reaches no encoder; no commitment in training; dropout .5 behind the first layer, .2 behind
the others (``dropout`` is not read); every code begins anew by K-means at a restart, used or not. Three faults of that
code are in neither: a position vector added again for each codebook, a mask that overwrites row 0, and an ``encode``
that changes its argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.nn.quantise import Quantiser, kmeans, nearest, restarted

RELEASED_DROPOUT = (0.5, 0.2)
"""of the authors' code: behind the first layer, behind all others"""


def _network(widths: Sequence[int], dropout: tuple[float, float]) -> nn.Sequential:
    """Linear layers; between them batch norm, ReLU, and dropout: the first rate, then the second."""
    layers: list[nn.Module] = []
    for number, (width, following) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(width, following))
        if number < len(widths) - 2:
            layers += [nn.BatchNorm1d(following), nn.ReLU(), nn.Dropout(dropout[min(number, 1)])]
    return nn.Sequential(*layers)


class MaskedQuantiser(Quantiser):
    """K encoders with a codebook each, and one decoder."""

    def __init__(
        self, width: int, hidden: Sequence[int], code_dim: int, levels: int, size: int, *,
        beta: float = 0.25, mask: float = 0.2, dropout: float = 0.2, as_released: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [width, *hidden, code_dim]
        rates = RELEASED_DROPOUT if as_released else (dropout, dropout)
        self.encoders = nn.ModuleList(_network(widths, rates) for _ in range(levels))
        self.decoder = _network(widths[::-1], rates)
        self.positions = nn.Parameter(torch.randn(levels, width) * 0.02)
        self.codebooks = nn.Parameter(torch.zeros(levels, size, code_dim))
        self.beta, self.mask, self.as_released = beta, mask, as_released
        self.register_buffer("parts", torch.arange(width) * levels // width, persistent=False)

    parts: Tensor
    """(T,) the number of the part to which an entry belongs"""

    def _encoded(self, vectors: Tensor) -> list[Tensor]:
        """K times (n, d); in training, encoder k does not see some entries of part k."""
        out = []
        for number, encoder in enumerate(self.encoders):
            seen = vectors
            if self.training and self.mask:
                hidden = (torch.rand_like(vectors) < self.mask) & (self.parts == number)
                seen = vectors.masked_fill(hidden, 0.0)
            out.append(encoder(seen + self.positions[number]))
        return out

    def _resting(self, vectors: Tensor) -> list[Tensor]:
        """:meth:`_encoded` without masks, dropout, and statistics of a batch."""
        training = self.training
        self.eval()
        made = self._encoded(vectors)
        self.train(training)
        return made

    @torch.no_grad()
    def begin(self, vectors: Tensor) -> None:
        """Each codebook by a K-means over its encoder's outputs for ``vectors`` (n, T)."""
        for codebook, points in zip(self.codebooks, self._resting(vectors), strict=True):
            codebook.copy_(kmeans(points, len(codebook)))

    @torch.no_grad()
    def restart(self, vectors: Tensor) -> int:
        """Moves the codes that none of ``vectors`` (n, T) uses (as released: all codes); their number."""
        if self.as_released:
            self.begin(vectors)
            return self.codebooks.shape[0] * self.codebooks.shape[1]
        pairs = zip(self.codebooks, self._resting(vectors), strict=True)
        return sum(restarted(codebook, points) for codebook, points in pairs)

    def losses(self, vectors: Tensor) -> dict[str, Tensor]:
        """``reconstruction``, ``codebook`` and ``commitment`` (not as released) of vectors (n, T)."""
        encoded = self._encoded(vectors)
        books = zip(self.codebooks, encoded, strict=True)
        codes = [book[nearest(points.detach(), book.detach())] for book, points in books]
        pairs = list(zip(codes, encoded, strict=True))
        out = {"codebook": torch.stack([functional.mse_loss(c, z.detach()) for c, z in pairs]).sum()}
        if self.as_released:
            read = torch.stack(codes).sum(0)
        else:
            read = torch.stack([z + (c - z).detach() for c, z in pairs]).mean(0)
            out["commitment"] = self.beta * torch.stack([functional.mse_loss(z, c.detach()) for c, z in pairs]).sum()
        return {"reconstruction": functional.mse_loss(self.decoder(read), vectors), **out}

    @torch.no_grad()
    def codes(self, vectors: Tensor) -> Tensor:
        """(n, K) codes of vectors (n, T), at rest: nothing is masked."""
        pairs = zip(self._resting(vectors), self.codebooks, strict=True)
        return torch.stack([nearest(points, book) for points, book in pairs], dim=1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """(n, T) vectors of codes (n, K), at rest."""
        read = torch.stack([book[column] for book, column in zip(self.codebooks, codes.T, strict=True)])
        training = self.training
        self.eval()
        made: Tensor = self.decoder(read.sum(0) if self.as_released else read.mean(0))
        self.train(training)
        return made
