"""Log loss (cross-entropy) of labelled pairs: scores are read as logits, so a probability is ``sigmoid(score)``.

It is meaningful for models trained with a binary loss or a yes/no question, not for a score that only ranks. If the
loss is higher than that of the constant fraction of liked pairs, a note says so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.accuracy import Values
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

    weighs = True

    def weighed(self, judged: Judged, k: int, weights: Values) -> Values:
        """(R,) mean over the pairs of the users that were drawn; NaN where they have none."""
        found = judged.labels
        assert found is not None
        each = np.logaddexp(0.0, np.where(found.labels, -found.scores, found.scores))
        return found.pooled(each, np.ones(len(each)), weights)

    def measure(self, judged: Judged, k: int) -> float:
        """One number of all users together."""
        assert judged.labels is not None
        return log_loss(judged.labels.labels, judged.labels.scores)

    def note(self, judged: Judged, found: Values | float) -> str:
        """Says so if the scores predict worse than the constant fraction of liked events."""
        assert judged.labels is not None
        fraction = float(judged.labels.labels.mean())
        alone = -sum(p * float(np.log(p)) for p in (fraction, 1 - fraction) if p)
        if not found > alone:
            return ""
        return (
            f"{found:.4f} is above {alone:.4f}, which the share of liked events ({fraction:.2f}) says by itself: these "
            "scores are no logits (counts, sums of similarities and cosines only rank); read auc and uauc, or train a "
            "model with a binary loss"
        )
