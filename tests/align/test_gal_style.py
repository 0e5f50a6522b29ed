"""Gal-style: means over hops and the contrast with a queue by hand, what the losses read, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from tests.align.planted import Planted

from interlingua.align.gal_style import GalStyle, GalStyleConfig
from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.config import FitConfig
from interlingua.errors import ConfigError
from interlingua.nn.contrast import unit
from interlingua.nn.hop_means import hop_means
from interlingua.nn.key_queue import EMPTY, enqueue, queue_infonce
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all
from interlingua.vectors.frozen import FrozenRows

WIDTH = 16


def pair(planted: Planted, text: FrozenRows, **options: Any) -> Joint:
    seed_all(1)
    config = LightGcnConfig(embedding_dim=WIDTH, num_layers=1, fit=FitConfig(epochs=10, batch_size=256))
    backbone = LightGcn(config, planted.data.split.train)
    return Joint(backbone, GalStyle(GalStyleConfig(**options), WIDTH, text.dim), text)


def test_hops_are_worked_by_hand() -> None:
    """User 0 has items 0 and 1, user 1 has item 1, user 2 has none; the two hops of user 0 are user 1 alone."""
    graph = sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32))
    users, items = torch.tensor([[1.0], [10.0], [100.0]]), torch.tensor([[2.0], [4.0], [8.0]])
    found = hop_means(graph, users, items)
    assert found.one.flatten().tolist() == [3, 4, 0]
    assert found.two.flatten().tolist() == pytest.approx([10, 1, 0])
    assert found.has_one.tolist() == found.has_two.tolist() == [True, True, False]
    of_items = hop_means(graph.T.tocsr(), items, None)
    assert of_items.two.flatten().tolist() == pytest.approx([4, 2, 0])
    assert len(of_items.one) == 0


def test_a_node_stands_in_the_queue_once_and_the_oldest_go() -> None:
    nodes, keys = torch.full((3,), EMPTY), torch.zeros(3, 1)
    for new in ([4, 5], [5, 6], [5, 6]):
        nodes, keys = enqueue(nodes, keys, torch.tensor(new), torch.tensor(new)[:, None].float())
    assert nodes.tolist() == keys.flatten().tolist() == [5, 6, 4]
    assert enqueue(nodes, keys, torch.tensor([7]), torch.tensor([[7.0]]))[0].tolist() == [7, 5, 6]


def test_the_contrast_is_worked_by_hand_without_keys_of_the_same_node() -> None:
    anchors, positives = torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 4.0]])  # cosine 0.6
    nodes, keys = torch.tensor([7, 8, EMPTY]), torch.tensor([[1.0, 0.0], [0.0, 5.0], [9.0, 0.0]])
    own = math.exp(0.6 / 0.5)
    found = queue_infonce(anchors, positives, torch.tensor([7]), nodes, keys, 0.5)
    assert float(found) == pytest.approx(-math.log(own / (own + 1)), rel=1e-5)
    found = queue_infonce(anchors, positives, torch.tensor([3]), nodes, keys, 0.5)
    assert float(found) == pytest.approx(-math.log(own / (own + 1 + math.exp(2))), rel=1e-5)


def trained(planted: Planted, joint: Joint) -> Joint:
    joint.aligner.start(joint.backbone, joint.text)
    options = joint.backbone.config.fit
    batches = joint.aligner.batches(joint.backbone, planted.data.split.train, options)
    list(fit(joint, batches, options, seed=1, device="cpu"))
    return joint.eval()


def test_the_losses_are_the_contrasts_of_the_mapped_means(planted: Planted) -> None:
    joint = pair(planted, planted.text(), one_hop_weight=0.3, two_hop_weight=0.2)
    joint.aligner.start(joint.backbone, joint.text)
    train = planted.data.split.train
    batch = next(
        iter(joint.aligner.batches(joint.backbone, train, joint.backbone.config.fit)(0, np.random.default_rng(0)))
    )
    found = joint(batch)
    expected = {"one_hop": 0.0, "two_hop": 0.0}
    near = torch.from_numpy(train.matrix().toarray())
    tower, rows = joint.aligner.tower, {"users": joint.text.rows("users"), "items": joint.text.rows("items")}  # type: ignore[union-attr]
    for side, other, graph, nodes in (
        ("users", "items", near, batch.users.unique()), ("items", "users", near.T, batch.positives.unique()),
    ):  # fmt: skip
        mapped, keys = tower(rows[side]), tower(rows[side])[nodes]  # type: ignore[operator]
        one = graph @ tower(rows[other]) / graph.sum(1, keepdim=True).clamp_min(1)  # type: ignore[operator]
        walk = (graph / graph.sum(1, keepdim=True).clamp_min(1)) @ (graph.T / graph.T.sum(1, keepdim=True).clamp_min(1))
        walk.fill_diagonal_(0)
        two = walk @ mapped / walk.sum(1, keepdim=True).clamp_min(1e-12)
        for name, means, weight in (("one_hop", one, 0.3), ("two_hop", two, 0.2)):
            logits = unit(means[nodes]) @ unit(keys).T / 0.1
            expected[name] += weight * float(torch.nn.functional.cross_entropy(logits, torch.arange(len(nodes))))
    assert {name: float(found[name]) for name in expected} == pytest.approx(expected, rel=1e-3)


def test_a_tower_learns_to_tell_a_node_from_its_neighbourhood_and_shuffled_texts_cannot(planted: Planted) -> None:
    found = []
    for control in ("none", "shuffled"):
        joint = trained(planted, pair(planted, planted.text(control), one_hop_weight=1.0, two_hop_weight=1.0))
        hops, items = joint.aligner._hops["items"], joint.text.rows("items")  # type: ignore[union-attr, index]
        with torch.no_grad():
            own, two = (unit(joint.aligner.tower(each))[hops.has_two] for each in (items, hops.two))  # type: ignore[operator]
            similar = two @ own.T
        better = (similar > similar.diagonal()[:, None]).float().mean(1)
        found.append(float(better.mean()))
    assert found[0] < found[1] - 0.05, "the place of a node among all by its two hops"


def test_without_user_texts_the_error_says_where_they_could_come_from(planted: Planted) -> None:
    joint = pair(planted, planted.text())
    with pytest.raises(ConfigError, match=r"text\.users = 'items'"):
        joint.aligner.start(joint.backbone, FrozenRows(planted.text().items))
