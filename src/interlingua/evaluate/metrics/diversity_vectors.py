"""Diversity within a list, by vectors: one minus the cosine, mean over pairs (Ziegler et al., WWW 2005).

The vectors are the run's text vectors: compare only runs that have the same ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.contracts.batch import FloatArray
from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric
from interlingua.evaluate.metrics._lists import mean_over_pairs


def apart(lists: npt.NDArray[np.int64], vectors: FloatArray) -> npt.NDArray[np.float64]:
    """(M, k, k) one minus the cosine of the vectors (I, D) of every two places; NaN where a vector is zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float64)
    unit = np.where(norms > 0, vectors / np.where(norms > 0, norms, 1.0), np.nan)[np.maximum(lists, 0)]
    return 1.0 - np.einsum("mid,mjd->mij", unit, unit)


class DiversityVectors(Metric):
    """Mean over pairs of listed items of 1 - cosine of their text vectors."""

    kind = "metric"
    reads = "lists"
    needs = frozenset({"vectors"})

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user, NaN for a list without two items that have vectors."""
        top, vectors = judged.top(k), judged.facts.vectors
        assert vectors is not None
        blocks = np.array_split(top, max(1, top.size * vectors.shape[1] // 8_000_000))
        return np.concatenate([np.zeros(0)] + [mean_over_pairs(block, apart(block, vectors)) for block in blocks])
