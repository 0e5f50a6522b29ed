"""Reciprocal rank fusion: a score sums 1 / (k + rank) over the members (Cormack, Clarke & Buettcher, SIGIR 2009).

Shape key: M members, B queries, I items.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from interlingua.config import Config
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fusion import Fusion


class RrfConfig(Config):
    """Options of ``rrf``."""

    k: float = Field(default=60.0, gt=0)
    """larger values favour the first places less (paper: 60)"""


class Rrf(Fusion):
    """Sums 1 / (k + rank) over the members; nothing is learned. Of equal scores the lower row has the better rank."""

    Config = RrfConfig

    def join(self, scores: FloatArray) -> FloatArray:
        """(B, I)."""
        out = np.zeros(scores.shape[1:], np.float32)
        places = np.arange(1, scores.shape[2] + 1, dtype=np.float32)
        for member in scores:
            order = np.argsort(-member, axis=1, kind="stable")
            ranks = np.empty_like(member)
            np.put_along_axis(ranks, order, np.broadcast_to(places, member.shape), axis=1)
            out += 1.0 / (np.float32(self.config.k) + ranks)
        return out
