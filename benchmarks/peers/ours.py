"""Interlingua's side of the comparisons with peers: the same split, the same sizes, the same clock."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from exchange import Clock
from header import header

from interlingua import registry
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.fitting import Fitting
from interlingua.data.prepare import FilterConfig, SplitConfig, prepare
from interlingua.data.split import Split
from interlingua.evaluate.protocol import evaluate
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all


def split_of(name: str) -> Split:
    """5-core, leave-one-out by time: the split that all peers are given."""
    return prepare(
        name, filter=FilterConfig(min_user=5, min_item=5), split=SplitConfig(name="leave-one-out"), quiet=True
    ).split


def write_data(split: Split, path: Path) -> None:
    """The file that the workers read (see exchange.py)."""
    assert len(split.valid) == len(split.test) == split.train.num_users
    np.savez(
        path, users=split.train.users, items=split.train.items, valid=split.valid.items, test=split.test.items,
        num_items=split.train.num_items,
    )  # fmt: skip


def both(model: Backbone, split: Split) -> dict[str, dict[str, float]]:
    """Recall@10 and NDCG@10, full ranking, of both parts."""
    out: dict[str, dict[str, float]] = {}
    for part in ("valid", "test"):
        found = evaluate(model, split, part, metrics=("recall@10", "ndcg@10"), slices=False, resamples=0).metrics
        out[part] = {k: round(v, 5) for k, v in found.items()}
    return out


def solve(name: str, split: Split, **options: Any) -> dict[str, Any]:
    """A closed-form baseline, timed."""
    cls = registry.find("backbone", name)
    model = cls(cls.Config(**options), split.train)
    with Clock() as clock:
        model.fit(Fitting(split.train))
    return {"model": name, "options": options, "fit_s": clock.wall_s, "fit_cpu_s": clock.cpu_s, **both(model, split)}


def train(
    name: str, split: Split, seed: int, *, repeats: int = 0, every: int = 1, **options: Any
) -> tuple[dict[str, Any], Backbone]:
    """A trained backbone with its learning curve; evaluation stands outside the clock."""
    cls = registry.find("backbone", name)
    seed_all(seed)
    config = cls.Config(**options)
    model = cls(config, split.train)
    joint = Joint(model, Aligner(Aligner.Config(), 0, 0))
    curve, spent, clock = [], 0.0, Clock()
    cpu, epochs = 0.0, fit(joint, model.batches(split.train, config.fit), config.fit, seed=seed, device="cpu")
    while True:
        with clock:
            epoch = next(epochs, None)
        if epoch is None:
            break
        spent, cpu = spent + clock.wall_s, cpu + clock.cpu_s
        if epoch.number % every == 0 or epoch.number == config.fit.epochs:
            curve.append({"epoch": epoch.number, "train_s": spent, "train_cpu_s": cpu, **both(model, split)})
            print(name, seed, curve[-1], file=sys.stderr, flush=True)
    clocks = []
    for _ in range(repeats):
        with Clock() as clock:
            evaluate(model, split, "test", metrics=("ndcg@10",), slices=False, resamples=0)
        clocks.append(clock)
    row = {"model": name, "seed": seed, "options": config.model_dump(mode="json"), "curve": curve}
    if clocks:
        row |= {"recommend_s": [c.wall_s for c in clocks], "recommend_cpu_s": [c.cpu_s for c in clocks]}
    return row, model


def best(row: dict[str, Any]) -> dict[str, Any]:
    """The point of a curve with the best validation NDCG@10: what early stopping would keep."""
    return max(row["curve"], key=lambda point: point["valid"]["ndcg@10"])


def card(script: str, threads: int, note: str) -> dict[str, Any]:
    """What a result file beside peers says of its making; ``script``: the benchmark's ``__file__``."""
    return {
        **header(script), "device": f"CPU, {threads} threads",
        "load_average": [round(x, 2) for x in os.getloadavg()], "note": note,
    }  # fmt: skip


def write(path: Path, result: dict[str, Any]) -> None:
    """The result as JSON, saved after every step so that an interrupted run keeps what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1))
