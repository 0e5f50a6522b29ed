"""Log loss (cross-entropy) of labelled pairs: scores are read as logits, so a probability is ``sigmoid(score)``.

It says something of models that were trained so (a binary loss, a yes/no question); a score that only ranks has none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.judged import Judged, Metric


def log_loss(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> float:
    """``mean(-log p)`` of what was observed, with p = sigmoid(score) for liked and 1 - p for other pairs, in nats."""
    return float(np.logaddexp(0.0, np.where(labels, -scores, scores)).mean())


class LogLoss(Metric):
    """Cross-entropy of the labels, a score read as a logit; over all pairs, in nats."""

    kind = "metric"
    reads = "labels"
    better = "lower"
    cut = False

    def measure(self, judged: Judged, k: int) -> float:
        """One number of all users together."""
        assert judged.labels is not None
        return log_loss(judged.labels.labels, judged.labels.scores)
