"""RQ-VAE codes of items: a text vector as a few integers, each refining what the ones before say.

Rajput et al., "Recommender Systems with Generative Retrieval" (TIGER), NeurIPS 2023, arXiv 2305.05065, section 3.1, and
Zheng et al., LC-Rec, ICDE 2024, arXiv 2311.09049, section III-B; the quantiser and its deviations are
:mod:`interlingua.nn.residual_quantiser`. The codes are an export (``item_codes``), which a ranker's template prints as
``{codes}``. The backbone ``tiger`` makes the same codes for itself.

Items of equal codes are told apart by one further code, as in TIGER (``same_codes``; 0: they stay equal). Its number
follows the items' order; with trained codebooks, all codes before it depend on the item's vector alone, so an item that
comes later has them.
LC-Rec has no further code: with ``sinkhorn``, its uniform mapping, items that would be equal get another last code,
which then follows from them all (:mod:`interlingua.nn.sinkhorn`); a later item takes one that is free.

Shape key: I items, T width of what is quantised, K codes.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from interlingua.align._item_codes import ItemCodes, ItemCodesConfig
from interlingua.nn.residual_quantiser import ResidualQuantiser
from interlingua.progress import say


class RqVaeConfig(ItemCodesConfig):
    """Options of :class:`RqVae`."""

    same_codes: int = Field(default=64, ge=0)
    """items of equal codes that a further code tells apart (TIGER: as many as there are); 0: no further code"""
    sinkhorn: float = Field(default=0.0, ge=0)
    """weight of the entropy in a uniform assignment of last codes (LC-Rec: .003, with ``same_codes`` 0); 0: nearest"""


class RqVae(ItemCodes):
    """Residual codes."""

    Config = RqVaeConfig
    version = 2
    label = "rq-vae"

    def make(self, width: int) -> ResidualQuantiser:
        """A quantiser of vectors (n, ``width``)."""
        o = self.config.quantiser
        return ResidualQuantiser(width, o.hidden, o.code_dim, o.levels, o.size, o.beta, self.config.sinkhorn)

    @torch.no_grad()
    def told_apart(self, codes: Tensor, vectors: Tensor) -> Tensor:
        """See :meth:`ResidualQuantiser.told_apart`; says how many codes changed, and how many items are still equal."""
        if not self.config.sinkhorn:
            return codes
        quantiser: Any = self.fitted.held
        out: Tensor = quantiser.told_apart(codes, (vectors.to(self.fitted.mean) - self.fitted.mean) / self.fitted.scale)
        moved, equal = int((out != codes).any(1).sum()), len(out) - len(out.unique(dim=0))
        say(f"{self.label}: {moved} items got another last code; {equal} still share all codes with an earlier one")
        return out
