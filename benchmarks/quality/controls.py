"""What a language model in a recommender has to beat, made from a trained ranker: the other sources without it.

Every mixture of a control is learned anew, on the same validation questions and in the same way as the ranker's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import Queries
from interlingua.evaluate.compare import compare, holm
from interlingua.evaluate.result import at_slice, load_report
from interlingua.injection import calibration
from interlingua.injection.score_fusion import Features, ScoreFusion, features
from interlingua.runs.session import Session

NO_TEXT, NO_HEAD = "dial without text", "sum of parts, no LM"
"""gate and constants beside the backbone alone; backbone and likeness of texts"""
Cell = tuple[str, str, str | None]
"""metric, protocol, slice"""


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


def name_of(cell: Cell) -> str:
    metric, protocol, piece = cell
    return f"{metric} {protocol}" + (f" {piece}" if piece else "")


def paired(
    folders: Mapping[str, Sequence[Path]], cells: Sequence[Cell], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Paired tests of the given pairs of methods in every cell, as one family of Holm's correction.

    Args:
        folders: method -> its runs, one for each seed, with ``protocols/NAME`` in each.
        cells: what is tested.
        pairs: (method, against); pairs of which one is missing are left out.
    """
    out: list[dict[str, Any]] = []
    for cell in cells:
        metric, protocol, piece = cell
        for first, second in pairs:
            reports: dict[str, Any] = {}
            for method in (first, second):
                places = [folder / "protocols" / protocol for folder in folders.get(method, ())]
                if places and all(place.is_dir() for place in places):
                    loaded = [load_report(place) for place in places]
                    if piece is None or all(piece in one.slices for one in loaded):
                        reports[method] = [at_slice(one, piece) for one in loaded] if piece else loaded
            if len(reports) < 2 or len({len(found) for found in reports.values()}) > 1:
                continue
            test = compare(reports, metrics=[metric], reference=second).tests[0]
            out.append(
                {
                    "metric": name_of(cell), "method": first, "against": second,
                    "difference": round(test.difference, 5), "interval": [round(v, 5) for v in test.interval],
                    "p": test.p,
                }
            )  # fmt: skip
    for row, p in zip(out, holm([row["p"] for row in out]), strict=True):
        row["p_holm"] = p
    return out


def over_seeds(
    rows: Sequence[Mapping[str, Any]], cells: Sequence[Cell], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """The same questions with training seeds as the unit: differences of the seeds' means, and a paired t-test.

    Two or three seeds show only large differences; what they show is no luck of one seed.
    """
    out: list[dict[str, Any]] = []
    for cell in cells:
        name = name_of(cell)
        for first, second in pairs:
            ours, theirs = ({row["seed"]: row[name] for row in rows if row["method"] == m and name in row}
                            for m in (first, second))  # fmt: skip
            seeds = sorted(ours.keys() & theirs.keys())
            if not seeds:
                continue
            differences = np.array([ours[seed] - theirs[seed] for seed in seeds])
            spread = float(differences.std(ddof=1)) if len(seeds) > 1 else 0.0
            p = float(stats.ttest_1samp(differences, 0.0).pvalue) if spread else None
            out.append(
                {
                    "metric": name, "method": first, "against": second, "seeds": len(seeds),
                    "difference": round(float(differences.mean()), 5),
                    "by seed": " ".join(f"{value:+.4f}" for value in differences), "p over seeds": p,
                }
            )  # fmt: skip
    tested = [row for row in out if row["p over seeds"] is not None]
    for row, p in zip(tested, holm([row["p over seeds"] for row in tested]), strict=True):
        row["p_holm"] = p
    return out
