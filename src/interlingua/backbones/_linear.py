"""The base class of closed forms that read texts: item-item weights, and the part of them from texts alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interlingua.backbones._weighted_texts import ReadTexts, read_texts, text_table
from interlingua.backbones.ease import check_size
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.nn.blockwise import seconds_of_inverse
from interlingua.nn.histories import history_matrix, pick, weighted_sum
from interlingua.nn.linear_autoencoders import AddedWeights, TextInverse, text_inverse

MOST_ITEMS = 30_000
"""three to four (I, I) matrices of 3.6 GB each are in memory during the fit"""


class WithTexts(Backbone):
    """Item-item weights ``B`` (I, I), scores ``X B``; subclasses compute them and their part from texts."""

    sampling = "none"
    needs_text = True

    weights: Tensor
    by_texts: Tensor
    diagonal: Tensor | None
    """(I,) of the inverse behind the weights, for forms that read it when an item is added; else, and in runs of older
    versions, None"""

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("weights", torch.zeros(0, 0))
        self.register_buffer("by_texts", torch.zeros(0, 0))
        self.register_buffer("diagonal", None)
        self.added: AddedWeights | None = None
        """of items that came after the fit"""
        self._read: ReadTexts | None = None
        self._inverse: TextInverse | None = None
        self.used: dict[str, float] = {}
        """name -> weight of the texts, after :meth:`fit`"""

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Needs the further texts that the weights name."""
        return super().needs(config) | ({"texts"} if config.further else set())

    @classmethod
    def needs_texts(cls, config: Any) -> frozenset[str]:
        """Names of the texts with a weight."""
        return frozenset(config.further)

    def fit_weights(self, job: Fitting, texts: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The weights and their part from texts, (I, I) each, and :attr:`diagonal`; ``texts``: (I, T)."""
        raise NotImplementedError

    def added_weights(self, read: ReadTexts, added: Tensor) -> AddedWeights | None:
        """What a fit would have given n items without events, texts (n, T), beside the fitted ones; None: unknown."""
        return None

    def text_inverse(self, read: ReadTexts, ridge: float) -> TextInverse:
        """Of the fitted texts, made once."""
        if self._inverse is None:
            self._inverse = text_inverse(read.table, ridge)
        return self._inverse

    @torch.no_grad()
    def extended(self, added: AddedItems) -> WithTexts | None:
        """The same weights between the fitted items; those of the new ones as a fit on all texts gives them."""
        self._read = self._read or read_texts(self.config, added.job)
        texts = None if self._read is None else self._read.added(added)
        weights = None if self._read is None or texts is None else self.added_weights(self._read, texts)
        if weights is None:
            return None
        other = self.longer(added)
        other.added = weights
        return other

    @torch.no_grad()
    def fit(self, job: Fitting) -> FitLog:
        """Solves for the weights.

        Raises:
            ConfigError: texts are missing.
            DataError: too many items for dense matrices.
        """
        check_size(job.train, "a closed form with texts", MOST_ITEMS)
        place = self.weights.device
        self.used, texts = text_table(self.config, job)
        weights, by_texts, diagonal = self.fit_weights(job, texts)
        self.weights, self.by_texts = weights.to(place), by_texts.to(place)
        self.diagonal = None if diagonal is None else diagonal.to(place)
        return FitLog.untrained()

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Records the weight of each source of texts."""
        return {"text_weights": self.used}

    def expected_seconds(self, train: Interactions) -> float:
        """Two to three times the cube of the number of items, at the measured speed of a small inverse."""
        seconds = 2.5 * seconds_of_inverse(train.num_items)
        if train.num_items <= MOST_ITEMS:
            both = torch.ones(4, train.num_items, train.num_items)
            self.weights, self.by_texts = both[0].clone(), both[1].clone()
        return seconds

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Rows of ``X B``."""
        return self._sums(queries, self.weights, items)

    @torch.no_grad()
    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of each item as if it had no events: exact, see ``drawn_to``."""
        return self._sums(queries, self.by_texts, items)

    def _sums(self, queries: Queries, weights: Tensor, items: IntArray | None) -> FloatArray:
        history = history_matrix(queries, self.num_items)
        if self.added is None:
            return pick(weighted_sum(history, weights).cpu().numpy(), items)
        fitted = len(weights)
        own = weighted_sum(history[:, :fitted], weights) + weighted_sum(history[:, fitted:], self.added.lines)
        return pick(torch.cat([own, weighted_sum(history, self.added.columns)], dim=1).cpu().numpy(), items)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(f"{prefix}diagonal")
        self.diagonal = None if stored is None else torch.empty_like(stored, device=self.weights.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
