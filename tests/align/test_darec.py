"""DaRec (a reconstruction): its terms, their weights, and what the planted world shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.align.planted import Planted

from interlingua.align.darec import DaRec, DaRecConfig
from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError
from interlingua.nn.contrast import unit
from interlingua.nn.structure import centre_gap, similarity_gap
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all
from interlingua.vectors.frozen import FrozenRows

BATCH = Batch(torch.tensor([0, 4, 4, 2]), torch.tensor([2, 3, 3, 0]), torch.tensor([1, 1, 6, 2]))
TERMS = {"orthogonal", "uniform", "global", "local"}
WIDTH = 16


def pair(planted: Planted, text: FrozenRows, **options: Any) -> Joint:
    seed_all(1)
    config = LightGcnConfig(
        embedding_dim=WIDTH, num_layers=1, fit=FitConfig(epochs=20, batch_size=256, learning_rate=0.01)
    )
    backbone = LightGcn(config, planted.data.split.train)
    return Joint(backbone, DaRec(DaRecConfig(**options), WIDTH, text.dim), text)


def train(planted: Planted, joint: Joint) -> None:
    def loop(batches: Any, config: FitConfig) -> Any:
        return list(fit(joint, batches, config, seed=1, device="cpu"))

    joint.aligner.fit(Fitting(planted.data.split.train, joint.text, joint.backbone, loop=loop))


def test_every_term_is_finite_and_reaches_its_networks(planted: Planted) -> None:
    joint = pair(planted, planted.text())
    losses = joint(BATCH)
    assert losses.keys() >= TERMS
    assert all(bool(torch.isfinite(value)) for value in losses.values())
    assert all(float(losses[name]) > 0 for name in TERMS - {"uniform"})
    sum(losses[name] for name in TERMS).backward()  # type: ignore[union-attr]
    for part in ("vector_shared", "vector_specific", "text_shared", "text_specific"):
        assert all(bool(p.grad.any()) for p in joint.aligner.get_submodule(part).parameters()), part  # type: ignore[union-attr]
    assert bool(joint.backbone.items.grad.any())  # type: ignore[union-attr]


def test_without_the_specific_parts_it_is_the_matching_of_structures(planted: Planted) -> None:
    joint = pair(planted, planted.text(), orthogonal_weight=0, uniform_weight=0, weight=0.3, local_weight=2.0)
    losses = joint(BATCH)
    assert losses.keys() & TERMS == {"global", "local"}
    encoded, aligner = joint.backbone.encode(joint.backbone.input_embeddings(), BATCH), joint.aligner
    expected = {"global": 0.0, "local": 0.0}
    for side, nodes in (("users", [0, 2, 4]), ("items", [0, 1, 2, 3, 6])):
        table = getattr(encoded.tables, side)
        left = aligner.vector_shared(table)[nodes]
        right = aligner.text_shared(joint.text.rows(side))[nodes]  # type: ignore[union-attr, arg-type]
        expected["global"] += 0.3 * float(similarity_gap(left, right))
        labels = aligner._labels[side]
        expected["local"] += 0.6 * float(centre_gap(left, right, labels[0][nodes], labels[1][nodes]))
    assert {name: float(losses[name]) for name in expected} == pytest.approx(expected, rel=1e-4)


def test_clusters_are_those_of_all_rows_and_new_in_every_epoch(planted: Planted) -> None:
    joint = pair(planted, planted.text(), num_clusters=3)
    options, split = joint.backbone.config.fit, planted.data.split
    make = joint.aligner.batches(joint.backbone, split.train, options)
    first = next(iter(make(0, np.random.default_rng(0))))
    joint(first)
    labels = joint.aligner._labels["users"][0]
    assert labels.shape == (split.train.num_users,)
    assert set(labels.tolist()) <= {0, 1, 2}
    joint(first)
    assert joint.aligner._labels["users"][0] is labels
    next(iter(make(1, np.random.default_rng(0))))
    assert not joint.aligner._labels


def neighbours(vectors: torch.Tensor, count: int = 5) -> torch.Tensor:
    similar = unit(vectors) @ unit(vectors).T
    return similar.fill_diagonal_(-2).topk(count).indices


def test_shared_parts_of_both_sides_get_the_same_neighbours(planted: Planted) -> None:
    """By chance 0.07 of the nearest five are the same; texts dealt out at random can be matched much less."""
    warm = torch.as_tensor(planted.data.split.train.item_counts > 0)

    def overlap(joint: Joint) -> float:
        text = joint.text
        with torch.no_grad():
            left = joint.aligner.vector_shared(joint.backbone.item_embeddings())[warm]
            right = joint.aligner.text_shared(text.rows("items"))[warm]  # type: ignore[union-attr]
        pairs = zip(neighbours(left).tolist(), neighbours(right).tolist(), strict=True)
        return float(np.mean([len(set(a) & set(b)) / 5 for a, b in pairs]))

    found = []
    for control in ("none", "shuffled"):
        joint = pair(planted, planted.text(control))
        assert overlap(joint.eval()) < 0.1
        train(planted, joint)
        found.append(overlap(joint.eval()))
    assert found[0] > 0.25
    assert found[0] > 2 * found[1]


def test_without_user_texts_the_error_says_where_they_could_come_from(planted: Planted) -> None:
    joint = pair(planted, planted.text())
    with pytest.raises(ConfigError, match=r"text\.users = 'items'"):
        joint.aligner.start(joint.backbone, FrozenRows(planted.text().items))
