"""RecBole's SASRec on a leave-one-out split. Usage: python recbole_worker.py OPTIONS.json

Steps are RecBole's own (its loader, its loss, its Adam); training stops after ``max_s`` CPU seconds, wherever in an
epoch that is (the row says how many steps were done, of how many).
"""

from __future__ import annotations

import json
import sys
import tempfile
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd
import recbole
import torch
from exchange import Clock, Data, quality, top_of
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_logger, init_seed


def configuration(data: Data, options: dict, seed: int, folder: Path) -> Config:
    users, items, place = data.events("test")
    everyone = np.arange(data.num_users)
    users, items = np.concatenate([users, everyone]), np.concatenate([items, data.test])
    frame = pd.DataFrame({"user_id:token": users, "item_id:token": items})
    frame["timestamp:float"] = np.concatenate([place, np.full(data.num_users, place.max() + 1)])
    (folder / "peer").mkdir(exist_ok=True)
    frame.to_csv(folder / "peer" / "peer.inter", sep="\t", index=False)
    values = {
        "data_path": str(folder), "USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "MAX_ITEM_LIST_LENGTH": options["max_history"],
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "train_neg_sample_args": None, "loss_type": "CE", "n_layers": options["blocks"], "n_heads": options["heads"],
        "hidden_size": options["dim"], "inner_size": options["dim"], "hidden_dropout_prob": options["dropout"],
        "attn_dropout_prob": options["dropout"], "learning_rate": options["learning_rate"], "use_gpu": False,
        "train_batch_size": options.get("recbole_batch", 2048), "eval_batch_size": 4096, "show_progress": False,
        "seed": seed, "state": "ERROR",
        "checkpoint_dir": str(folder), "metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10",
    }  # fmt: skip
    sys.argv = sys.argv[:1]  # RecBole reads options from the command line
    return Config(model="SASRec", dataset="peer", config_dict=values)


def top(model, dataset, data: Data, part: str, length: int) -> np.ndarray:
    """(U, 10) recommended rows, through RecBole's full_sort_predict on histories of this part."""
    users, items, _ = data.events(part)
    tokens = np.array([dataset.token2id("item_id", str(i)) if str(i) in dataset.field2token_id["item_id"] else 0
                       for i in range(data.num_items)])  # fmt: skip
    starts = np.searchsorted(users, np.arange(data.num_users + 1))
    out = []
    for at in range(0, data.num_users, 512):
        rows = range(at, min(at + 512, data.num_users))
        history = np.zeros((len(rows), length), np.int64)
        sizes = np.zeros(len(rows), np.int64)
        for n, user in enumerate(rows):
            own = tokens[items[starts[user] : starts[user + 1]]][-length:]
            history[n, : len(own)], sizes[n] = own, len(own)
        with torch.no_grad():
            batch = {"item_id_list": torch.from_numpy(history), "item_length": torch.from_numpy(sizes)}
            scores = model.full_sort_predict(batch).numpy()[:, tokens]
        inside = (users >= at) & (users < at + len(rows))
        out.append(top_of(scores, users[inside] - at, items[inside]))
    return np.concatenate(out)


def sasrec(data: Data, options: dict, seed: int, folder: Path) -> dict:
    config = configuration(data, options, seed, folder)
    init_seed(seed, True)
    init_logger(config)
    getLogger().setLevel("ERROR")
    torch.set_num_threads(options["threads"])
    dataset = create_dataset(config)
    train, _, test = data_preparation(config, dataset)
    model = SASRec(config, train.dataset)
    trainer = Trainer(config, model)
    steps, spent, cpu, curve = len(train), 0.0, 0.0, []
    done, epoch = 0, 0
    while epoch < options["epochs"] and cpu < options["max_s"]:
        model.train()
        for batch in train:
            with Clock() as clock:
                trainer.optimizer.zero_grad()
                loss = model.calculate_loss(batch)
                loss.backward()
                trainer.optimizer.step()
            spent, cpu, done = spent + clock.wall_s, cpu + clock.cpu_s, done + 1
            if cpu >= options["max_s"]:
                break
        epoch += 1
        model.eval()
        point: dict = {"epoch": round(done / steps, 4), "train_s": spent, "train_cpu_s": cpu}
        for part in ("valid", "test"):
            point[part] = quality(top(model, dataset, data, part, options["max_history"]), data.target(part))
        curve.append(point)
        print(seed, point, file=sys.stderr, flush=True)
    clocks = []
    for _ in range(options["repeats"]):
        with Clock() as clock:
            trainer.evaluate(test, load_best_model=False)
        clocks.append(clock)
    return {
        "model": "recbole-sasrec", "seed": seed, "curve": curve, "recommend_s": [c.wall_s for c in clocks],
        "recommend_cpu_s": [c.cpu_s for c in clocks], "steps_done": done, "steps_per_epoch": steps,
        "version": recbole.__version__,
    }  # fmt: skip


def main() -> None:
    options = json.loads(Path(sys.argv[1]).read_text())
    data = Data(options["data"])
    with tempfile.TemporaryDirectory() as folder:
        rows = [sasrec(data, options, seed, Path(folder)) for seed in options["seeds"]]
    Path(options["out"] + ".json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
