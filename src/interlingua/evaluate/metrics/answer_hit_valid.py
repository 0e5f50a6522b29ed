"""``answer-hit-valid``: correct by valid answers, the HR@1 that LLaRA's code prints. Quote ``answer-hit`` beside it."""

from __future__ import annotations

import numpy as np

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


class AnswerHitValid(Metric):
    """Correct answers by *valid* ones: undefined for users whose answer is none."""

    kind = "metric"
    reads = "answers"
    cut = False

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        answers = judged.written()
        return np.where(answers.named == 1, answers.right.astype(np.float64), np.nan)

    def note(self, judged: Judged, found: Values | float) -> str:
        """Says how many answers were valid."""
        valid, total = int((~np.isnan(found)).sum()), int(np.size(found))
        return f"over the {valid:,} of {total:,} users whose answer is one candidate" if valid < total else ""
