"""Area under the ROC curve over all labelled pairs of all users together (TALLRec, CoLLM: AUC)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


def auc(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> float:
    """Probability that a liked pair has the higher score than one that is not, ties counting half (Mann & Whitney).

    NaN where all pairs have one label.
    """
    liked = int(labels.sum())
    disliked = len(labels) - liked
    if not liked or not disliked:
        return float("nan")
    return float((rankdata(scores)[labels].sum() - liked * (liked + 1) / 2) / (liked * disliked))


def weighted_auc(
    labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> Values:
    """(R,) :func:`auc` where each pair counts as often as the (R, P) weights say; NaN where one label has no weight."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))  # of equal scores
    liked = np.add.reduceat(weights[:, order] * labels[order], starts, axis=1)
    disliked = np.add.reduceat(weights[:, order] * ~labels[order], starts, axis=1)
    below = np.cumsum(disliked, axis=1) - disliked
    pairs = liked.sum(axis=1) * disliked.sum(axis=1)
    out = np.full(len(weights), np.nan)
    np.divide((liked * (below + disliked / 2)).sum(axis=1), pairs, out=out, where=pairs > 0)
    return out


class AUC(Metric):
    """Probability that a liked pair is scored above one that is not, over the pairs of all users together."""

    kind = "metric"
    reads = "labels"
    cut = False

    weighs = True

    def weighed(self, judged: Judged, k: int, weights: Values) -> Values:
        """(R,) over the pairs of the users that were drawn."""
        found = judged.labels
        assert found is not None
        return weighted_auc(found.labels, found.scores, weights[:, found.owners])

    def measure(self, judged: Judged, k: int) -> float:
        """One number of all users together."""
        assert judged.labels is not None
        return auc(judged.labels.labels, judged.labels.scores)

    def note(self, judged: Judged, found: Values | float) -> str:
        """Why there is no number."""
        labels = judged.labels
        assert labels is not None
        if not np.isnan(found):
            return ""
        which = "liked" if labels.labels.all() else "disliked"
        return f"all {len(labels.labels):,} held-out events are {which}, so there is nothing to tell apart"
