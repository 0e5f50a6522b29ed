"""Lists of all users from given vectors, timed, as a process of its own: ``batch_worker.py OPTIONS`` with an engine.

``interlingua`` makes one parquet file from external ids; ``implicit`` gives arrays of row numbers; ``rectools`` a frame
of external ids, both in memory. Rows and scores go to an ``.npz`` beside figures in a JSON file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from exchange import Clock


def seen_of(asked: dict[str, Any]) -> Any:
    import scipy.sparse as sp

    with np.load(asked["data"], allow_pickle=False) as data:
        shape = (len(data["user_vectors"]), len(data["item_vectors"]))
        ones = np.ones(len(data["users"]), np.float32)
        seen = sp.csr_matrix((ones, (data["users"], data["items"])), shape=shape)
        return seen, data["user_vectors"], data["item_vectors"]


def timed(asked: dict[str, Any], work: Any) -> tuple[Any, list[dict[str, float]]]:
    """The last result and the seconds of each repetition, after one that is not counted."""
    found, took = work(), []
    for _ in range(asked["repeats"]):
        with Clock() as clock:
            found = work()
        took.append({"s": clock.wall_s, "cpu_s": clock.cpu_s})
    return found, took


def with_implicit(asked: dict[str, Any]) -> tuple[Any, Any, list[Any], str]:
    import implicit.cpu.als

    seen, users, items = seen_of(asked)
    model = implicit.cpu.als.AlternatingLeastSquares(factors=users.shape[1], num_threads=asked["threads"])
    model.user_factors, model.item_factors = users, items
    ids = np.arange(len(users))
    how = {"N": asked["k"], "filter_already_liked_items": True}
    (rows, scores), took = timed(asked, lambda: model.recommend(ids, seen, **how))
    return rows, scores, took, implicit.__version__


def with_rectools(asked: dict[str, Any]) -> tuple[Any, Any, list[Any], str]:
    import implicit.cpu.als
    import pandas as pd
    import rectools
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import ImplicitALSWrapperModel

    seen, users, items = seen_of(asked)
    pairs = seen.tocoo()
    frame = pd.DataFrame({Columns.User: pairs.row, Columns.Item: pairs.col, Columns.Weight: 1.0})
    frame[Columns.Datetime] = pd.Timestamp("2026-01-01")
    dataset = Dataset.construct(frame)
    model = implicit.cpu.als.AlternatingLeastSquares(factors=users.shape[1], num_threads=asked["threads"])
    wrapper = ImplicitALSWrapperModel(model, recommend_n_threads=asked["threads"])
    model.user_factors = users[dataset.user_id_map.external_ids]  # numbered as the events name them
    model.item_factors = items[dataset.item_id_map.external_ids]
    wrapper.model, wrapper.is_fitted = model, True
    ids = np.arange(len(users))
    found, took = timed(asked, lambda: wrapper.recommend(ids, dataset, k=asked["k"], filter_viewed=True))
    rows, scores = np.full((len(users), asked["k"]), -1), np.full((len(users), asked["k"]), -np.inf, np.float32)
    at = found[Columns.User].to_numpy(), found[Columns.Rank].to_numpy() - 1
    rows[at], scores[at] = found[Columns.Item], found[Columns.Score]
    return rows, scores, took, rectools.__version__


def with_interlingua(asked: dict[str, Any]) -> tuple[Any, Any, list[Any], str]:
    import polars as pl
    import torch

    import interlingua

    torch.set_num_threads(asked["threads"])
    recommender, out = interlingua.load(asked["run"]), Path(asked["out"] + ".parquet")
    _, took = timed(asked, lambda: recommender.recommend_all(out, k=asked["k"]))
    frame = pl.read_parquet(out)
    users = seen_of(asked)[1]
    rows, scores = np.full((len(users), asked["k"]), -1), np.full((len(users), asked["k"]), -np.inf, np.float32)
    at = frame["user_id"].cast(pl.Int64).to_numpy(), frame["rank"].to_numpy() - 1
    rows[at], scores[at] = frame["item_id"].cast(pl.Int64), frame["score"]
    return rows, scores, took, interlingua.__version__


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text())
    engines = {"implicit": with_implicit, "rectools": with_rectools, "interlingua": with_interlingua}
    rows, scores, took, version = engines[asked["engine"]](asked)
    np.savez(asked["out"] + ".npz", rows=rows, scores=scores)
    Path(asked["out"] + ".json").write_text(json.dumps({"version": version, "took": took}))


if __name__ == "__main__":
    main()
