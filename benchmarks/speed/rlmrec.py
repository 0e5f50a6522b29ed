"""Seconds per epoch of RLMRec at its Amazon-book shape, beside a plain implementation of the authors' loop.

    python benchmarks/speed/rlmrec.py --out results/rlmrec.json

One thread, 11,000 users x 9,332 items, 120,464 training pairs, width 32, batches of 4,096 (30 steps). The plain loop
is written here after the authors' procedure: COO products, negatives in a Python loop, the profile network over all
users and items in every step, InfoNCE as one matrix. Both sides take the same few steps in turn, and the medians are
scaled to 30; before that, both must give the same losses. ``--grow`` measures 100,000 and 1,000,000 users.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from header import header
from torch import Tensor, nn
from torch.nn import functional

from interlingua.align.contrastive import Contrastive, ContrastiveConfig
from interlingua.align.masked import Masked, MaskedConfig
from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.config import FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.split import GroundTruth, Split
from interlingua.evaluate.protocol import validation_metrics
from interlingua.runs import recipe as recipes
from interlingua.training.joint import Joint
from interlingua.vectors.frozen import FrozenRows
from interlingua.vectors.rows import directions

USERS, ITEMS, PAIRS, WIDTH, BATCH, STEPS, TEXT = 11_000, 9_332, 120_464, 32, 4096, 30, 1536
FIT = FitConfig(learning_rate=1e-3, batch_size=BATCH)


def world(users: int, items: int, pairs: int, seed: int = 0) -> Interactions:
    """Random distinct pairs; item popularity falls off like 1 / rank, as real catalogues do."""
    rng = np.random.default_rng(seed)
    chances = 1 / np.arange(10, items + 10)
    drawn = rng.choice(items, size=int(pairs * 1.5), p=chances / chances.sum())
    keys = np.unique(rng.integers(0, users, len(drawn)) * items + drawn)
    keys = rng.permutation(keys)[:pairs]
    names = [np.arange(n).astype(str) for n in (users, items)]
    return Interactions.of(names[0], names[1], keys // items, keys % items)


class Plain(nn.Module):
    """LightGCN, alone or aligned, as the authors' loop computes it."""

    def __init__(self, train: Interactions, text: FrozenRows | None, kind: str) -> None:
        super().__init__()
        self.kind, self.users_count = kind, train.num_users
        self.users = nn.Parameter(nn.init.xavier_uniform_(torch.empty(train.num_users, WIDTH)))
        self.items = nn.Parameter(nn.init.xavier_uniform_(torch.empty(train.num_items, WIDTH)))
        self.text = text
        nodes = train.num_users + train.num_items
        left = torch.as_tensor(train.users.astype(np.int64))
        right = torch.as_tensor(train.items.astype(np.int64)) + train.num_users
        index = torch.stack([torch.cat([left, right]), torch.cat([right, left])])
        degree = torch.bincount(index[0], minlength=nodes).float().clamp_min(1)
        values = (degree[index[0]] * degree[index[1]]).rsqrt()
        self.adjacency = torch.sparse_coo_tensor(index, values, (nodes, nodes)).coalesce()
        if text is not None:
            ends = (text.dim, WIDTH) if kind == "con" else (WIDTH, text.dim)
            hidden = sum(ends) // 2
            self.map = nn.Sequential(nn.Linear(ends[0], hidden), nn.LeakyReLU(), nn.Linear(hidden, ends[1]))
        self.token = nn.Parameter(torch.zeros(1, WIDTH)) if kind == "gen" else None

    def forward(self, batch: Batch, keep_rate: float = 0.8) -> dict[str, Tensor]:
        layer = torch.cat([self.users, self.items])
        chosen = None
        if self.token is not None:
            chosen = torch.randperm(len(layer))[: int(len(layer) * 0.15)]
            hidden = torch.zeros(len(layer), 1)
            hidden[chosen] = 1
            layer = layer * (1 - hidden) + self.token * hidden
        matrix = self.adjacency
        if keep_rate < 1:
            kept = (torch.rand(matrix._nnz()) + keep_rate).floor().bool()
            matrix = torch.sparse_coo_tensor(matrix.indices()[:, kept], matrix.values()[kept], matrix.shape)
        layers = [layer]
        for _ in range(3):
            layers.append(torch.sparse.mm(matrix, layers[-1]))
        total = sum(layers)
        users, items = total[: self.users_count], total[self.users_count :]
        user, good, bad = users[batch.users], items[batch.positives], items[batch.negatives]
        out = {"bpr": functional.softplus((user * bad).sum(-1) - (user * good).sum(-1)).sum() / len(batch)}
        if self.kind == "con":
            said, told = self.map(self.text.users), self.map(self.text.items)
            mine, yes, no = said[batch.users], told[batch.positives], told[batch.negatives]
            loss = full(user, mine, said, 0.2) + full(good, yes, yes, 0.2) + full(bad, no, no, 0.2)
            out["align"] = 0.01 * loss / len(batch)
        if self.kind == "gen":
            texts = torch.cat([self.text.users, self.text.items])[chosen]
            out["align"] = 0.1 * full(self.map(total[chosen]), texts, texts, 0.5) / len(chosen)
        return out


def full(a: Tensor, b: Tensor, pool: Tensor, temperature: float) -> Tensor:
    """InfoNCE as one matrix, summed over rows."""
    a, b, pool = (x / torch.sqrt(1e-8 + x.square().sum(-1, keepdim=True)) for x in (a, b, pool))
    return (torch.log(torch.exp(a @ pool.T / temperature).sum(-1)) - (a * b / temperature).sum(-1)).sum()


def plain_batches(train: Interactions) -> Iterator[Batch]:
    """Shuffled pairs; each negative is drawn in Python until it is none of the user's items."""
    seen = set(zip(train.users.tolist(), train.items.tolist(), strict=True))
    negatives = np.zeros(len(train), np.int64)
    for row, user in enumerate(train.users.tolist()):
        while True:
            item = np.random.randint(train.num_items)
            if (user, item) not in seen:
                break
        negatives[row] = item
    order = np.random.permutation(len(train))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        parts = (train.users[rows].astype(np.int64), train.items[rows].astype(np.int64), negatives[rows])
        yield Batch(*(torch.as_tensor(part) for part in parts))


def ours(train: Interactions, aligner: Aligner | None = None, text: FrozenRows | None = None, **options: Any) -> Joint:
    """LightGCN with RLMRec's settings, alone or aligned."""
    settings = {"keep_rate": 0.8, **options}
    backbone = LightGcn(LightGcnConfig(embedding_dim=WIDTH, num_layers=3, layers="sum", l2=0.0, **settings), train)
    return Joint(backbone, aligner or Aligner(Aligner.Config(), 0, 0), text)


def stepper(module: nn.Module, batches: Iterator[Batch]) -> Callable[[], float]:
    """A function that takes one training step and returns its seconds."""
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-3, fused=True)
    module.train()

    def step() -> float:
        batch = next(batches)
        started = time.perf_counter()
        losses = module(batch)
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        optimizer.step()
        return time.perf_counter() - started

    return step


def forever(make: Callable[[int], Iterator[Batch]]) -> Iterator[Batch]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        yield from make(epoch)
        epoch += 1


def same_losses(train: Interactions, text: FrozenRows) -> dict[str, float]:
    """Largest difference of a loss between both sides, on one batch with the same weights and nothing random."""
    batch = next(LightGcn(LightGcnConfig(embedding_dim=WIDTH), train).batches(train, FIT)(0, np.random.default_rng(0)))
    found = {}
    for kind, cls, options in (
        ("con", Contrastive, ContrastiveConfig()),
        ("gen", Masked, MaskedConfig(mask_ratio=0.15, temperature=0.5)),
    ):
        torch.manual_seed(0)
        plain, mine = Plain(train, text, kind), ours(train, cls(options, WIDTH, text.dim), text, keep_rate=1.0)
        with torch.no_grad():
            mine.backbone.users.copy_(plain.users)
            mine.backbone.items.copy_(plain.items)
        mine.aligner.map.load_state_dict(plain.map.state_dict())
        torch.manual_seed(1)
        theirs = plain(batch, keep_rate=1.0)
        torch.manual_seed(1)
        found[kind] = max(abs(float(theirs[name]) - float(value)) for name, value in mine(batch).items())
    return found


def measure(train: Interactions, repeats: int) -> list[dict[str, Any]]:
    """One row per variant: seconds per epoch, ours and plain, their ratio, and against our own base epoch."""
    torch.manual_seed(0)
    wide = FrozenRows(torch.randn(train.num_items, TEXT), torch.randn(train.num_users, TEXT))
    basis = directions(wide.users, wide.items, 128)
    users, items = wide.users @ basis, wide.items @ basis
    slim = FrozenRows(items, users)
    sides: dict[str, tuple[nn.Module, nn.Module | None]] = {
        "LightGCN": (ours(train), Plain(train, None, "base")),
        "LightGCN Con, 1,536-d": (
            ours(train, Contrastive(ContrastiveConfig(), WIDTH, TEXT), wide), Plain(train, wide, "con"),
        ),
        "LightGCN Gen, 1,536-d": (
            ours(train, Masked(MaskedConfig(mask_ratio=0.15, temperature=0.5), WIDTH, TEXT), wide),
            Plain(train, wide, "gen"),
        ),
        "LightGCN Con, 128-d": (ours(train, Contrastive(ContrastiveConfig(), WIDTH, 128), slim), None),
        "LightGCN Con, 128-d, users in batch": (
            ours(train, Contrastive(ContrastiveConfig(user_candidates="batch"), WIDTH, 128), slim), None,
        ),
        "LightGCN Gen, 128-d": (
            ours(train, Masked(MaskedConfig(mask_ratio=0.15, temperature=0.5), WIDTH, 128), slim), None,
        ),
        "LightGCN Con, 128-d, 512 anchors": (
            ours(train, Contrastive(ContrastiveConfig(contrast_anchors=512), WIDTH, 128), slim), None,
        ),
        "LightGCN Gen, 128-d, 512 anchors": (
            ours(
                train, Masked(MaskedConfig(mask_ratio=0.15, temperature=0.5, contrast_anchors=512), WIDTH, 128), slim
            ), None,
        ),
    }  # fmt: skip
    for name in ("gccf", "sgl", "simgcl", "dccf", "autocf"):
        for anchors in (None, 512) if name != "gccf" else (None,):
            changes = [] if anchors is None else [f"backbone.contrast_anchors={anchors}"]
            part = recipes.load(f"paper/rlmrec/amazon-{name}", changes).backbone
            assert part is not None
            label = name if anchors is None else f"{name}, {anchors} anchors"
            sides[label] = (Joint(part.cls(part.config, train), Aligner(Aligner.Config(), 0, 0)), None)
    part = recipes.load("paper/rlmrec/amazon-simgcl", ["backbone.contrast=1024"]).backbone
    assert part is not None
    sides["simgcl, 1,024 sampled nodes"] = (
        Joint(part.cls(part.config, train), Aligner(Aligner.Config(), 0, 0)), None,
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for name, (mine, theirs) in sides.items():
        backbone = mine.backbone
        make = backbone.batches(train, FIT)
        rng = np.random.default_rng(0)
        started = time.perf_counter()
        list(make(0, rng))
        drawing = time.perf_counter() - started
        step = stepper(mine, forever(lambda _, make=make, rng=rng: make(0, rng)))
        fast: list[float] = []
        slow: list[float] = []
        plain_drawing = 0.0
        if theirs is not None:
            started = time.perf_counter()
            drawn = list(plain_batches(train))
            plain_drawing = time.perf_counter() - started
            plain = stepper(theirs, iter(drawn * 2))
            plain()
        step()
        for _ in range(repeats):  # in turn: whatever else the machine does hits both alike
            fast.append(step())
            if theirs is not None:
                slow.append(plain())
        row: dict[str, Any] = {"variant": name, "epoch s": round(STEPS * statistics.median(fast) + drawing, 2)}
        row["times base"] = round(row["epoch s"] / rows[0]["epoch s"], 2) if rows else 1.0
        row["plain epoch s"] = round(STEPS * statistics.median(slow) + plain_drawing, 2) if slow else None
        row["plain / ours"] = round(row["plain epoch s"] / row["epoch s"], 2) if slow else None
        rows.append(row)
        print(row, flush=True)
    return rows


def evaluation(train: Interactions) -> dict[str, Any]:
    """Seconds to rank the catalogue for 9,857 users: ours, and the authors' way (a dense block, a set per user)."""
    rng = np.random.default_rng(1)
    who = np.sort(rng.permutation(train.num_users)[:9857])
    offsets = np.arange(len(who) + 1) * 4
    held = GroundTruth(who, rng.integers(0, train.num_items, 4 * len(who)).astype(np.int32), offsets)
    backbone = ours(train).backbone.eval()
    split = Split(train, held, held, "benchmark", valid_in_test_history=False)
    validation_metrics(backbone, split)
    started = time.perf_counter()
    validation_metrics(backbone, split)
    mine = time.perf_counter() - started
    tables = backbone.final()
    started = time.perf_counter()
    hits = 0.0
    dense = train.matrix()
    for start in range(0, len(who), 1024):
        block = who[start : start + 1024]
        scores = tables.users[torch.as_tensor(block)] @ tables.items.T
        scores = scores - 1e8 * torch.as_tensor(dense[block].toarray(), dtype=torch.float32)
        top = torch.topk(scores, 20).indices.numpy()
        for row in range(len(block)):
            wanted = set(held.items[4 * (start + row) : 4 * (start + row + 1)].tolist())
            for k in (5, 10, 20):
                hits += np.array([item in wanted for item in top[row, :k].tolist()]).astype(float).sum() / len(wanted)
    return {"ours s": round(mine, 2), "plain s": round(time.perf_counter() - started, 2)}


def grow(out: list[dict[str, Any]]) -> None:
    """LightGCN with Con in the batch, texts of 128 dimensions, 10 events per user."""
    for users, items in ((11_000, 9_332), (100_000, 50_000), (1_000_000, 200_000)):
        train = world(users, items, 10 * users)
        text = FrozenRows(torch.randn(items, 128), torch.randn(users, 128))
        base = ours(train)
        con = ours(train, Contrastive(ContrastiveConfig(user_candidates="batch"), WIDTH, 128), text)
        row: dict[str, Any] = {"users": users, "items": items, "pairs": len(train)}
        for name, module in (("base", base), ("Con", con)):
            make = module.backbone.batches(train, FIT)
            step = stepper(module, make(0, np.random.default_rng(0)))
            step()
            seconds = statistics.median(step() for _ in range(3))
            row[f"{name} epoch s"] = round(seconds * -(-len(train) // BATCH), 1)
        row["peak GiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
        out.append(row)
        print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--grow", action="store_true", help="also 100,000 and 1,000,000 users")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train = world(USERS, ITEMS, PAIRS)
    torch.manual_seed(0)
    wide = FrozenRows(torch.randn(ITEMS, TEXT), torch.randn(USERS, TEXT))
    result: dict[str, Any] = {
        **header(__file__),
        "threads": 1,
        "largest loss difference": same_losses(train, wide),
    }
    print(result["largest loss difference"], flush=True)
    result["rows"] = measure(train, options.repeats)
    result["evaluation"] = evaluation(train)
    result["peak GiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    if options.grow:
        result["growth"] = []
        grow(result["growth"])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
