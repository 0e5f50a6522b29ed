"""What a share for new items costs: lists of ten with at least 0, 1, 2, 3 items that no one had in training.

    python benchmarks/quality/new_share.py --out RESULT.json

movielens-small, a tenth of the items held out with all their events (split item-cold). Each user is asked once by the
training events. Two goals: the user's last event of another item (``known``), and the events of the held-out ones
(``new``). Neither model learns from either.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import polars as pl
from header import header

import interlingua
from interlingua.progress import say
from interlingua.recommender import Recommender

K = 10
SHARES = (0.0, 0.1, 0.2, 0.3)
TEXT = {"name": "lsa", "fields": ["title", "categories"]}
RECIPES: dict[str, dict[str, Any]] = {
    "l3ae": {"backbone": {"name": "l3ae"}, "text": TEXT},
    "ease + textknn": {
        "fuse": {
            "name": "sum",
            "weights": [1.0, 1.0],
            "members": [
                {"name": "ease", "backbone": {"name": "ease"}},
                {"name": "textknn", "backbone": {"name": "textknn"}, "text": TEXT},
            ],
        }
    },
}


def measured(recommender: Recommender, share: float, users: int) -> dict[str, float]:
    """NDCG of all goals and of each kind, recall of the new ones, and how many of the ten are new."""
    split = recommender.session.data.split
    train = split.train
    chosen = np.unique(split.test.users)
    valid = {int(user): split.valid.of_row(row) for row, user in enumerate(split.valid.users)}
    test = {int(user): split.test.of_row(row) for row, user in enumerate(split.test.users)}
    chosen = np.array([user for user in chosen if int(user) in valid])
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(users, len(chosen))).astype(int)]
    ids = train.item_ids
    histories = {str(user): ids[train.history(user)].tolist() for user in chosen}
    frame = recommender.recommend(histories=histories, k=K, new_share=share)
    index = pl.Series([train.item_indices[item] for item in frame["item_id"]], dtype=pl.Int64)
    lists = dict(frame.with_columns(index.alias("row")).group_by("user_id", maintain_order=True).agg("row").iter_rows())
    gain = 1 / np.log2(np.arange(2, K + 2))
    found: dict[str, list[float]] = {}
    for user in chosen.tolist():
        listed = np.array(lists[str(user)])
        goals = {"all": np.concatenate([valid[user], test[user]]), "known": valid[user], "new": test[user]}
        for kind, goal in goals.items():
            hits = np.isin(listed, goal)
            found.setdefault(f"ndcg@{K} {kind}", []).append(
                float((hits * gain[: len(hits)]).sum() / gain[: len(goal)].sum())
            )
            if kind == "new":
                found.setdefault(f"recall@{K} new", []).append(float(hits.sum() / min(K, len(goal))))
        found.setdefault("new of ten", []).append(float((train.item_counts[listed] == 0).sum()))
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()} | {"users": len(chosen)}


def main() -> None:
    """Runs, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10**6)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    lines = []
    for name, recipe in RECIPES.items():
        sections = {
            "data": {
                "name": "movielens-small", "split": {"name": "item-cold", "folds": 10},
                "filter": {"min_user": 5, "min_item": 5},
            },
            "evaluate": {"protocols": ["cold"]},
        }  # fmt: skip
        recommender = Recommender(interlingua.run({**sections, **recipe}, out=options.runs, device="cpu"))
        for share in SHARES:
            line = {"model": name, "new_share": share} | measured(recommender, share, options.users)
            say(f"{line}")
            lines.append(line)
    result = header(__file__) | {"data": "movielens-small", "split": "item-cold", "rows": lines}
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
