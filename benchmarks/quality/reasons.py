"""Reasons, measured: what they claim, whether it is so, how they read, how long they take.

    python benchmarks/quality/reasons.py --data movielens-small --recipe ease --out results/reasons-movielens-small.json

500 recommendations: the five best of a hundred test users, each with a reason by the rule and by a language model;
those of one user are worded together. Counted: content words that carry evidence; sentences that are not the rule's;
their perplexity (by the same language model, which favours its own choice: the rule's is beside it); seconds of a
reason, influences included. Faithfulness: by how much the score falls (in spreads of the other items' scores) when
the history items that the sentence names are left out, against as many others of the history at random.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from header import header

import interlingua
from interlingua.data.queries import Queries
from interlingua.explain.evidence import content_words
from interlingua.explain.explain import Explanation
from interlingua.lm.encoder import load_any
from interlingua.lm.models import LanguageModel
from interlingua.progress import say, track
from interlingua.recommender import Recommender

PER_USER = 5
REFERENCES = 200
"""other items whose scores give the unit of a fall"""


@torch.no_grad()
def perplexity(lm: LanguageModel, sentences: list[str]) -> float:
    """Of all tokens together, each sentence read alone."""
    total, count = 0.0, 0
    first = lm.tokenizer.bos_token_id if lm.bos_token_id is None else lm.bos_token_id
    for sentence in sentences:
        ids = torch.tensor([[first, *lm.tokenizer(sentence, add_special_tokens=False)["input_ids"]]])
        logits = torch.log_softmax(lm.model(input_ids=ids).logits[0, :-1].float(), dim=-1)
        total -= float(logits[torch.arange(len(logits)), ids[0, 1:]].sum())
        count += len(logits)
    return float(np.exp(total / max(count, 1)))


def fall(made: Recommender, query: Queries, item: int, left_out: list[int]) -> float:
    """How far the score of an item falls without some items of the history, in spreads of other items' scores."""
    scorer, whole = made._lists.retriever[1], query.history(0)
    others = np.random.default_rng(0).permutation(np.setdiff1d(np.arange(scorer.num_items), whole))[:REFERENCES]
    histories = [whole, whole[~np.isin(whole, left_out)]]
    indices = np.tile(np.concatenate([[item], others]), (2, 1))
    scores = scorer.score(Queries.of(histories, np.repeat(query.users, 2)), indices).astype(np.float64)
    relative = scores[:, 0] - scores[:, 1:].mean(1)
    return float((relative[0] - relative[1]) / max(scores[0, 1:].std(), 1e-12))


def named_of(found: Explanation[tuple[int, float]]) -> list[int]:
    """Indices of the history items that the sentence names."""
    named = {id_ for part in found.parts for id_ in part.evidence}
    return [item for item, _ in found.support if f"title:{item}" in named]


def rows_of(by_model: Recommender, by_rule: Recommender, users: np.ndarray) -> dict[str, Any]:
    """Everything that is counted of the reasons of some users' recommendations."""
    generator, falls, at_random, kept = np.random.default_rng(1), [], [], []
    seconds = {"model": 0.0, "rule": 0.0}
    for user in track(users.tolist(), "reasons"):
        query = by_rule.query(user=str(by_rule.train.user_ids[user]))
        items = [
            by_rule.item_row(one.item_id)
            for one in by_rule.recommend(user=str(by_rule.train.user_ids[user]), k=PER_USER)
        ]
        started = time.perf_counter()
        rules = by_rule.explain_rows(query, items)
        middle = time.perf_counter()
        worded = by_model.explain_rows(query, items)
        seconds["rule"] += middle - started
        seconds["model"] += time.perf_counter() - middle
        for item, one, other in zip(items, worded, rules, strict=True):
            kept.append((one, other))
            named, rest = named_of(one), [i for i in query.history(0).tolist() if i not in named_of(one)]
            if named and len(rest) >= len(named):
                falls.append(fall(by_rule, query, item, named))
                drawn = generator.choice(rest, len(named), replace=False).tolist()
                at_random.append(fall(by_rule, query, item, drawn))
    return {"reasons": kept, "seconds": seconds, "falls": np.array(falls), "random": np.array(at_random)}


def summary(found: dict[str, Any], lm: LanguageModel) -> list[dict[str, Any]]:
    """A row for the language model's reasons and one for the rule's."""
    out = []
    other = float(np.mean([a.sentence != b.sentence for a, b in found["reasons"]]))
    for place, name in enumerate(("language model", "rule")):
        reasons = [pair[place] for pair in found["reasons"]]
        claims, held = np.sum([content_words(one.parts) for one in reasons], axis=0)
        out.append({
            "worded by": name, "reasons": len(reasons), "content words": int(claims),
            "with evidence": round(float(held / claims), 4),
            "not the rule's": 0.0 if place else round(other, 4),
            "different": round(len({one.sentence for one in reasons}) / len(reasons), 4),
            "words": round(float(np.mean([len(one.sentence.split()) for one in reasons])), 1),
            "perplexity": round(perplexity(lm, [one.sentence for one in reasons]), 1),
            "seconds": round(found["seconds"]["rule" if place else "model"] / len(reasons), 3),
        })  # fmt: skip
    return out


def faithfulness(found: dict[str, Any]) -> dict[str, Any]:
    """Mean fall without the named items, without random ones, and their difference with an interval over reasons."""
    falls, drawn = found["falls"], found["random"]
    difference = falls - drawn
    generator = np.random.default_rng(2)
    means = [difference[generator.integers(len(difference), size=len(difference))].mean() for _ in range(2000)]
    return {
        "reasons that name a history item": len(falls), "fall without the named": round(float(falls.mean()), 4),
        "fall without random ones": round(float(drawn.mean()), 4), "difference": round(float(difference.mean()), 4),
        "interval": [round(float(q), 4) for q in np.quantile(means, [0.025, 0.975])],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--recipe", default="ease")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    session = interlingua.run(options.recipe, data=options.data, out=options.runs, seed=options.seed, device="cpu")
    lm = load_any(options.model)
    users = np.random.default_rng(options.seed).permutation(
        np.flatnonzero(session.data.split.test.offsets[1:] > session.data.split.test.offsets[:-1])
    )
    found = rows_of(
        Recommender(session, reasons=options.model), Recommender(session, reasons="rule"), users[: options.users]
    )
    some = max(1, len(found["reasons"]) // 12)
    result = {
        **header(__file__),
        "threads": torch.get_num_threads(),
        "data": options.data, "recipe": options.recipe, "rows": summary(found, lm), "faithfulness": faithfulness(found),
        "examples": [{"model": a.sentence, "rule": b.sentence} for a, b in found["reasons"][::some]],
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(json.dumps({k: result[k] for k in ("rows", "faithfulness", "examples")}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
