"""TokenRec's codes of items: K encoders read the backbone's vector, each with another part masked, each has a codebook.

Qu et al., TokenRec, TKDE 2025, arXiv 2406.10450, section 4.1, and the authors' code; the quantiser, what of it is a
reconstruction, and ``form = "as-released"`` are :mod:`interlingua.nn.masked_quantiser`. The codes are an export
(``item_codes``), which the ranker ``token-rec`` reads and a ranker's template prints as ``{codes}``.

Shape key: I items, T width of what is quantised, K codes.

**Deviations:** users have no codes here (the authors train a second quantiser on users' vectors): a user is the codes
of the history. All items with training events train the codebooks; the authors hold a fifth of the ids out.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from interlingua.align._item_codes import ItemCodes, ItemCodesConfig
from interlingua.nn.masked_quantiser import MaskedQuantiser
from interlingua.training.quantise import QuantiserOptions


class MaskedVqConfig(ItemCodesConfig):
    """Options of :class:`MaskedVq`."""

    only_with: ClassVar = {"dropout": ("form", ("working",))}

    of: Literal["texts", "items"] = "items"
    """what is quantised: the backbone's item vectors (paper: LightGCN's), or the items' texts"""
    mask: float = Field(default=0.2, ge=0, lt=1)
    """fraction of a part's entries that its encoder does not see in training (paper: .2 to .3)"""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """in encoders and decoder of the working form (the authors' code: .5 behind the first layer, then .2)"""
    form: Literal["working", "as-released"] = "working"
    """``as-released``: the authors' code, in which no reconstruction reaches the encoders"""
    quantiser: QuantiserOptions = QuantiserOptions(hidden=[128, 256], code_dim=64)
    """codebooks and their training (paper: code_dim 512)"""


class MaskedVq(ItemCodes):
    """Codes of masked encoders."""

    Config = MaskedVqConfig
    version = 2
    label = "masked-vq"

    def make(self, width: int) -> MaskedQuantiser:
        """A quantiser of vectors (n, ``width``)."""
        o, config = self.config.quantiser, self.config
        return MaskedQuantiser(
            width, o.hidden, o.code_dim, o.levels, o.size, beta=o.beta, mask=config.mask, dropout=config.dropout,
            as_released=config.form == "as-released",
        )  # fmt: skip
