"""What RecTools says of a small case, kept as ``rectools.json``: it asks for older numpy and pandas than this project.

In an environment of its own (``pip install rectools``): ``python tests/evaluate/rectools_numbers.py`` writes it anew.
Popularity counts are all different: where some are equal our serendipity differs on purpose (see its module).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("rectools.json")
USERS, ITEMS, LENGTH = 13, 12, 5
CUTS = (1, 2, 3, 5)


def case() -> dict[str, list]:
    """Events of training, held-out items, lists, one category and one vector per item."""
    rng = np.random.default_rng(7)
    having = [13, 3, 11, 10, 9, 8, 7, 6, 5, 4, 2, 0]
    train = [(int(user), item) for item in range(ITEMS) for user in rng.permutation(USERS)[: having[item]]]
    return {
        "train": sorted(train),
        "targets": [sorted(rng.permutation(ITEMS)[:3].tolist()) for _ in range(USERS)],
        "lists": [rng.permutation(ITEMS)[:LENGTH].tolist() for _ in range(USERS)],
        "categories": rng.integers(0, 3, ITEMS).tolist(),
        "vectors": rng.normal(size=(ITEMS, 4)).round(3).tolist(),
    }


def theirs(given: dict[str, list]) -> dict[str, list]:
    """Metric's name of ours -> RecTools' values, one per user."""
    import pandas as pd
    from rectools import metrics as rt

    def table(pairs: list) -> pd.DataFrame:
        return pd.DataFrame(pairs, columns=["user_id", "item_id"])

    class Cosine(rt.PairwiseDistanceCalculator):
        def _get_distances_for_item_pairs(self, items_0, items_1):
            unit = np.array(given["vectors"])
            unit /= np.linalg.norm(unit, axis=1, keepdims=True)
            return 1.0 - (unit[np.asarray(items_0)] * unit[np.asarray(items_1)]).sum(1)

    lists = pd.DataFrame(
        [(user, item, rank) for user, row in enumerate(given["lists"]) for rank, item in enumerate(row, 1)],
        columns=["user_id", "item_id", "rank"],
    )
    train, catalogue = table(given["train"]), list(range(ITEMS))
    held_out = table([(user, item) for user, row in enumerate(given["targets"]) for item in row])
    one_hot = pd.DataFrame(np.eye(3)[given["categories"]], index=catalogue)
    out: dict[str, list] = {}
    for k in CUTS:
        out[f"novelty@{k}"] = rt.MeanInvUserFreq(k).calc_per_user(lists, train).tolist()
        found = rt.Serendipity(k).calc_per_user(lists, held_out, train, catalogue)
        out[f"serendipity@{k}"] = found.tolist()
        out[f"popularity@{k}"] = rt.AvgRecPopularity(k).calc_per_user(lists, train).tolist()
        out[f"coverage@{k}"] = [rt.CatalogCoverage(k, normalize=True).calc(lists, catalogue)]
        if k > 1:  # Hamming counts a pair of different single categories twice
            hamming = rt.PairwiseHammingDistanceCalculator(one_hot)
            own = rt.IntraListDiversity(k, hamming).calc_per_user(lists) / 2
            out[f"diversity-categories@{k}"] = own.tolist()
            out[f"diversity-vectors@{k}"] = rt.IntraListDiversity(k, Cosine()).calc_per_user(lists).tolist()
    return out


if __name__ == "__main__":
    import rectools

    given = case()
    kept = {"rectools": rectools.__version__, "case": given, "values": theirs(given)}
    FILE.write_text(json.dumps(kept) + "\n", encoding="utf-8")
