"""Readers at the paper's number of training samples: what each trains, from which recipe, and what came out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlingua.config import read_toml
from interlingua.evaluate.result import load_report
from interlingua.runs import recipe as recipes
from interlingua.runs import stages


@dataclass(frozen=True)
class Sizes:
    """How much a reader trains and is asked."""

    data: str
    model: str
    encoder: str
    samples: int
    """answers of the paper's prompt (the paper's Beauty: some 10,000 users, 5 rounds)"""
    windows: int
    """histories of the readers that answer at every place: several answers each"""
    batch: int
    max_users: int
    tiny: bool = False


LIKELIHOOD = {"name": "soft-prompt", "template": "next-item", "all_positions": True}
READERS: dict[str, tuple[float, dict[str, Any]]] = {
    "likelihood": (140.0, LIKELIHOOD),
    "head": (50.0, {"name": "sequence-head", "history_length": 50, "slots": {"user": "none"}}),
    "history as text": (60.0, {"name": "title-sequence", "slots": {"user": "backbone"}}),
    "lora": (170.0, LIKELIHOOD | {"tune": "lora"}),
    "5 answers a prompt": (50.0, LIKELIHOOD | {"answers_per_prompt": 5}),
}
"""name -> seconds that it may take on an H100, by estimate until one of its seeds is measured; options"""


def recipe_of(name: str, sizes: Sizes) -> recipes.Recipe:
    """The recipe aligned-mixture with another reader; the backbone's batches are larger, as a GPU wants them."""
    values = read_toml(recipes.find("aligned-mixture"))
    ranker = dict(READERS[name][1])
    several = int(ranker.get("answers_per_prompt", 1))
    by_prompt = ranker["name"] == "soft-prompt"
    steps = max(1, (sizes.samples // several if by_prompt else sizes.windows) // sizes.batch)
    values["data"]["name"] = sizes.data
    values["backbone"]["fit"] |= {"batch_size": 256, "learning_rate": 0.002}
    values["text"]["model"] = sizes.encoder
    values["ranker"] = ranker | {"model": sizes.model, "precision": "bf16"}
    values["ranker"]["fit"] = {
        "learning_rate": 0.0005, "beta2": 0.98, "batch_size": sizes.batch, "epochs": max(1, steps // 100),
        "steps_per_epoch": min(steps, 100), "warmup_steps": min(30, steps), "schedule": "cosine",
    }  # fmt: skip
    values["evaluate"] = {"protocols": ["sampled-20"], "max_users": sizes.max_users}
    if sizes.tiny:
        values["data"] = {"name": "planted", "options": {"num_users": 60, "num_items": 40}, "split": "leave-one-out"}
        values["ranker"] |= {"history_length": 3} | (
            {} if ranker["name"] == "sequence-head" else {"max_title_tokens": 6}
        )
        values["backbone"] |= {"embedding_dim": 8, "max_history": 6}
        values["backbone"]["fit"] |= {"epochs": 1}
        values["align"]["fit"] |= {"epochs": 1}
    return recipes.resolve(values, f"gpu {name}")


def read(name: str, seed: int, sizes: Sizes, runs: Path, device: str) -> dict[str, Any]:
    """Runs what is not finished of one reader and tells its numbers."""
    session = stages.run(recipe_of(name, sizes), out=runs, seed=seed, device=device)
    report = load_report(session.done["evaluate"].path / "protocols" / "sampled-20")
    log = [json.loads(line) for line in (session.done["rank"].path / "log.jsonl").read_text("utf-8").splitlines()]
    epochs = [line for line in log if "epoch" in line]
    seconds = sum(line["seconds"] for line in epochs)
    rows = sum(line["rows"] for line in epochs)
    return {
        "hit@1": round(float(report.metrics["hit@1"]), 5),
        "slices": {k: round(float(v.metrics["hit@1"]), 5) for k, v in report.slices.items() if "hit@1" in v.metrics},
        "first_loss": epochs[0]["losses"], "last_loss": epochs[-1]["losses"],
        "prompts": rows, "training_s": round(seconds, 1), "prompts_per_s": round(rows / max(seconds, 1e-9), 1),
        "stage_seconds": {kind: round(float(done.card["seconds"]), 1) for kind, done in session.done.items()},
    }  # fmt: skip
