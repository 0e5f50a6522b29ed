"""What a language model in a recommender has to beat, made from a trained ranker: the other sources without it.

Every mixture of a control is learned anew, on the same validation questions and in the same way as the ranker's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import Queries
from interlingua.injection import calibration
from interlingua.injection.score_fusion import Features, ScoreFusion, features
from interlingua.runs.session import Session

NO_TEXT, NO_HEAD = "dial without text", "sum of parts, no LM"
"""gate and constants beside the backbone alone; backbone and likeness of texts"""


class Sources(Scorer):
    """Backbone and, unless the control is :data:`NO_TEXT`, likeness of texts, in a mixture without any head."""

    def __init__(self, ranker: Any, session: Session, control: str) -> None:
        self.ranker, self.num_items = ranker, ranker.num_items
        self.likeness = None if control == NO_TEXT else ranker.text_similarity
        self.mixture = ScoreFusion()
        options, valid = ranker.config, session.data.split.valid
        rows = np.repeat(np.arange(len(valid)), np.diff(valid.offsets))
        calibration.calibrate(
            self.mixture, self.features, ranker.counts, session.data.split.queries("valid").take(rows), valid.items,
            cold_weight=options.cold_weight, floor=options.unseen_floor,
        )  # fmt: skip

    def features(self, queries: Queries, hidden: torch.Tensor | None = None) -> Features:
        """Of the mixture; a head that says nothing. A hidden item's backbone score counts for nothing by itself."""
        base = self.ranker.inputs.base_score(queries, None)
        return features(torch.zeros(base.shape), base, self.likeness, queries)

    def score(self, queries: Queries, items: Any = None) -> Any:
        with torch.no_grad():
            scores = self.mixture(*self.features(queries), self.ranker.counts).numpy()
        return scores if items is None else np.take_along_axis(scores, np.asarray(items, np.int64), axis=1)
