"""Queries against slow, plain loops; batches; the scores of a table; what the joint module freezes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.scorer import TableScorer
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.training.joint import Joint

histories = st.lists(st.lists(st.integers(0, 9), max_size=7), max_size=6)


def as_lists(queries: Queries) -> list[list[int]]:
    return [[int(i) for i in queries.history(row)] for row in range(len(queries))]


@given(histories)
def test_queries_keep_the_histories(lists: list[list[int]]) -> None:
    queries = Queries.of(lists)
    assert as_lists(queries) == lists
    assert queries.lengths().tolist() == [len(h) for h in lists]
    assert queries.users.tolist() == [-1] * len(lists)


@given(histories, st.integers(0, 9))
def test_padded_is_the_last_items_behind_padding(lists: list[list[int]], length: int) -> None:
    got = Queries.of(lists).padded(length)
    assert got.shape == (len(lists), length)
    for row, history in enumerate(lists):
        last = history[-length:] if length else []
        assert got[row].tolist() == [PAD] * (length - len(last)) + last


@given(histories, st.data())
def test_take_is_indexing(lists: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8)) if lists else []
    users = np.arange(len(lists)) * 10
    taken = Queries.of(lists, users).take(np.asarray(rows, np.int64))
    assert as_lists(taken) == [lists[r] for r in rows]
    assert taken.users.tolist() == [r * 10 for r in rows]
    assert taken.padded(3).shape == (len(rows), 3)


@given(histories, st.integers(0, 7), st.integers(0, 9))
def test_slice_is_slicing(lists: list[list[int]], start: int, length: int) -> None:
    start = min(start, len(lists))
    part = Queries.of(lists, np.arange(len(lists))).slice(start, start + length)
    assert as_lists(part) == lists[start : start + length]
    assert part.users.tolist() == list(range(len(lists)))[start : start + length]
    assert np.array_equal(part.padded(4), Queries.of(lists).padded(4)[start : start + length])


def test_a_slice_of_a_slice_still_reads_its_own_items() -> None:
    inner = Queries.of([[1], [2, 3], [4, 5, 6], []]).slice(1, 4).slice(1, 3)
    assert as_lists(inner) == [[4, 5, 6], []]
    assert inner.take(np.asarray([1, 0])).padded(2).tolist() == [[PAD, PAD], [5, 6]]


def test_batches_move_whole_and_know_their_length() -> None:
    batch = Batch(torch.arange(3), torch.arange(3), histories=torch.full((3, 2), PAD))
    moved = batch.to("cpu")
    assert len(moved) == 3
    assert moved.negatives is None
    assert torch.equal(moved.histories, batch.histories)


class Dots(Backbone):
    """Two fixed tables; the user of a query is the mean of its items."""

    def __init__(self, train: Interactions, bias: bool = False) -> None:
        super().__init__(self.Config(), train)
        self.items = torch.nn.Parameter(torch.arange(float(train.num_items * 2)).view(-1, 2))
        self.own_bias = bias
        self.drop = torch.nn.Dropout(0.5)

    def input_embeddings(self) -> Embeddings:
        return Embeddings(None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        return Encoded(inputs, self.drop(inputs.items[batch.positives]))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        return {"own": encoded.query.square().mean()}

    def user_embeddings(self, queries: Queries) -> Tensor:
        rows = [self.items[torch.as_tensor(np.asarray(queries.history(r)))].sum(0) for r in range(len(queries))]
        return torch.stack(rows)

    def item_embeddings(self) -> Tensor:
        return self.items

    def item_bias(self) -> Tensor | None:
        return torch.tensor([100.0, 0.0, -100.0]) if self.own_bias else None


@pytest.fixture
def three_items() -> Interactions:
    return Interactions.of(np.array(["u"]), np.array(["a", "b", "c"]), np.zeros(2, int), np.array([0, 1]))


@pytest.mark.parametrize("bias", [False, True])
def test_scores_of_candidates_are_the_same_numbers_as_of_the_whole_catalogue(
    three_items: Interactions, bias: bool
) -> None:
    backbone, queries = Dots(three_items, bias), Queries.of([[1], []])
    full = backbone.score(queries)
    shift = [100, 0, -100] if bias else [0, 0, 0]
    # items are (0, 1), (2, 3), (4, 5); the first query's vector is (2, 3)
    assert full.tolist() == [[3 + shift[0], 13, 23 + shift[2]], [shift[0], 0, shift[2]]]
    candidates = np.array([[2, 0], [1, 1]])
    assert np.array_equal(backbone.score(queries, candidates), np.take_along_axis(full, candidates, 1))
    assert full.dtype == np.float32


def test_a_table_ranker_scores_as_its_table(three_items: Interactions) -> None:
    backbone, queries = Dots(three_items), Queries.of([[1], [0, 2]])
    scorer = TableScorer(backbone.item_embeddings().detach(), lambda q: backbone.user_embeddings(q).detach())
    candidates = np.array([[2, 0], [1, 1]])
    assert scorer.num_items == 3
    assert np.array_equal(scorer.score(queries), backbone.score(queries))
    assert np.array_equal(scorer.score(queries, candidates), backbone.score(queries, candidates))


class Scaled(Aligner):
    """An aligner with one parameter and one loss."""

    def __init__(self) -> None:
        super().__init__(self.Config(), 2, 0)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, encode, inputs, text, batch):  # type: ignore[no-untyped-def]
        encoded = encode(inputs, batch)
        return encoded, {"align": (encoded.query * self.scale).square().mean()}


def test_the_joint_module_adds_the_losses_of_its_parts(three_items: Interactions) -> None:
    batch = Batch(torch.zeros(2, dtype=torch.long), torch.tensor([0, 2]))
    joint = Joint(Dots(three_items), Scaled()).eval()
    assert {name: float(v) for name, v in joint(batch).items()} == {"own": 10.5, "align": 10.5}
    assert set(Joint(Dots(three_items), Aligner(Aligner.Config(), 2, 0))(batch)) == {"own"}


def test_a_frozen_backbone_has_no_loss_no_gradient_and_no_dropout(three_items: Interactions) -> None:
    backbone = Dots(three_items)
    joint = Joint(backbone, Scaled(), frozen_backbone=True)
    joint.train()
    assert joint.aligner.training
    assert not backbone.drop.training
    losses = joint(Batch(torch.zeros(2, dtype=torch.long), torch.tensor([0, 2])))
    assert set(losses) == {"align"}
    losses["align"].backward()
    assert backbone.items.grad is None
    assert joint.aligner.scale.grad is not None
