"""Users of whom nothing is known but words: favourite titles, or a profile, against popularity and one to three events.

    python benchmarks/quality/by_text.py --data movielens-small --out RESULT.json
    python benchmarks/quality/by_text.py --data xrec-yelp-profiles --words profile --out RESULT.json
    python benchmarks/quality/by_text.py --data movielens-small --folded --out RESULT.json

Each test user is asked once by every description; what the user had in training never comes out, whatever the model was
told of it. ``titles``: the three titles that the user rated highest (the latest of equals; without ratings the last
three) as one sentence, ``alone`` (weight 1) or with weight 0.5. ``profile``: the users table's text. ``--folded``: what
is lost where a graph model, or a factorisation, folds a known user's history in instead of using the vector that it has
learned (at most 40 epochs at rate 0.01).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from header import header

import interlingua
from interlingua.contracts.scorer import Scorer
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.progress import say
from interlingua.runs.scorers import retriever_of
from interlingua.runs.sentence import Sentences
from interlingua.runs.session import Session

K = 20
FIELDS = {"movielens-small": ["title", "categories"], "xrec-yelp-profiles": ["title", "description"]}
FILTER = {"movielens-small": {"min_user": 5, "min_item": 5}, "xrec-yelp-profiles": {}}
SPLIT = {"movielens-small": "leave-one-out", "xrec-yelp-profiles": "given"}


def recipes(data: str) -> dict[str, dict[str, Any]]:
    """Text kNN, and six of all-round's members."""
    text = {"name": "sbert", "model": "all-minilm-l6-v2", "fields": FIELDS[data]}
    members = [
        {"name": "pop", "backbone": {"name": "pop"}},
        {"name": "itemknn", "backbone": {"name": "itemknn"}},
        {"name": "ease", "backbone": {"name": "ease"}},
        {"name": "textknn", "backbone": {"name": "textknn"}, "text": {"name": "lsa", "fields": FIELDS[data]}},
        {"name": "textknn-sbert", "backbone": {"name": "textknn"}, "text": text},
        {"name": "text-ease", "backbone": {"name": "additive-ease", "share": 1.0}, "text": text},
    ]
    return {
        "text kNN": {"backbone": {"name": "textknn"}, "text": text},
        "six members of all-round": {"fuse": {"name": "logit", "members": members}},
    }


def made(recipe: Any, data: str, out: Path, **more: Any) -> Session:
    """A finished run."""
    sections = {
        "data": {"name": data, "split": SPLIT[data], "filter": FILTER[data]},
        "evaluate": {"protocols": ["full"]},
    }
    return interlingua.run({**sections, **recipe, **more}, out=out, device="cpu")


def measures(scores: np.ndarray, queries: Queries, targets: list[np.ndarray]) -> dict[str, float]:
    """Recall and NDCG of the first K outside each history."""
    recall, ndcg = [], []
    for row, goal in enumerate(targets):
        own = scores[row].copy()
        own[queries.history(row)] = -np.inf
        hits = np.isin(np.argsort(-own, kind="stable")[:K], goal)
        gain = 1 / np.log2(np.arange(2, K + 2))
        recall.append(hits.sum() / min(K, len(goal)))
        ndcg.append((hits * gain).sum() / gain[: len(goal)].sum())
    return {f"recall@{K}": round(float(np.mean(recall)), 4), f"ndcg@{K}": round(float(np.mean(ndcg)), 4)}


def sentence(prepared: Dataset, queries: Queries, row: int, words: str) -> str:
    """What is said of a user."""
    if words == "profile":
        assert prepared.catalogue.users is not None
        return str(prepared.catalogue.users["profile"][int(queries.users[row])])
    history, ratings = queries.history(row), queries.history_ratings(row)
    order = np.lexsort((np.arange(len(history)), np.nan_to_num(ratings)))[::-1][:3]
    return "; ".join(prepared.catalogue.titles[history[place]] for place in order)


def last(queries: Queries, count: int) -> Queries:
    """Strangers with the last so many events of each."""
    return Queries.of([queries.history(row)[-count:] if count else [] for row in range(len(queries))])


def by_words(options: argparse.Namespace, runs: Path) -> list[dict[str, Any]]:
    """One line for each model and description."""
    out: list[dict[str, Any]] = []
    for name, recipe in recipes(options.data).items():
        session = made(recipe, options.data, runs)
        prepared, split = session.data, session.data.split
        chosen = split.test.users[np.linspace(0, len(split.test) - 1, options.users).astype(int)]
        queries = split.queries_of(np.unique(chosen), "test")
        position = {int(user): row for row, user in enumerate(split.test.users)}
        targets = [split.test.of_row(position[int(user)]) for user in queries.users]
        if not out:
            counts = np.tile(split.train.item_counts.astype(np.float32), (len(queries), 1))
            out.append({"model": "popularity", "told": "nothing"} | measures(counts, queries, targets))
        scorer: Scorer = retriever_of(session)[1]
        said = Sentences(session, scorer)
        found = [said.scorer(sentence(prepared, queries, row, options.words), 0.5) for row in range(len(queries))]
        told = descriptions(scorer, found, queries, options.words)
        for what, scores in told.items():
            line = {"model": name, "told": what, "users": len(queries)} | measures(scores, queries, targets)
            say(f"{line}")
            out.append(line)
    return out


def descriptions(scorer: Scorer, found: list[Any], queries: Queries, words: str) -> dict[str, np.ndarray]:
    """What the model is told of the users -> (B, I) scores; ``found``: what ranks for each user's sentence."""
    return {
        f"{words} alone": _each([each.with_weight(1.0) for each in found], last(queries, 0)),
        words: _each(found, last(queries, 0)),
        "1 event": scorer.score(last(queries, 1)),
        f"1 event and {words}": _each(found, last(queries, 1)),
        "2 events": scorer.score(last(queries, 2)),
        "3 events": scorer.score(last(queries, 3)),
        f"3 events and {words}": _each(found, last(queries, 3)),
        f"3 events and {words} (0.25)": _each([each.with_weight(0.25) for each in found], last(queries, 3)),
        "all events": scorer.score(last(queries, 10**6)),
    }


def _each(found: list[Any], queries: Queries) -> np.ndarray:
    return np.concatenate([each.score(queries.slice(row, row + 1)) for row, each in enumerate(found)])


def folded(options: argparse.Namespace, runs: Path) -> list[dict[str, Any]]:
    """Known users by the vector that was learned, and by the one that their history gives."""
    out = []
    for name in options.models:
        quick = ["backbone.fit.epochs=40", "backbone.fit.learning_rate=0.01", 'evaluate.protocols=["full"]']
        session = interlingua.run(name, out=runs, device="cpu", overrides=quick)
        split, scorer = session.data.split, retriever_of(session)[1]
        queries = split.queries("test")
        targets = [split.test.of_row(row) for row in range(len(split.test))]
        strangers = Queries(np.full(len(queries), -1), queries.items, queries.offsets)
        for what, some in (("learned", queries), ("folded in", strangers)):
            found = measures(scorer.score(some), queries, targets)
            out.append({"model": name, "user vector": what, "users": len(queries)} | found)
            say(f"{out[-1]}")
    return out


def main() -> None:
    """Runs, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movielens-small", choices=sorted(FIELDS))
    parser.add_argument("--words", default="titles", choices=["titles", "profile"])
    parser.add_argument("--users", type=int, default=300, help="test users, drawn evenly")
    parser.add_argument("--folded", action="store_true", help="measure folded-in users instead")
    parser.add_argument("--models", nargs="+", default=["mf", "lightgcn"], help="recipes, with --folded")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    lines = folded(options, options.runs) if options.folded else by_words(options, options.runs)
    result = header(__file__) | {"data": options.data, "split": SPLIT[options.data], "rows": lines}
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
