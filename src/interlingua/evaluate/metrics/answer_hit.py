"""``answer-hit``: HR@1 of written answers, correct by all (Liao et al., SIGIR 2024: HR@1 times the valid ratio)."""

from __future__ import annotations

import numpy as np

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


class AnswerHit(Metric):
    """1 where the answer names the target and no other candidate: correct answers by all."""

    kind = "metric"
    reads = "answers"
    cut = False

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        answers = judged.written()
        return (answers.right & (answers.named == 1)).astype(np.float64)
