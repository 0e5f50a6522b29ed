"""Borda's count: an item gets a point from a member for every item that the member places behind it."""

from __future__ import annotations

import numpy as np

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fusion import Fusion


class Borda(Fusion):
    """Nothing is learned. Of equal scores the lower row stands in front."""

    def join(self, scores: FloatArray) -> FloatArray:
        """(B, I) points of the members' scores (M, B, I)."""
        order = np.argsort(-scores, axis=2, kind="stable")
        points = np.broadcast_to(np.arange(scores.shape[2], dtype=np.float32)[::-1], scores.shape)
        out = np.empty(scores.shape, np.float32)
        np.put_along_axis(out, order, points, axis=2)
        return out.sum(axis=0)
