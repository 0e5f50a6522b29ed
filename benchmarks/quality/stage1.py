"""Stage 1 alone: do text latents of held-out items land near their joint latents, and do they retrieve cold items?

    python benchmarks/quality/stage1.py --data movielens-small --seeds 7 8 9 --out results.json

Two questions, each with a share of the items held out at random:

- **agreement** (backbone trained on everything, aligner on the other items): the rank of an item's own joint vector
  among those of all held-out items, by cosine of centred vectors with its text latent. Chance: mean percentile 0.5.
- **cold** (held-out items have no training event at all, for anybody): a user's history before a cold event is the
  query, the cold item the target; Hit@10 among the cold items, and Hit@10/@50 among all items the user has not had.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from header import header
from torch import Tensor

from interlingua.config import FitConfig, build
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Embeddings
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.prepare import Dataset, FilterConfig, SplitConfig, prepare
from interlingua.data.queries import Queries
from interlingua.data.split import GroundTruth, Split
from interlingua.evaluate.protocol import validation_metrics
from interlingua.progress import say
from interlingua.registry import find
from interlingua.training.joint import Joint
from interlingua.training.loop import derive_seed, fit_best, seed_all
from interlingua.vectors.fields import item_texts

FIELDS = {"movielens-small": ["title", "categories"]}
PAPER_FIT = {"learning_rate": 1e-4, "beta2": 0.98, "batch_size": 32, "epochs": 10}
LONG_FIT = {"learning_rate": 1e-3, "beta2": 0.98, "batch_size": 128, "epochs": 100}
ALIGNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ridge": ("ridge", {}),
    "ridge, norm matched": ("ridge", {"norm": "match"}),
    "autoencoder, paper": ("autoencoder", {"fit": PAPER_FIT}),
    "autoencoder, long": ("autoencoder", {"fit": LONG_FIT}),
    "autoencoder, long, no sigmoid": ("autoencoder", {"latent_activation": "none", "fit": LONG_FIT}),
    "autoencoder, long, no sigmoid, sum": (
        "autoencoder",
        {"latent_activation": "none", "rec_logit": "sum", "fit": LONG_FIT},
    ),
}


@dataclass
class World:
    """One seed's data, held-out items and trained backbones."""

    prepared: Dataset
    held: np.ndarray
    whole: Any
    cold: Any
    cold_train: Interactions
    queries: Queries
    targets: np.ndarray


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    results = []
    for seed in options.seeds:
        world = make_world(options.data, seed, options.share, options.epochs)
        encoders: dict[tuple[str, bool], Any] = {}
        for source in options.texts:
            cls = find("text", source)
            fields = FIELDS.get(options.data, ["title", "categories", "description"])
            config = cls.Config(fields=fields)
            texts = item_texts(world.prepared.catalogue, config)
            encoders[source, False] = cls(config, texts)
            results += baseline(world, encoders[source, False], source, seed)
            for label, (name, values) in ALIGNERS.items():
                results += measure(world, encoders[source, False], source, label, name, values, seed)
            if source == "sbert" and options.trainable:
                for label, values, layers in trainable_variants():
                    encoder = cls(cls.Config(fields=fields, trainable=True, train_layers=layers), texts)
                    results += measure(world, encoder, "sbert, fine-tuned", label, "autoencoder", values, seed)
    report = {**header(__file__), "data": options.data, "held_out_share": options.share, "rows": results}
    if options.out:
        Path(options.out).write_text(json.dumps(report, indent=1), encoding="utf-8")
    _print(results)


def trainable_variants() -> list[tuple[str, dict[str, Any], int | None]]:
    faster = {"learning_rate": 1e-4, "beta2": 0.98, "batch_size": 32, "epochs": 10}
    return [
        ("autoencoder, paper", {"fit": PAPER_FIT}, None),
        ("autoencoder, no sigmoid", {"fit": faster, "latent_activation": "none"}, None),
    ]


def make_world(data: str, seed: int, share: float, epochs: int) -> World:
    """Prepares the data, draws held-out items, trains the backbone with and without their events."""
    prepared = prepare(
        data, filter=FilterConfig(min_user=5, min_item=5), split=SplitConfig(name="leave-one-out"), quiet=True
    )
    split = prepared.split
    generator = np.random.default_rng(derive_seed(seed, "held"))
    held = generator.random(split.train.num_items) < share
    cold_train = split.train.filter(~held[split.train.items])
    valid_rows = ~held[split.valid.items]
    owners = np.repeat(split.valid.users, np.diff(split.valid.offsets))
    cold_split = replace(
        split, train=cold_train, valid=GroundTruth.of(owners[valid_rows], split.valid.items[valid_rows])
    )
    say(f"seed {seed}: {int(held.sum())} of {len(held)} items held out; training the backbone twice")
    queries, targets = cold_queries(split.train, held)
    whole, cold = train_backbone(split, seed, epochs), train_backbone(cold_split, seed, epochs)
    return World(prepared, held, whole, cold, cold_train, queries, targets)


def train_backbone(split: Split, seed: int, epochs: int) -> Any:
    cls = find("backbone", "sasrec")
    config = cls.Config(fit=FitConfig(learning_rate=2e-3, batch_size=128, epochs=epochs, evaluate_every=5, patience=3))
    seed_all(derive_seed(seed, "train"))
    backbone = cls(config, split.train)
    joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
    fit_best(
        joint, backbone.batches(split.train, config.fit), config.fit, seed=seed, label="sasrec", device="cpu",
        validate=lambda: validation_metrics(backbone, split),
    )  # fmt: skip
    return backbone.eval()


def cold_queries(train: Interactions, held: np.ndarray, per_user: int = 3) -> tuple[Queries, np.ndarray]:
    """A user's last events on held-out items as targets, with the earlier events on other items as history."""
    histories, targets = [], []
    for user in range(train.num_users):
        events = train.history(user)
        for at in np.flatnonzero(held[events])[-per_user:]:
            before = events[:at][~held[events[:at]]]
            if len(before):
                histories.append(before)
                targets.append(int(events[at]))
    return Queries.of(histories), np.array(targets)


def measure(
    world: World, text: Any, source: str, label: str, name: str, values: dict[str, Any], seed: int
) -> list[dict[str, Any]]:
    """One aligner: agreement on the whole backbone, retrieval on the cold one."""
    cls = find("align", name)
    config = build(cls.Config, values)
    started = time.perf_counter()
    aligner, tables = align(cls, config, world.whole, text, world.cold_train, seed)
    seconds = time.perf_counter() - started
    out = agreement(tables.items, tables.items_from_text, world.held)
    if getattr(text, "encoder", None) is not None:  # fine-tuned: start the second alignment from the same weights
        text = _fresh(text, world)
    aligner, tables = align(cls, config, world.cold, text, world.cold_train, seed)
    with torch.no_grad():
        mapped = aligner.to_backbone(tables.items_from_text)
        query = torch.cat(
            [world.cold.user_embeddings(world.queries.slice(a, a + 512)) for a in range(0, len(world.queries), 512)]
        )
        items = world.cold.item_embeddings().clone()
        items[torch.from_numpy(world.held)] = mapped[torch.from_numpy(world.held)]
        row = {"text": source, "method": label, "seed": seed, "seconds": round(seconds, 1), **out}
        rows = [row | retrieval(query @ items.T, world)]
        if name == "autoencoder":
            joint = tables.items.clone()
            joint[torch.from_numpy(world.held)] = tables.items_from_text[torch.from_numpy(world.held)]
            rows.append(
                {"text": source, "method": f"{label}; users as mean of latents", "seed": seed}
                | retrieval(_mean_of_history(joint, world.queries) @ _unit(joint).T, world)
            )
    return rows


def _fresh(text: Any, world: World) -> Any:
    return type(text)(text.config, item_texts(world.prepared.catalogue, text.config))


def align(cls: Any, config: Any, backbone: Any, text: Any, train: Interactions, seed: int) -> tuple[Any, Embeddings]:
    seed_all(derive_seed(seed, "align"))
    aligner = cls(config, int(backbone.item_embeddings().shape[1]), text.dim)
    joint = Joint(backbone, aligner, text, frozen_backbone=True)
    if aligner.closed_form:
        aligner.fit(Fitting(train, text, backbone))
    else:
        batches = aligner.batches(backbone, train, config.fit)
        fit_best(joint, batches, config.fit, seed=seed, label="align", device="cpu")
    joint.eval()
    job = Fitting(train, text, tables={"items": backbone.item_embeddings().detach()})
    return aligner, Embeddings.of(aligner.export(job))


def baseline(world: World, text: Any, source: str, seed: int) -> list[dict[str, Any]]:
    """Text kNN (no backbone), and the backbone's own vectors of items that it never saw."""
    table = text.rows("items")
    centred = _unit(table - table.mean(0))
    query = torch.cat(
        [world.cold.user_embeddings(world.queries.slice(a, a + 512)) for a in range(0, len(world.queries), 512)]
    )
    with torch.no_grad():
        alone = query @ world.cold.item_embeddings().T
    chance = torch.rand(alone.shape, generator=torch.Generator().manual_seed(seed))
    return [
        {"text": source, "method": "text kNN", "seed": seed}
        | retrieval(_mean_of_history(table, world.queries) @ centred.T, world),
        {"text": "-", "method": "backbone alone", "seed": seed} | retrieval(alone, world),
        {"text": "-", "method": "chance", "seed": seed} | retrieval(chance, world),
    ]


def agreement(joint: Tensor, text: Tensor, held: np.ndarray) -> dict[str, float]:
    """How near held-out items' text latents are to their own joint latents, in ranks among the held-out items."""
    rows = torch.from_numpy(np.flatnonzero(held))
    others = torch.from_numpy(np.flatnonzero(~held))
    e, q = joint[rows] - joint[others].mean(0), text[rows] - text[others].mean(0)
    similar = _unit(q) @ _unit(e).T
    own = similar.diagonal()[:, None]
    rank = (similar > own).sum(1).double()
    return {
        "agreement_percentile": float(1 - rank.mean() / max(len(rows) - 1, 1)),
        "agreement_hit@10": float((rank < 10).double().mean()),
        "agreement_cosine": float(own.mean()),
    }


def retrieval(scores: Tensor, world: World) -> dict[str, float]:
    """Hit@10 of the cold target among the cold items, Hit@10 and @50 among all unseen items."""
    scores = scores.detach().clone()
    owners = np.repeat(np.arange(len(world.queries)), world.queries.lengths())
    scores[owners, world.queries.items] = -torch.inf
    own = scores[torch.arange(len(scores)), torch.from_numpy(world.targets)][:, None]
    held = torch.from_numpy(world.held)
    among_cold = (scores[:, held] >= own).sum(1) - 1  # a tie counts against the method
    among_all = (scores >= own).sum(1) - 1
    return {
        "cold_hit@10": float((among_cold < 10).double().mean()),
        "full_hit@10": float((among_all < 10).double().mean()),
        "full_hit@50": float((among_all < 50).double().mean()),
    }


def _mean_of_history(table: Tensor, queries: Queries) -> Tensor:
    centred = _unit(table - table.mean(0))
    owners = torch.from_numpy(np.repeat(np.arange(len(queries)), queries.lengths()))
    sums = torch.zeros(len(queries), table.shape[1]).index_add_(
        0, owners, centred[torch.from_numpy(queries.items.astype(np.int64))]
    )
    return _unit(sums)


def _unit(table: Tensor) -> Tensor:
    return torch.nn.functional.normalize(table, dim=-1)


def _print(rows: list[dict[str, Any]]) -> None:
    names = [
        "agreement_percentile",
        "agreement_hit@10",
        "agreement_cosine",
        "cold_hit@10",
        "full_hit@10",
        "full_hit@50",
        "seconds",
    ]
    print(f"{'text':18}{'method':62}" + "".join(f"{name.replace('agreement', 'agr'):>16}" for name in names))
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["text"], row["method"]), []).append(row)
    for (text, method), group in groups.items():
        cells = [np.mean([r[n] for r in group]) if n in group[0] else float("nan") for n in names]
        print(f"{text:18}{method:62}" + "".join(f"{cell:16.4f}" for cell in cells))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--share", type=float, default=0.1, help="share of the items that is held out")
    parser.add_argument("--epochs", type=int, default=60, help="of the backbone, at most")
    parser.add_argument("--texts", nargs="+", default=["sbert", "lsa"])
    parser.add_argument("--trainable", action="store_true", help="also fine-tune the sentence encoder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default=None, help="JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
