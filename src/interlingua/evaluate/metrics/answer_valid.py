"""``answer-valid``: LLaRA's valid ratio (Liao et al., SIGIR 2024, arXiv 2312.02445, section 4.1.2)."""

from __future__ import annotations

import numpy as np

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


class AnswerValid(Metric):
    """The valid ratio: 1 where the answer names exactly one candidate, else 0."""

    kind = "metric"
    reads = "answers"
    cut = False

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return (judged.written().named == 1).astype(np.float64)
