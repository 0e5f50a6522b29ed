"""RecTools' SASRec and EASE on a leave-one-out split. Usage: python rectools_worker.py OPTIONS.json

SASRec trains in pieces (``fit_partial``); between them, outside the clock, its validation and test quality are taken.
It ends with the piece in which ``max_train_s`` CPU seconds are reached, where that is given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import rectools
import torch
from exchange import Clock, Data, quality
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import IdMap, Interactions, NamedDataset
from rectools.models import EASEModel
from rectools.models.nn.transformers.sasrec import SASRecModel


def dataset(data: Data, part: str) -> NamedDataset:
    users, items, place = data.events(part)
    frame = pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: 1.0})
    frame[Columns.Datetime] = pd.to_datetime(place, unit="s")
    # the same id maps in every part: Dataset.construct numbers items by first appearance, which differs between parts
    user_map, item_map = IdMap.from_values(np.arange(data.num_users)), IdMap.from_values(np.arange(data.num_items))
    return NamedDataset(user_map, item_map, Interactions.from_raw(frame, user_map, item_map))


def top(model, data: Data, source: NamedDataset) -> tuple[np.ndarray, Clock]:
    with Clock() as clock:
        frame = model.recommend(np.arange(data.num_users), source, k=10, filter_viewed=True)
    out = np.full((data.num_users, 10), -1, np.int64)
    out[frame[Columns.User], frame[Columns.Rank] - 1] = frame[Columns.Item]
    return out, clock


def quiet(epochs: int, max_steps: int | None):
    def make() -> Trainer:
        return Trainer(
            max_epochs=epochs, limit_train_batches=max_steps or 1.0, accelerator="cpu", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip

    return make


def sasrec(data: Data, options: dict, seed: int) -> dict:
    seed_everything(seed)
    shown = {part: dataset(data, part) for part in ("valid", "test")}
    model = SASRecModel(
        n_blocks=options["blocks"], n_heads=options["heads"], n_factors=options["dim"], dropout_rate=options["dropout"],
        session_max_len=options["max_history"], batch_size=options["batch_size"], lr=options["learning_rate"],
        loss="softmax", epochs=options["epochs"],
        get_trainer_func=quiet(options["epochs"], options["max_steps"]),
    )  # fmt: skip
    curve, spent, cpu, piece = [], 0.0, 0.0, options["piece"]
    for epoch in range(piece, options["epochs"] + 1, piece):
        with Clock() as clock:
            model.fit_partial(shown["valid"], min_epochs=piece, max_epochs=piece)
        spent, cpu = spent + clock.wall_s, cpu + clock.cpu_s
        point: dict = {"epoch": epoch, "train_s": spent, "train_cpu_s": cpu}
        point["valid"] = quality(top(model, data, shown["valid"])[0], data.valid)
        point["test"] = quality(top(model, data, shown["test"])[0], data.test)
        curve.append(point)
        print(seed, point, file=sys.stderr, flush=True)
        if options.get("max_train_s") and cpu >= options["max_train_s"]:
            break
    clocks = [top(model, data, shown["test"])[1] for _ in range(options["repeats"])]
    eligible = int((np.bincount(data.users, minlength=data.num_users) >= 2).sum())
    return {
        "model": "rectools-sasrec", "seed": seed, "curve": curve, "recommend_s": [c.wall_s for c in clocks],
        "recommend_cpu_s": [c.cpu_s for c in clocks], "steps_done_per_epoch": options["max_steps"],
        "steps_per_epoch": -(-eligible // options["batch_size"]),
    }  # fmt: skip


def ease(data: Data, l2: float) -> dict:
    row: dict = {"model": "ease", "seed": 0, "l2": l2}
    model = EASEModel(regularization=l2)
    with Clock() as clock:
        model.fit(dataset(data, "valid"))
    row["fit_s"], row["fit_cpu_s"] = clock.wall_s, clock.cpu_s
    for part in ("valid", "test"):
        row[part] = quality(top(model, data, dataset(data, part))[0], data.target(part))
    return row


def main() -> None:
    options = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(options["threads"])
    data = Data(options["data"])
    rows = [ease(data, l2) for l2 in options.get("ease_l2", [])]
    rows += [sasrec(data, options, seed) for seed in options["seeds"]]
    for row in rows:
        row["version"] = rectools.__version__
    Path(options["out"] + ".json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
