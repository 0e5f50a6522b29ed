"""implicit's neighbours and factorisations on a leave-one-out split. Usage: python implicit_worker.py OPTIONS.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import implicit
import numpy as np
import scipy.sparse as sp
from exchange import Clock, Data, quality
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender


def matrix(data: Data, part: str) -> sp.csr_matrix:
    users, items, _ = data.events(part)
    shape = (data.num_users, data.num_items)
    out = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)
    out.data[:] = 1.0
    return out


def models(dim: int, seeds: list[int]):
    yield "cosine", 0, CosineRecommender(K=20)
    yield "bm25", 0, BM25Recommender(K=20)
    for seed in seeds:
        yield "als", seed, AlternatingLeastSquares(factors=dim, random_state=seed)
        yield "bpr", seed, BayesianPersonalizedRanking(factors=dim, random_state=seed)


def main() -> None:
    options = json.loads(Path(sys.argv[1]).read_text())
    data = Data(options["data"])
    train, tops, rows = matrix(data, "valid"), {}, []
    for name, seed, model in models(options["dim"], options["seeds"]):
        with Clock() as clock:
            model.fit(train, show_progress=False)
        row = {"model": name, "seed": seed, "fit_s": clock.wall_s, "fit_cpu_s": clock.cpu_s}
        row["version"] = implicit.__version__
        for part in ("valid", "test"):
            history = matrix(data, part)
            top, scores = model.recommend(np.arange(data.num_users), history, N=10, recalculate_user=name == "als")
            row[part] = quality(top, data.target(part))
            tops[f"{name}-{seed}-{part}"], tops[f"{name}-{seed}-{part}-scores"] = top.astype(np.int64), scores
        rows.append(row)
    np.savez(options["out"] + ".npz", **tops)
    Path(options["out"] + ".json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
