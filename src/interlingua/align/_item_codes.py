"""Integer codes of items as an export beside the backbone's vectors: what aligners that quantise have in common.

Shape key: I items, T width of what is quantised, D backbone width, K codes of an item.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from interlingua.align._profile_map import needed
from interlingua.config import Config
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.nn.quantise import CodeReport, Quantiser, numbered
from interlingua.progress import say
from interlingua.training.quantise import FittedQuantiser, QuantiserOptions, expected_seconds


class ItemCodesConfig(Config):
    """Options that aligners with codes share."""

    of: Literal["texts", "items"] = "texts"
    """what is quantised: the items' texts, or the backbone's item vectors"""
    quantiser: QuantiserOptions = QuantiserOptions()
    """codebooks and their training"""
    same_codes: int = Field(default=0, ge=0)
    """0: items with equal codes stay equal; else a further code tells up to so many of them apart"""


class ItemCodes(Aligner):
    """Exports the backbone's vectors as they are and ``item_codes``; nothing of the backbone learns."""

    closed_form = True
    label: ClassVar[str] = "codes"

    def __init__(self, config: Any, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.fitted = FittedQuantiser(self.make, text_dim if config.of == "texts" else backbone_dim)
        self.report: CodeReport | None = None

    def make(self, width: int) -> Quantiser:
        """A quantiser of vectors (n, ``width``), with parameters."""
        raise NotImplementedError

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Item vectors, and texts if these are quantised."""
        return super().needs(config) | (frozenset({"text.items"}) if config.of == "texts" else frozenset())

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        return super().makes(config) | {"item_codes"}

    def fit(self, job: Fitting) -> FitLog:
        """Trains the codebooks, on items with training events where the backbone's vectors are quantised.

        Raises:
            ConfigError: texts are to be quantised, and there are none.
        """
        self.report = self.fitted.fit(self._quantised(job), self.config.quantiser, f"{self.label}: codebooks")
        say(f"{self.label}: {self.report.in_words()}")
        return FitLog.untrained()

    def expected_seconds(self, job: Fitting) -> float:
        """From one pass of the codebooks' training."""
        vectors = self._quantised(job)
        return expected_seconds(self.make(vectors.shape[1]).to(vectors.device), vectors, self.config.quantiser)

    def _quantised(self, job: Fitting) -> Tensor:
        """(n, T) what the codebooks are trained on."""
        assert job.backbone is not None
        if self.config.of == "texts":
            return needed(job.text, self.label).rows("items")
        return job.backbone.item_embeddings()[job.backbone.learned_items(job.train)]

    def codes(self, vectors: Tensor) -> Tensor:
        """(n, K) codes of vectors (n, T), by the codebooks as they are: those of an item depend on its vector alone."""
        return self.fitted.codes(vectors)

    def told_apart(self, codes: Tensor, vectors: Tensor) -> Tensor:
        """(n, K) codes (n, K), of which the last m, of vectors (m, T), may become other ones; default: none."""
        return codes

    @torch.no_grad()
    def export(self, job: Fitting) -> dict[str, Tensor]:
        """``items`` as they are, and ``item_codes`` (I, K), or (I, K + 1) with numbers for equal ones."""
        out = super().export(job)
        read = needed(job.text, self.label).rows("items") if self.config.of == "texts" else out["items"]
        codes = self.told_apart(self.codes(read), read)
        return out | {"item_codes": numbered(codes, self.config.same_codes) if self.config.same_codes else codes}

    @torch.no_grad()
    def further_codes(self, codes: Tensor, items: Tensor, text: Text | None) -> Tensor:
        """(n, K) by the codebooks as they are; numbers go on behind those of items with equal codes."""
        read = needed(text, self.label).rows("items") if self.config.of == "texts" else items
        known = codes[:, :-1] if self.config.same_codes else codes
        every = self.told_apart(torch.cat([known, self.codes(read).to(codes)]), read)
        return (numbered(every, self.config.same_codes) if self.config.same_codes else every)[len(codes) :]

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Used codes, collisions and reconstruction, for the card."""
        return {} if self.report is None else {"codes": self.report.entries()}
