"""Likelihood readers after equal CPU seconds of training: the plain step, the same in bfloat16, and cheaper answers.

    python benchmarks/quality/likelihood.py --seconds 300 --out RESULT.json

Backbone, texts and alignment are those of the recipe aligned-mixture, shared by all. Each reader trains for the given
CPU seconds of one thread (process time) and orders 20 candidates on the validation part, where the weight of the
title's own likelihood is chosen for the readers that have one, and on the test part. ``plain`` is the step in float32
with padded prompts, one answer each. Finished readers are read from the result file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from header import header

from interlingua.config import read_toml
from interlingua.evaluate.protocol import evaluate
from interlingua.lm import packed
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.session import Session
from interlingua.training.loop import derive_seed, make_optimizer, seed_all

FIT = {"learning_rate": 0.0005, "beta2": 0.98, "batch_size": 4, "epochs": 1}
PROMPT = {"name": "soft-prompt", "all_positions": True, "slots": {"user": "backbone", "item": "align"}, "fit": FIT}
TEXT = {"name": "title-sequence", "precision": "bf16", "history_length": 20, "fit": FIT}
METHODS: dict[str, dict[str, Any]] = {
    "plain, float32": PROMPT,
    "exact, bfloat16": PROMPT | {"precision": "bf16"},
    "5 answers a prompt, bfloat16": PROMPT | {"precision": "bf16", "answers_per_prompt": 5},
    "10 answers a prompt, bfloat16": PROMPT | {"precision": "bf16", "answers_per_prompt": 10},
    "history as text, bfloat16": TEXT,
    "history as text with users, bfloat16": TEXT | {"slots": {"user": "backbone", "item": "align"}},
}
WEIGHTS = (0.0, 0.5, 0.75, 1.0)
"""weights of the title's own likelihood that are tried on the validation part"""


def opened(options: argparse.Namespace, ranker: dict[str, Any]) -> Session:
    """A session with all stages before the reader done."""
    values = read_toml(recipes.find("aligned-mixture"))
    values["data"]["name"] = options.data
    values["ranker"] = {"model": options.model, **ranker}
    values["evaluate"] = {"protocols": ["sampled-20"]}
    session = Session(recipes.resolve(values, "likelihood"), Path(options.runs), options.seed, "cpu")
    for stage in ("prepare", "embed", "train", "align"):
        getattr(stages, stage)(session)
    return session


def train(ranker: Any, seconds: float, seed: int) -> dict[str, Any]:
    """Steps until the CPU seconds are spent."""
    optimizer = make_optimizer(ranker, ranker.config.fit)
    answers, losses, started = 0, [], time.process_time()
    ranker.train()
    for epoch in count():
        for batch in ranker.batches(epoch, seed_all(derive_seed(seed, "epoch", epoch))):
            optimizer.zero_grad(set_to_none=True)
            loss = torch.stack(list(ranker(batch).values())).sum()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            answers += int((batch.positives >= 0).sum())
            spent = time.process_time() - started
            if spent >= seconds:
                ranker.eval()
                tail = losses[-max(1, len(losses) // 10) :]
                return {"answers": answers, "steps": len(losses), "cpu_s": round(spent, 1), "epochs": epoch + 1,
                        "first_loss": round(losses[0], 3), "last_loss": round(float(np.mean(tail)), 3)}  # fmt: skip
    raise AssertionError


def hit(scorer: Any, session: Session, part: str, max_users: int | None) -> float:
    report = evaluate(
        scorer, session.data.split, part, protocol="sampled-20", max_users=max_users, slices=False, resamples=0
    )
    return round(float(report.metrics["hit@1"]), 4)


def remembering(ranker: Any) -> None:
    """Keeps likelihoods, so that other weights of the prior cost no other pass."""
    plain, known = ranker._likelihoods, {}

    def found(histories: np.ndarray, items: np.ndarray, vectors: Any) -> Any:
        key = (histories.tobytes(), items.tobytes())
        if key not in known:
            known[key] = plain(histories, items, vectors)
        return known[key]

    ranker._likelihoods = found


def measure(label: str, options: argparse.Namespace) -> dict[str, Any]:
    """One reader; all are measured in bfloat16."""
    session = opened(options, METHODS[label])
    seed_all(derive_seed(options.seed, "reader"))
    learner: Any = session.make_ranker()
    can_pack = packed.can_pack if not label.startswith("plain") else lambda *_: False
    row: dict[str, Any] = {"method": label, "seed": options.seed}
    with patch.object(packed, "can_pack", can_pack):
        row |= train(learner, options.seconds, options.seed)
    row["cpu_s_per_answer"] = round(row["cpu_s"] / row["answers"], 4)
    say(f"{label}: {row}")
    ranker: Any = opened(options, METHODS[label] | {"precision": "bf16"}).make_ranker()
    ranker.load_state_dict(learner.state_dict())
    if "prior_weight" in type(ranker.config).model_fields:
        remembering(ranker)
        found = {}
        for weight in WEIGHTS:
            ranker.config = ranker.config.model_copy(update={"prior_weight": weight})
            found[str(weight)] = hit(ranker, session, "valid", options.valid_users)
        row["valid by weight"] = found
        row["prior weight"] = max(found, key=lambda weight: found[weight])
        ranker.config = ranker.config.model_copy(update={"prior_weight": float(row["prior weight"])})
    row["test hit@1"] = hit(ranker, session, "test", options.max_users)
    row["backbone test hit@1"] = hit(session.backbone, session, "test", options.max_users)
    say(f"{label}: {row}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=300.0, help="CPU seconds of training, each reader")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--valid-users", type=int, default=200)
    parser.add_argument("--max-users", type=int, default=None, help="users of the test part (default: all)")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    rows = {row["method"]: row for row in known.get("rows", [])}
    for label in options.methods:
        if label not in rows:
            rows[label] = measure(label, options)
        result = {**header(__file__), "data": options.data, "seed": options.seed, "seconds": options.seconds,
                  "users": {"valid": options.valid_users, "test": options.max_users},
                  "rows": [rows[name] for name in METHODS if name in rows]}  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
