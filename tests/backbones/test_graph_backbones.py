"""LightGCN, GCCF, SGL and SimGCL beside dense formulas on a small graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.random_events import random_events
from torch.nn import functional

from interlingua.backbones._views import view_loss
from interlingua.backbones.gccf import Gccf, GccfConfig
from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.backbones.sgl import Sgl, SglConfig
from interlingua.backbones.simgcl import SimGcl, SimGclConfig
from interlingua.contracts.batch import Batch, Embeddings
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.nn.graph import as_nodes

USERS, ITEMS, WIDTH = 6, 8, 4


@pytest.fixture
def train() -> Interactions:
    return random_events(USERS, ITEMS, 25)


@pytest.fixture
def batch() -> Batch:
    return Batch(torch.tensor([0, 1, 1, 5]), torch.tensor([2, 3, 3, 0]), torch.tensor([1, 1, 7, 2]))


def dense(train: Interactions, self_loops: bool = False) -> torch.Tensor:
    """(N, N) the normalised adjacency."""
    adjacency = torch.zeros(USERS + ITEMS, USERS + ITEMS)
    adjacency[train.users.astype(int), train.items.astype(int) + USERS] = 1
    adjacency = adjacency + adjacency.T + (torch.eye(USERS + ITEMS) if self_loops else 0)
    root = adjacency.sum(1).clamp_min(1e-12).rsqrt()
    return adjacency * root[:, None] * root[None]


def made(cls: Any, config: Any, train: Interactions) -> Any:
    torch.manual_seed(0)
    return cls(config, train)


@pytest.mark.parametrize(("layers", "scale"), [("mean", 1 / 3), ("sum", 1.0)])
def test_lightgcn_adds_or_averages_its_layers(train: Interactions, layers: Any, scale: float) -> None:
    model = made(LightGcn, LightGcnConfig(embedding_dim=WIDTH, num_layers=2, layers=layers), train).eval()
    matrix, start = dense(train), as_nodes(model.input_embeddings())
    expected = scale * (start + matrix @ start + matrix @ matrix @ start)
    final = model.final()
    assert torch.allclose(torch.cat([final.users, final.items]), expected, atol=1e-6)
    scores = model.score(train.queries(np.arange(USERS)))
    assert np.allclose(scores, (expected[:USERS] @ expected[USERS:].T).detach().numpy(), atol=1e-6)


def test_lightgcn_losses_by_hand(train: Interactions, batch: Batch) -> None:
    model = made(LightGcn, LightGcnConfig(embedding_dim=WIDTH, num_layers=1, l2=0.5), train).train()
    found = model.losses(model.encode(model.input_embeddings(), batch), batch)
    start = as_nodes(model.input_embeddings())
    out = (start + dense(train) @ start) / 2
    user, good, bad = out[batch.users], out[USERS + batch.positives], out[USERS + batch.negatives]
    assert torch.allclose(found["bpr"], functional.softplus((user * bad).sum(1) - (user * good).sum(1)).mean())
    inputs = [start[batch.users], start[USERS + batch.positives], start[USERS + batch.negatives]]
    assert torch.allclose(found["l2"], 0.25 * sum(x.square().sum(1).mean() for x in inputs))


def test_lightgcn_forgets_its_final_vectors_when_weights_change(train: Interactions) -> None:
    model = made(LightGcn, LightGcnConfig(embedding_dim=WIDTH), train).eval()
    before = model.item_embeddings().clone()
    other = made(LightGcn, LightGcnConfig(embedding_dim=WIDTH), train)
    state = {name: value * 2 for name, value in other.state_dict().items()}
    model.load_state_dict(state)
    assert torch.allclose(model.item_embeddings(), 2 * before)


def test_lightgcn_drops_edges_only_while_training(train: Interactions, batch: Batch) -> None:
    model = made(LightGcn, LightGcnConfig(embedding_dim=WIDTH, keep_rate=0.5), train)
    whole = model.eval().encode(model.input_embeddings(), batch).query
    assert torch.equal(whole, model.encode(model.input_embeddings(), batch).query)
    model.train()
    torch.manual_seed(1)
    assert not torch.allclose(model.encode(model.input_embeddings(), batch).query, whole)


def test_softmax_loss_ranks_by_cosine(train: Interactions, batch: Batch) -> None:
    config = LightGcnConfig(embedding_dim=WIDTH, loss="softmax", num_negatives=5, softmax_temperature=0.5, l2=0.0)
    model = made(LightGcn, config, train).train()
    torch.manual_seed(4)
    found = model.losses(model.encode(model.input_embeddings(), batch), batch)["softmax"]
    torch.manual_seed(4)
    drawn = torch.randint(ITEMS, (5,))
    tables = model.smooth(model.input_embeddings())
    users, items = functional.normalize(tables.users), functional.normalize(tables.items)
    logits = users[batch.users] @ torch.cat([items[batch.positives], items[drawn]]).T / 0.5
    rows = torch.cat([logits[:, : len(batch)].diagonal()[:, None], logits[:, len(batch) :]], dim=1)
    assert torch.allclose(found, functional.cross_entropy(rows, torch.zeros(len(batch), dtype=torch.long)), atol=1e-5)
    assert torch.allclose(model.eval().item_embeddings().norm(dim=1), torch.ones(ITEMS), atol=1e-5)


def test_unknown_users_are_folded_in(train: Interactions) -> None:
    model = made(LightGcn, LightGcnConfig(embedding_dim=WIDTH), train).eval()
    history = train.queries(np.array([2])).history(0)
    known, unknown = Queries.of([history], np.array([2])), Queries.of([history], np.array([-1]))
    assert not np.allclose(model.score(known), model.score(unknown))
    assert np.isfinite(model.score(unknown)).all()


@pytest.mark.parametrize("transform", [True, False])
def test_gccf_concatenates_linear_layers_over_a_graph_with_loops(train: Interactions, transform: bool) -> None:
    model = made(Gccf, GccfConfig(embedding_dim=WIDTH, num_layers=2, transform=transform), train).eval()
    matrix, layers = dense(train, self_loops=True), [as_nodes(model.input_embeddings())]
    for number in range(2):
        layers.append(matrix @ layers[-1] @ (model.transforms[number] if transform else torch.eye(WIDTH)))
    final = model.final()
    assert torch.allclose(torch.cat([final.users, final.items]), torch.cat(layers, dim=1), atol=1e-6)
    assert len(model.transforms) == (2 if transform else 0)


def slow_infonce(first: torch.Tensor, second: torch.Tensor, rows: torch.Tensor, temperature: float) -> torch.Tensor:
    """(n,) one term per row, against all nodes of the side."""
    a, b = functional.normalize(first), functional.normalize(second)
    logits = a[rows] @ b.T / temperature
    return functional.cross_entropy(logits, rows, reduction="none")


def test_sgl_counts_repeats_and_negatives_as_the_authors_do(train: Interactions, batch: Batch) -> None:
    config = SglConfig(
        embedding_dim=WIDTH, num_layers=1, cl_weight=0.3, temperature=0.4, repeats=True, contrast_negatives=True, l2=0.0
    )
    model = made(Sgl, config, train).train()
    encoded = model.encode(model.input_embeddings(), batch)
    found = model.losses(encoded, batch)["contrast"]
    first, second = encoded.private.first, encoded.private.second
    terms = [slow_infonce(first.users, second.users, batch.users, 0.4).sum()]
    terms += [slow_infonce(first.items, second.items, rows, 0.4).sum() for rows in (batch.positives, batch.negatives)]
    assert torch.allclose(found, 0.3 * sum(terms) / len(batch), atol=1e-5)


def test_sgl_of_the_paper_takes_each_node_once(train: Interactions, batch: Batch) -> None:
    model = made(Sgl, SglConfig(embedding_dim=WIDTH, num_layers=1, cl_weight=1.0, temperature=0.4, l2=0.0), train)
    encoded = model.train().encode(model.input_embeddings(), batch)
    found = model.losses(encoded, batch)["contrast"]
    first, second = encoded.private.first, encoded.private.second
    users = slow_infonce(first.users, second.users, batch.users.unique(), 0.4).mean()
    items = slow_infonce(first.items, second.items, batch.positives.unique(), 0.4).mean()
    assert torch.allclose(found, users + items, atol=1e-5)


def test_sgl_draws_views_per_epoch_or_per_step(train: Interactions, batch: Batch) -> None:
    def views(config: SglConfig) -> list[torch.Tensor]:
        model = made(Sgl, config, train).train()
        torch.manual_seed(0)
        model.begin_epoch()
        out = [model.encode(model.input_embeddings(), batch).private.first.items.detach() for _ in range(2)]
        model.begin_epoch()
        return [*out, model.encode(model.input_embeddings(), batch).private.first.items.detach()]

    same, again, later = views(SglConfig(embedding_dim=WIDTH, view_keep_rate=0.5))
    assert torch.equal(same, again)
    assert not torch.equal(same, later)
    first, second, _ = views(SglConfig(embedding_dim=WIDTH, view_keep_rate=0.5, views="step"))
    assert not torch.equal(first, second)


def test_sgl_augmentations_differ_where_they_should(train: Interactions) -> None:
    def drawn(**options: Any) -> list[torch.Tensor]:
        model = made(Sgl, SglConfig(embedding_dim=WIDTH, num_layers=3, view_keep_rate=0.5, **options), train)
        torch.manual_seed(0)
        found: list[torch.Tensor] = model.draw_view()
        return found

    walk, edges = drawn(augmentation="random-walk"), drawn(augmentation="edge-drop")
    assert not torch.equal(walk[0], walk[1])
    assert torch.equal(edges[0], edges[2])
    inputs = drawn(augmentation="node-drop", node_drop="inputs")
    assert inputs[0].shape == (USERS + ITEMS, 1)


def test_simgcl_noise_has_its_length_and_stays_in_the_orthant(train: Interactions) -> None:
    config = SimGclConfig(embedding_dim=WIDTH, num_layers=1, layers="sum")
    model = made(SimGcl, config, train)
    clean, noisy = (
        as_nodes(model.smooth(model.input_embeddings())),
        as_nodes(model.smooth(model.input_embeddings(), noise=0.05)),
    )
    moved = noisy - clean
    alive = clean.abs().sum(1) > 0
    assert torch.allclose(moved[alive].norm(dim=1), torch.full((int(alive.sum()),), 0.05), atol=1e-5)
    assert bool((moved * clean >= 0).all())


def test_simgcl_counts_the_input_layer_only_where_asked(train: Interactions) -> None:
    start = made(SimGcl, SimGclConfig(embedding_dim=WIDTH, num_layers=1), train)
    matrix, nodes = dense(train), as_nodes(start.input_embeddings())
    assert torch.allclose(as_nodes(start.smooth(start.input_embeddings())), matrix @ nodes, atol=1e-6)
    whole = SimGclConfig(embedding_dim=WIDTH, num_layers=1, skip_input=False, layers="sum")
    assert torch.allclose(
        as_nodes(made(SimGcl, whole, train).smooth(start.input_embeddings())), nodes + matrix @ nodes, atol=1e-6
    )


def test_a_sampled_contrast_always_has_the_anchors_own_view(train: Interactions, batch: Batch) -> None:
    """Then a term is never negative; with the own view missing from 1 drawn node it would be, for most draws."""
    few = SimGclConfig(embedding_dim=WIDTH, contrast=1, cl_weight=1.0, eps=0.01)
    model = made(SimGcl, few, train).train()
    for seed in range(20):
        torch.manual_seed(seed)
        assert float(model.losses(model.encode(model.input_embeddings(), batch), batch)["contrast"].detach()) > 0


def test_changed_inputs_change_everything(train: Interactions, batch: Batch) -> None:
    """Aligners hand in other tables: no backbone may read its own."""
    for cls, config in ((LightGcn, LightGcnConfig), (Gccf, GccfConfig), (Sgl, SglConfig), (SimGcl, SimGclConfig)):
        model = made(cls, config(embedding_dim=WIDTH), train).eval()
        zero = Embeddings(torch.zeros(USERS, WIDTH), torch.zeros(ITEMS, WIDTH))
        encoded = model.encode(zero, batch)
        assert not bool(encoded.query.any())
        assert not bool(encoded.tables.items.any())


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("contrast", ["all", "batch"])
def test_drawn_anchors_of_two_views_keep_their_candidates(contrast: Any, repeats: bool) -> None:
    """A limit above the batch is the exact loss; one anchor a side is one of its terms, against the same candidates."""
    torch.manual_seed(4)
    first, second = (Embeddings(torch.randn(6, 3), torch.randn(7, 3)) for _ in range(2))
    batch = Batch(torch.tensor([0, 1, 1, 4]), torch.tensor([2, 3, 3, 0]), torch.tensor([1, 1, 6, 2]))

    def loss(anchors: int | None) -> float:
        config = SimGclConfig(
            cl_weight=1.0, temperature=0.5, contrast=contrast, repeats=repeats, contrast_anchors=anchors
        )
        return float(view_loss(first, second, batch, config))

    assert loss(100) == pytest.approx(loss(None), abs=1e-5)

    def terms(a: torch.Tensor, b: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        nodes = rows if repeats else torch.unique(rows)
        pool = b if contrast == "all" else b[nodes]
        x, y, z = (functional.normalize(t) for t in (a[nodes], b[nodes], pool))
        return torch.log(torch.exp(x @ z.T / 0.5).sum(1)) - (x * y).sum(1) / 0.5

    assert first.users is not None
    assert second.users is not None
    mine, theirs = terms(first.users, second.users, batch.users), terms(first.items, second.items, batch.positives)
    assert loss(None) == pytest.approx(float(mine.mean() + theirs.mean()), abs=1e-5)
    possible = (mine[:, None] + theirs[None]).reshape(-1)
    drawn = [loss(1) for _ in range(40)]
    assert all(float((possible - value).abs().min()) < 1e-5 for value in drawn)
    assert len({round(value, 4) for value in drawn}) > 2
