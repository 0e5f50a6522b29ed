"""Texts as vectors of how often each letter stands in them."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interlingua.vectors.fields import TextConfig
from interlingua.vectors.frozen import FrozenRows


class LettersConfig(TextConfig):
    """Options of ``letters``."""

    digits: bool = True
    """count digits too"""


class Letters(FrozenRows):
    """(n, T) unit vectors, T letters and digits."""

    kind = "text"
    Config = LettersConfig

    def __init__(
        self,
        config: LettersConfig,
        texts: Sequence[str],
        *,
        item_ids: Sequence[str] | None = None,
        user_texts: Sequence[str] | None = None,
        cache: Path | None = None,
    ) -> None:
        self.config = config
        self.letters = string.ascii_lowercase + (string.digits if config.digits else "")
        super().__init__(self.encode(texts), None if user_texts is None else self.encode(user_texts))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) of any texts."""
        counts = np.array([[text.lower().count(letter) for letter in self.letters] for text in texts], np.float32)
        counts = counts.reshape(len(texts), len(self.letters))
        lengths = np.linalg.norm(counts, axis=1, keepdims=True)
        return torch.as_tensor(counts / np.maximum(lengths, 1e-6))
