"""RQ-VAE codes of items: a text vector as a few integers, each refining what the ones before say.

Rajput et al., "Recommender Systems with Generative Retrieval" (TIGER), NeurIPS 2023, arXiv 2305.05065, section 3.1, and
Zheng et al., LC-Rec, ICDE 2024, arXiv 2311.09049, section III-B; the quantiser and its deviations are
:mod:`interlingua.nn.residual_quantiser`. The codes are an export (``item_codes``), which a ranker's template prints as
``{codes}``. The backbone ``tiger`` makes the same codes for itself.

Items of equal codes are told apart by one further code, as in TIGER (``same_codes``; 0: they stay equal). Its number
follows the items' order; with trained codebooks, all codes before it depend on the item's vector alone, so an item that
comes later has them.

Shape key: I items, T width of what is quantised, K codes.
"""

from __future__ import annotations

from pydantic import Field

from interlingua.align._item_codes import ItemCodes, ItemCodesConfig
from interlingua.nn.residual_quantiser import ResidualQuantiser


class RqVaeConfig(ItemCodesConfig):
    """Options of :class:`RqVae`."""

    same_codes: int = Field(default=64, ge=0)
    """items of equal codes that a further code tells apart (TIGER: as many as there are); 0: no further code"""


class RqVae(ItemCodes):
    """Residual codes."""

    Config = RqVaeConfig
    version = 2
    label = "rq-vae"

    def make(self, width: int) -> ResidualQuantiser:
        """A quantiser of vectors (n, ``width``)."""
        o = self.config.quantiser
        return ResidualQuantiser(width, o.hidden, o.code_dim, o.levels, o.size, o.beta)
