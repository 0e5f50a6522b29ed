"""What every backbone promises, whatever is inside it. The registry lists them: a new file joins with no edit."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interlingua import registry
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch
from interlingua.contracts.exported import exported
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.scorer import Scorer
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.errors import InterlinguaError
from interlingua.evaluate.protocol import evaluate
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, fit_best, seed_all, trainable_state

NAMES = registry.names("backbone")
TRAINED = [name for name in NAMES if registry.find("backbone", name).sampling != "none"]


@pytest.fixture(scope="module")
def make(world: Dataset, small: Any, table: Any) -> Any:
    """``make(name)``: a fresh seeded backbone; ``make(name, ready=True)``: fitted, briefly."""

    def build(name: str, ready: bool = False, **fit_options: Any) -> Backbone:
        cls = registry.find("backbone", name)
        seed_all(5)
        backbone: Backbone = cls(small(cls, **fit_options), world.split.train)
        if cls.sampling != "none":
            backbone.read_catalogue(world.catalogue)
            backbone.start(world.split.train, table if cls.needs_text else None)
        if ready and cls.sampling == "none":
            backbone.fit(Fitting(world.split.train, table if cls.needs_text else None))
        elif ready:
            options = backbone.config.fit
            joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
            fit_best(joint, backbone.batches(world.split.train, options), options, seed=1, device="cpu")
            backbone.finish()
        return backbone.eval()

    return build


@pytest.fixture(scope="module")
def fitted(make: Any) -> Any:
    """``fitted(name)``: the same briefly fitted backbone each time."""
    made: dict[str, Backbone] = {}
    return lambda name: made.setdefault(name, made.get(name) or make(name, ready=True))


def some_batches(backbone: Backbone, world: Dataset, count: int = 3) -> list[Batch]:
    batches = backbone.batches(world.split.train, backbone.config.fit)
    return list(islice(batches(0, np.random.default_rng(0)), count))


@pytest.mark.parametrize("name", TRAINED)
def test_losses_are_finite_named_scalars(name: str, make: Any, world: Dataset, contract: Any) -> None:
    backbone = make(name)
    joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0)).train()
    for batch in some_batches(backbone, world):
        contract.named(joint(batch))


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_trainable_parameter(name: str, make: Any, world: Dataset, contract: Any) -> None:
    backbone = make(name)
    joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
    contract.gradients_reach_all(joint, some_batches(backbone, world))


@pytest.mark.parametrize("name", TRAINED)
def test_frozen_parameters_stay_bitwise(name: str, make: Any, world: Dataset) -> None:
    backbone = make(name)
    joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
    frozen, parameter = max(backbone.named_parameters(), key=lambda item: item[1].numel())
    parameter.requires_grad_(False)
    before = parameter.clone()
    if not any(p.requires_grad for p in joint.parameters()):
        pytest.skip(f"{frozen} is the only parameter")
    options = backbone.config.fit.model_copy(update={"epochs": 1, "steps_per_epoch": 3, "weight_decay": 0.1})
    list(fit(joint, backbone.batches(world.split.train, options), options, seed=1, device="cpu"))
    assert torch.equal(parameter, before)
    assert parameter.grad is None


@pytest.mark.parametrize("name", TRAINED)
def test_steps_at_learning_rate_zero_leave_the_gradient_as_it_was(
    name: str, make: Any, world: Dataset, contract: Any
) -> None:
    backbone = make(name)
    joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
    batch = some_batches(backbone, world, 1)[0]
    optimizer = torch.optim.Adam([p for p in joint.parameters() if p.requires_grad], lr=0.0)
    contract.step(joint, batch, optimizer)
    first = {n: p.grad.clone() for n, p in joint.named_parameters() if p.grad is not None}
    for _ in range(2):
        contract.step(joint, batch, optimizer)
    assert all(torch.equal(p.grad, first[n]) for n, p in joint.named_parameters() if p.grad is not None)


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_same_trace(name: str, make: Any, world: Dataset) -> None:
    def trace(seed: int) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
        backbone = make(name)
        options = backbone.config.fit
        joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
        epochs = fit(joint, backbone.batches(world.split.train, options), options, seed=seed, device="cpu")
        return [e.losses for e in epochs], backbone.state_dict()

    (losses, weights), (again, same) = trace(1), trace(1)
    assert losses == again
    assert all(torch.equal(weights[k], same[k]) for k in weights)
    assert trace(2)[0] != losses


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_finite_whoever_asks(name: str, fitted: Any, queries: Queries, world: Dataset) -> None:
    """Known users, unknown ones, an empty history, repeats, a history longer than the model reads."""
    scores = fitted(name).score(queries)
    assert scores.shape == (len(queries), world.split.train.num_items)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", NAMES)
def test_scoring_twice_is_equal_and_changes_nothing(name: str, fitted: Any, queries: Queries) -> None:
    backbone = fitted(name)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    first = backbone.score(queries)
    backbone.train()  # dropout must not reach a score
    assert np.array_equal(first, backbone.score(queries))
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_candidates_get_the_scores_of_the_whole_catalogue(name: str, fitted: Any, queries: Queries) -> None:
    backbone = fitted(name)
    candidates = np.random.default_rng(0).integers(0, backbone.num_items, (len(queries), 7))
    candidates[:, 1] = candidates[:, 0]  # a candidate listed twice
    full = backbone.score(queries)
    np.testing.assert_allclose(
        backbone.score(queries, candidates), np.take_along_axis(full, candidates, 1), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_query_gets_the_same_answer_alone_as_among_others(name: str, fitted: Any, queries: Queries) -> None:
    backbone = fitted(name)
    together = backbone.score(queries)
    order = np.random.default_rng(1).permutation(len(queries))
    np.testing.assert_allclose(backbone.score(queries.take(order)), together[order], rtol=1e-4, atol=1e-5)
    for row in range(len(queries)):
        np.testing.assert_allclose(backbone.score(queries.slice(row, row + 1))[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_no_query_gets_no_scores(name: str, fitted: Any, world: Dataset) -> None:
    assert fitted(name).score(Queries.of([])).shape == (0, world.split.train.num_items)


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_backbone_scores_the_same(name: str, fitted: Any, make: Any, queries: Queries, tmp_path: Path) -> None:
    """Through safetensors, as a stage stores it, into a backbone built anew from the options."""
    backbone = fitted(name)
    state = {k: v.contiguous().clone() for k, v in trainable_state(backbone).items()}
    save_file(state, tmp_path / "weights.safetensors")
    fresh = make(name)
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert np.array_equal(fresh.eval().score(queries), backbone.score(queries))


@pytest.mark.parametrize("name", NAMES)
def test_user_vectors_and_item_vectors_give_the_scores(name: str, fitted: Any, queries: Queries) -> None:
    """Where a backbone has vectors, later stages and indexes rely on their dot product being the score."""
    backbone = fitted(name)
    try:
        users, items, bias = backbone.user_embeddings(queries), backbone.item_embeddings(), backbone.item_bias()
    except NotImplementedError:
        pytest.skip(f"{name} has no vectors")
    assert bool(users.isfinite().all())
    assert users.shape == (len(queries), items.shape[1])
    scores = users.detach() @ items.detach().T + (0 if bias is None else bias.detach())
    if not backbone.dot_product:  # who says so must have another score, and override it
        assert type(backbone).score is not Backbone.score
        assert not np.allclose(backbone.score(queries), scores.numpy(), rtol=1e-2, atol=1e-3)
        return
    np.testing.assert_allclose(backbone.score(queries), scores.numpy(), rtol=1e-4, atol=1e-5)


class Popular(Scorer):
    """One list for everybody."""

    def __init__(self, scores: Any) -> None:
        self.scores, self.num_items = np.asarray(scores, np.float32), len(scores)

    def score(self, queries: Queries, items: Any = None) -> Any:
        table = np.repeat(self.scores[None], len(queries), 0)
        return table if items is None else np.take_along_axis(table, np.asarray(items), 1)


LEARNING = {"epochs": 30, "steps_per_epoch": None, "learning_rate": 0.01}


def personal(backbone: Backbone, queries: Queries) -> bool:
    """Whether different histories get different scores at all."""
    scores = backbone.score(queries)
    return not np.array_equal(scores, np.repeat(scores[:1], len(scores), 0))


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_the_planted_world(name: str, make: Any, world: Dataset, queries: Queries) -> None:
    """Clearly better than popularity, for what a user reads next follows from what the user has read.

    A backbone that gives everybody the same list cannot be; it must be better than chance, as all others too.
    """
    backbone = make(name, ready=True, **LEARNING)
    quality = evaluate(backbone, world.split, "valid", slices=False, resamples=0).metrics["ndcg@10"]
    counts = Popular(world.split.train.item_counts)
    popular = evaluate(counts, world.split, "valid", slices=False, resamples=0).metrics["ndcg@10"]
    chance = evaluate(Popular(np.random.default_rng(0).random(counts.num_items)), world.split, "valid", slices=False)
    assert quality > 1.2 * chance.metrics["ndcg@10"]
    if personal(backbone, queries):
        assert quality > 1.2 * popular


def test_every_backbone_is_either_solved_or_trained() -> None:
    for name in NAMES:
        cls: Any = registry.find("backbone", name)
        solved = cls.fit is not Backbone.fit
        assert solved == (cls.sampling == "none"), name
        assert solved != (cls.losses is not Backbone.losses), name
        assert cls.__mro__.index(Backbone) <= 2, f"{name}: your class -> at most one thin parent -> Backbone"
        assert InterlinguaError not in cls.__mro__


@pytest.mark.parametrize("name", NAMES)
def test_it_exports_the_tables_that_it_says_it_makes_and_they_score_as_it_does(
    name: str, fitted: Any, world: Dataset
) -> None:
    backbone, train = fitted(name), world.split.train
    tables = exported(backbone, backbone.config, Fitting(train))  # names, rows and numbers are checked in there
    assert set(tables) == backbone.makes(backbone.config) & {"items", "users"}
    assert not any(table.requires_grad for table in tables.values())
    towers = backbone.towers()
    if towers is None or not towers.exact:
        return
    scores = tables["users"] @ tables["items"].T + (0.0 if towers.bias is None else towers.bias)
    own = backbone.score(train.queries(np.arange(train.num_users)))
    np.testing.assert_allclose(scores.numpy(), own, rtol=1e-3, atol=1e-4)
