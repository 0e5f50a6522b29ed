"""False-positive rate: the share of the pairs that were not liked which the scores call liked.

A score is read as a logit, as in log loss; a pair is called liked where ``sigmoid(score) > 0.5``, so where its score is
above 0. It is meaningful for models trained with a binary loss or a yes/no question, not for a score that only ranks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


def false_positive_rate(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> float:
    """False positives over all pairs with label 0 (P,); NaN where there is none. A score of 0 is not called liked."""
    return float((scores[~labels] > 0).mean()) if not labels.all() else float("nan")


class FPR(Metric):
    """Share of the disliked pairs that are called liked (probability above 0.5), over the pairs of all users."""

    kind = "metric"
    reads = "labels"
    better = "lower"
    cut = False

    weighs = True

    def weighed(self, judged: Judged, k: int, weights: Values) -> Values:
        """(R,) over the pairs of the users that were drawn; NaN where none of them is disliked."""
        found = judged.labels
        assert found is not None
        return found.pooled((found.scores > 0).astype(np.float64), ~found.labels, weights)

    def measure(self, judged: Judged, k: int) -> float:
        """One number of all users together."""
        assert judged.labels is not None
        return false_positive_rate(judged.labels.labels, judged.labels.scores)

    def note(self, judged: Judged, found: Values | float) -> str:
        """Why there is no number, or that it says nothing."""
        labels = judged.labels
        assert labels is not None
        if np.isnan(found):
            return f"all {len(labels.labels):,} held-out events are liked, so none can be called liked wrongly"
        called = labels.scores > 0
        if called.all() or not called.any():
            which = "all" if called.all() else "none"
            return (
                f"{which} of {len(called):,} pairs are called liked (a score above 0), so the rate says nothing: "
                "scores that only rank are no logits; read auc"
            )
        return ""
