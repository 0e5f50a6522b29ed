"""What texts know of items that nobody has chosen yet: k folds of items, every event of a fold hidden.

    python benchmarks/quality/item_cold.py --data amazon-beauty-2014 --texts lsa sbert sbert+lm --out RESULT.json

A truncated singular value decomposition of the training matrix gives users and items their vectors; the aligner
``ridge`` maps texts to the items' (closed form, penalty by leave-one-out error), and the cold items are placed by it.
They are ranked among themselves (protocol ``cold``) and inside the whole catalogue (``full``). Nothing is chosen on
any held-out event. Sources joined by ``+`` stand side by side, their weights chosen by the leave-one-out error of
warm items. ``lm``: hidden states of a language model, ``lm-shuffled``: the same with shuffled weights. The row
``shuffled`` has the first source's texts dealt out at random.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import scipy.sparse as sp
import torch
from header import header
from torch import Tensor

from interlingua.align.ridge import Ridge, RidgeConfig
from interlingua.config import build
from interlingua.contracts.scorer import TableScorer
from interlingua.data.prepare import Dataset, FilterConfig, SplitConfig, prepare
from interlingua.data.queries import Queries
from interlingua.evaluate.protocol import evaluate
from interlingua.nn.factors import item_factors
from interlingua.nn.group_ridge import learned_weights
from interlingua.nn.linear_autoencoders import stacked
from interlingua.progress import say
from interlingua.registry import find
from interlingua.vectors.fields import item_texts

METRICS = ("recall@20", "ndcg@20")
PROTOCOLS = ("cold", "full")


def texts_of(prepared: Dataset, name: str) -> Tensor:
    """(I, T) text vectors of one source; ``lm``: hidden states, ``lm-shuffled``: of a model that knows nothing."""
    encoder = find("text", {"lm": "lm-states", "lm-shuffled": "lm-states"}.get(name, name))
    options: dict[str, Any] = {} if name == "lsa" else {"fields": ["title", "categories"]}
    config = build(encoder.Config, options | ({"lm_weights": "shuffled"} if name == "lm-shuffled" else {}), name)
    ids = [str(item) for item in prepared.catalogue.items["item_id"].to_list()]
    source = encoder(config, item_texts(prepared.catalogue, config), item_ids=ids)
    return source.rows("items").detach().float().cpu()


def joined(name: str, vectors: dict[str, Tensor], items: Tensor, counts: np.ndarray) -> tuple[Tensor, list[float]]:
    """(I, T) the sources of ``A+B`` side by side, and their weights: of the least leave-one-out error (group ridge)."""
    sources = [vectors[one] for one in name.split("+")]
    warm = torch.as_tensor(counts > 0)
    weights = learned_weights([source[warm] for source in sources], items[warm])
    return (stacked(sources, weights, True) if len(sources) > 1 else sources[0]), weights


def known(prepared: Dataset) -> sp.csr_matrix:
    """(U, I) 1 where a user has an item in training or validation, which nothing here chooses on."""
    split = prepared.split
    rows = np.concatenate([split.train.users, np.repeat(split.valid.users, np.diff(split.valid.offsets))])
    columns = np.concatenate([split.train.items, split.valid.items])
    matrix = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(split.train.num_users, split.train.num_items))
    matrix.data[:] = 1.0
    return matrix


def scorer(items: Tensor, texts: Tensor, counts: np.ndarray) -> TableScorer:
    """Items with events by their own vectors, cold ones by what their texts predict; users by the sum of theirs."""
    aligner = Ridge(RidgeConfig(norm="none"), items.shape[1], texts.shape[1])
    aligner.fit_vectors(texts, items, torch.as_tensor(counts))
    cold = torch.as_tensor(counts == 0)[:, None]
    table = torch.where(cold, aligner.text_latent(texts), items)

    def user_embeddings(queries: Queries) -> Tensor:
        out = torch.zeros(len(queries), items.shape[1])
        owners = torch.as_tensor(np.repeat(np.arange(len(queries)), queries.lengths()))
        return out.index_add_(0, owners, items[torch.as_tensor(np.asarray(queries.items, np.int64))])

    return TableScorer(table, user_embeddings)


def rows_of(
    prepared: Dataset, options: argparse.Namespace, fold: int, vectors: dict[str, Tensor]
) -> list[dict[str, Any]]:
    matrix = known(prepared)
    items = item_factors(matrix, options.dim)
    out = []
    for name in (*options.texts, "shuffled"):
        texts, weights = joined(name, vectors, items, prepared.split.train.item_counts)
        made = scorer(items, texts, prepared.split.train.item_counts)
        line: dict[str, Any] = {"texts": name, "fold": fold, "weights": weights}
        for protocol in PROTOCOLS:
            report = evaluate(made, prepared.split, protocol=protocol, metrics=METRICS, resamples=0, slices=False)
            line |= {f"{metric} {protocol}": round(report.metrics[metric], 5) for metric in METRICS}
        line |= {"users": report.n_users, "cold items": int((prepared.split.train.item_counts == 0).sum())}
        say(f"fold {fold}: {line}")
        out.append(line)
    return out


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per text source: mean over folds, and the standard deviation over folds."""
    out = []
    for name in dict.fromkeys(row["texts"] for row in rows):
        mine = [row for row in rows if row["texts"] == name]
        line: dict[str, Any] = {"texts": name, "folds": len(mine)}
        for key in (f"{metric} {protocol}" for protocol in PROTOCOLS for metric in METRICS):
            values = [row[key] for row in mine]
            line |= {key: round(float(np.mean(values)), 5), f"{key} sd": round(float(np.std(values)), 5)}
        out.append(line)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--texts", nargs="+", default=["lsa", "sbert", "sbert+lm"], help="lsa, sbert, lm, A+B")
    parser.add_argument("--core", type=int, default=5, help="users and items with fewer events are left out")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--dim", type=int, default=48, help="singular vectors")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        **header(__file__),
        "data": options.data, "rows": [],
    }  # fmt: skip
    vectors: dict[str, Tensor] = {}
    for fold in range(options.folds):
        split = SplitConfig(name="item-cold", folds=options.folds, fold=fold)
        prepared = prepare(
            options.data, filter=FilterConfig(min_user=options.core, min_item=options.core), split=split, quiet=True
        )
        if not vectors:
            parts = dict.fromkeys(one for name in options.texts for one in name.split("+"))
            vectors = {name: texts_of(prepared, name) for name in parts}
            first = vectors[next(iter(parts))]
            vectors["shuffled"] = first[torch.randperm(len(first), generator=torch.Generator().manual_seed(0))]
        result["rows"] += rows_of(prepared, options, fold, vectors)
        result["mean"] = means(result["rows"])
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
