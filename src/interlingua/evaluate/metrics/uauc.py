"""AUC within each user, then the plain mean over users who have both labels (CoLLM: UAUC)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


def user_auc(
    owners: npt.NDArray[np.int64], labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], num_users: int
) -> Values:
    """(M,) :func:`interlingua.evaluate.metrics.auc.auc` of each user's own pairs; NaN where all have one label.

    Args:
        owners: (P,) position of each pair's user.
        labels: (P,) liked.
        scores: (P,)
        num_users: M.
    """
    order = np.lexsort((scores, owners))
    who, counts = owners[order], np.bincount(owners, minlength=num_users)
    # ranks over everything, ties within a user shared, less what stands before the user: ranks within the user
    distinct = np.concatenate([[True], (who[1:] != who[:-1]) | (scores[order][1:] != scores[order][:-1])])
    ranks = rankdata(np.cumsum(distinct)) - (np.cumsum(counts) - counts)[who]
    liked = np.bincount(owners, weights=labels, minlength=num_users)
    total = np.bincount(who, weights=ranks * labels[order], minlength=num_users)
    pairs = liked * (counts - liked)
    out = np.full(num_users, np.nan)
    np.divide(total - liked * (liked + 1) / 2, pairs, out=out, where=pairs > 0)
    return out


class UAUC(Metric):
    """AUC of each user's own pairs, mean over the users who liked some and not others."""

    kind = "metric"
    reads = "labels"
    cut = False

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        found = judged.labels
        assert found is not None
        return user_auc(found.owners, found.labels, found.scores, found.num_users)

    def note(self, judged: Judged, found: Values | float) -> str:
        """Says for how many users it is defined, if not for all."""
        defined, total = int((~np.isnan(found)).sum()), int(np.size(found))
        needs = "it is defined for users with a liked and a disliked held-out event"
        if not defined:
            return (
                f"{needs}, and none of {total:,} has both: hold out more events of each user "
                "(data.split.name = 'ratio', data.split.test = 0.3), or read auc"
            )
        return f"over {defined:,} of {total:,} users: {needs}" if defined < total else ""
