"""MMREC: the logit is the one of the formula, and a source of vectors that decides the labels is what is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from interlingua.backbones.mmrec import Mmrec, MmrecConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fitting import Fitting
from interlingua.data.catalogue import Catalogue
from interlingua.data.interactions import Interactions
from interlingua.data.prepare import prepare
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, fit_best, seed_all
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


def fitted(model: Mmrec, train: Interactions, table: torch.Tensor, catalogue: Catalogue) -> Mmrec:
    """After the fit of a run."""
    joint = Joint(model, Aligner(Aligner.Config(), 0, 0))
    model.fit(
        Fitting(
            train, FrozenRows(table), catalogue=catalogue,
            loop=lambda batches, config: fit_best(joint, batches, config, seed=1, device="cpu"),
        )
    )  # fmt: skip
    return model


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


def test_columns_that_nobody_gave_are_refused(world: Dataset) -> None:
    model = Mmrec(MmrecConfig(), world.split.train)
    with pytest.raises(ConfigError, match=r"reads columns of the catalogue \(categories\), and was given no catalogue"):
        model.start(world.split.train, FrozenRows(vectors(world)))
    Mmrec(MmrecConfig(fields=[]), world.split.train).start(world.split.train, FrozenRows(vectors(world)))


def test_a_strangers_question_reads_no_training_events(world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    train, table = world.split.train, vectors(world)
    model = fitted(made(world, table), train, table, lines(world))
    strangers = Queries.of([[0, 3], [], [7]])
    weights = model.users.detach()
    of_item = [weights[train.users[train.items == item]] for item in range(train.num_items)]
    mean = torch.stack([own.mean(0) if len(own) else weights.mean(0) for own in of_item])
    expected = torch.stack([mean[[0, 3]].mean(0), weights.mean(0), mean[7]])
    scores = model.score(strangers)
    assert torch.allclose(model.user_embeddings(strangers), expected, atol=1e-6)
    again = Mmrec(model.config, train.filter(np.zeros(len(train), np.bool_)))  # without any event
    again.read_catalogue(lines(world))
    again.start(train, FrozenRows(table))
    again.load_state_dict(model.state_dict())
    monkeypatch.setattr(Mmrec, "mean_readers", None)
    assert np.array_equal(again.score(strangers), scores)


def test_an_item_without_events_is_not_learned_as_one_that_nobody_likes() -> None:
    """Two groups of users and of items, by their vectors; a fifth of the items has no event; no labels."""
    users, items, rng = 60, 40, np.random.default_rng(0)
    cold = np.arange(items) % 10 < 2
    pairs = [
        (user, item)
        for user in range(users)
        for item in rng.choice(np.flatnonzero(~cold & (np.arange(items) % 2 == user % 2)), 8, replace=False)
    ]
    names = [np.array([f"{side}{n}" for n in range(count)]) for side, count in (("u", users), ("i", items))]
    train = Interactions.of(*names, *np.array(pairs).T)
    table = 0.1 * torch.randn(items, 6, generator=torch.Generator().manual_seed(1))
    table[:, 0] = torch.where(torch.arange(items) % 2 == 0, 1.0, -1.0)
    seed_all(3)
    options = MmrecConfig.model_validate(
        {
            "embedding_dim": 4,
            "layers": [8],
            "fields": [],
            "fit": {"epochs": 20, "batch_size": 32, "learning_rate": 0.01},
        }
    )
    model = fitted(Mmrec(options, train), train, table, Catalogue(pl.DataFrame({"item_id": names[1]})))
    scores, above = model.score(train.queries(np.arange(users))), []
    for user in range(users):
        liked = np.arange(items) % 2 == user % 2
        unseen = liked & ~cold & ~np.isin(np.arange(items), train.items[train.users == user])
        above.append((scores[user][liked & cold][:, None] > scores[user][unseen]).mean())
        assert scores[user][liked & cold].mean() > scores[user][~liked & ~cold].mean()
    assert np.mean(above) > 0.5
