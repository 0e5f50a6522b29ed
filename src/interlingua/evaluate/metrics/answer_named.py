"""``answer-named``: A-LLMRec's rule (arXiv 2404.11343, the authors' code), with ``ranker.scoring = "paper"``.

**Deviation:** an answer that names every candidate, as one that repeats the prompt does, is no answer here; the
authors count it as a hit.
"""

from __future__ import annotations

import numpy as np

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


class AnswerNamed(Metric):
    """1 where the target is among the candidates that the answer names, however many they are."""

    kind = "metric"
    reads = "answers"
    cut = False

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return judged.written().right.astype(np.float64)
