"""MMREC: the logit is the one of the formula, and a source of vectors that decides the labels is what is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from interlingua.backbones.mmrec import Mmrec, MmrecConfig
from interlingua.contracts.aligner import Aligner
from interlingua.data.catalogue import Catalogue
from interlingua.data.prepare import prepare
from interlingua.data.prepared import Dataset
from interlingua.errors import ConfigError
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all
from interlingua.vectors.frozen import FrozenRows

USERS, ITEMS = 30, 40
KINDS = [None, "a", "a|b", "b, c"]


@pytest.fixture(scope="module")
def world() -> Dataset:
    """Items 0 to 19 are liked by all, the others by nobody; who had what is drawn."""
    rng = np.random.default_rng(0)
    pairs = [(user, item) for user in range(USERS) for item in rng.permutation(ITEMS)[:14]]
    frame = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user, _ in pairs],
            "item_id": [f"i{item}" for _, item in pairs],
            "rating": [5.0 if item < ITEMS // 2 else 1.0 for _, item in pairs],
            "timestamp": list(range(len(pairs))),
        }
    )
    return prepare(frame, label={"at_least": 4}, split="leave-one-out", quiet=True)


def number_of(world: Dataset) -> torch.Tensor:
    """(I,) the number in each item's name."""
    return torch.tensor([int(str(name)[1:]) for name in world.interactions.item_ids])


def vectors(world: Dataset, dim: int = 6) -> torch.Tensor:
    """(I, dim) of which the first entry decides the label."""
    table = 0.1 * torch.randn(len(number_of(world)), dim, generator=torch.Generator().manual_seed(1))
    table[:, 0] = torch.where(number_of(world) < ITEMS // 2, 1.0, -1.0)
    return table


def lines(world: Dataset) -> Catalogue:
    own = world.interactions.item_ids
    kinds = [KINDS[n % len(KINDS)] for n in range(len(own))]
    return Catalogue(
        pl.DataFrame({"item_id": [str(x) for x in own], "title": [str(x) for x in own], "categories": kinds})
    )


def made(world: Dataset, table: torch.Tensor, **options: Any) -> Mmrec:
    seed_all(3)
    chosen = {"embedding_dim": 4, "layers": [8, 5], "fit": {"epochs": 12, "batch_size": 32, "learning_rate": 0.01}}
    model = Mmrec(MmrecConfig(**chosen | options), world.split.train)
    model.read_catalogue(lines(world))
    model.read_texts({"image": FrozenRows(table.flip(0))})
    model.start(world.split.train, FrozenRows(table))
    return model


def test_a_score_is_the_perceptron_of_all_dot_products(world: Dataset) -> None:
    model = made(world, vectors(world), texts=["image"]).eval()
    users = np.arange(3)
    found = model.score(world.split.train.queries(users))
    embedding, codes = model.categories[0].table, ["a", "b", "c"]
    own = lines(world).categories
    with torch.no_grad():
        for user in users:
            for item in range(0, model.num_items, 7):
                kinds = [embedding[codes.index(kind)] for kind in sorted(own[item])]
                mean = sum(kinds) / len(kinds) if kinds else torch.zeros(4)  # type: ignore[arg-type]
                dense = [
                    field.weight @ ((table[item] - table.mean(0)) / (table - table.mean(0)).square().mean().sqrt())
                    + field.bias
                    for field, table in zip(model.dense, (vectors(world), vectors(world).flip(0)), strict=True)
                ]
                fields = [model.items[item], mean, *dense]
                inside = [fields[a] @ fields[b] for a in range(4) for b in range(a + 1, 4)]
                with_user = torch.stack([model.users[user] @ field for field in fields])
                x = model.item_half(torch.cat([*dense, torch.stack(inside)])) + model.user_half.weight @ with_user
                x = torch.relu(model.above[0](torch.relu(x)))
                assert found[user, item] == pytest.approx(float(model.out(x)), abs=1e-5)


def loss(world: Dataset, table: torch.Tensor) -> float:
    """Of items without their ids, after training."""
    model = made(world, table, id_dropout=0.5, fields=[])
    joint = Joint(model, Aligner(Aligner.Config(), 0, 0))
    list(fit(joint, model.batches(world.split.train, model.config.fit), model.config.fit, seed=1, device="cpu"))
    model.eval()
    scores = model.score_unseen(world.split.train.queries(np.arange(USERS)))
    labels = np.broadcast_to((number_of(world) < ITEMS // 2).numpy(), scores.shape)
    return float(np.logaddexp(0, np.where(labels, -scores, scores)).mean())


def test_vectors_that_decide_the_label_lower_the_loss_of_items_without_ids_and_shuffled_ones_do_not(
    world: Dataset,
) -> None:
    table = vectors(world)
    shuffled = table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
    assert loss(world, table) < 0.25
    assert loss(world, shuffled) > 2 * loss(world, table)


def test_a_source_that_is_not_there_is_named(world: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"reads \[texts.sound\], which is not there"):
        made(world, vectors(world), texts=["sound"])
