"""What every language-model ranker promises, on a tiny random model of a real architecture."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic.fields import FieldInfo
from safetensors.torch import load_file, save_file

from interlingua import registry
from interlingua.contracts.exported import exported
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.data.prepared import Dataset
from interlingua.data.queries import PAD, Queries
from interlingua.lm.template import Template
from interlingua.training.loop import fit, fit_best, seed_all, trainable_state

pytest.importorskip("transformers")
NAMES = registry.names("ranker")
FREE = FieldInfo(default=None)
FIELDS = {name: registry.find("ranker", name).Config.model_fields for name in NAMES}
TRAINED = [name for name in NAMES if "fit" in FIELDS[name] and FIELDS[name].get("tune", FREE).default in (None, "none")]
"""rankers that learn beside a frozen language model"""
TUNED = [f"{name}+{kind}" for name in NAMES if {"fit", "tune"} <= set(FIELDS[name]) for kind in ("lora", "full")]
"""a ranker's name and the way in which its language model learns along"""
TINY = {"history_length": 3, "num_candidates": 4, "hidden_dim": 8, "output_dim": 8}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    from interlingua.testing.tiny_models import build, tokenizer_of

    folder = tmp_path_factory.mktemp("tiny-lm")
    build("llama").save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def inputs(world: Dataset, table: Any) -> RankerInputs:
    """Item vectors from the texts, user vectors as means of them; the backbone's score is their dot product."""
    items = table.items[:, :12].contiguous()

    def user_embeddings(queries: Queries) -> torch.Tensor:
        indices = torch.as_tensor(queries.padded(10))
        present = (indices != PAD).float()[..., None]
        return (items[indices.clamp(min=0)] * present).sum(1) / present.sum(1).clamp(min=1)

    def base_score(queries: Queries, candidates: Any = None) -> Any:
        scores = (user_embeddings(queries) @ items.T).numpy()
        return scores if candidates is None else np.take_along_axis(scores, np.asarray(candidates), 1)

    return RankerInputs(
        titles=world.catalogue.titles,
        domain=world.catalogue.domain,
        train=world.split.train,
        items=items,
        items_from_text=items + 0.01,
        user_embeddings=user_embeddings,
        user_dim=12,
        base_score=base_score,
        cold_items=world.split.train.item_counts == 0,
        item_codes=torch.stack([torch.arange(len(items)) // 8, torch.arange(len(items)) % 8], dim=1),
    )


@pytest.fixture(scope="module")
def make(small: Any, inputs: RankerInputs, model_folder: str) -> Any:
    """``make(name)``: a fresh seeded ranker around the tiny model."""

    def build(name: str) -> Ranker:
        name, _, tune = name.partition("+")
        cls = registry.find("ranker", name)
        config = small(cls, batch_size=4, steps_per_epoch=2, epochs=2)
        own = {k: v for k, v in {**TINY, "model": model_folder}.items() if k in cls.Config.model_fields}
        own |= {"tune": tune} if tune else {}
        seed_all(4)
        ranker: Ranker = cls(config.model_copy(update=own), inputs)
        return ranker.eval()

    return build


def job(ranker: Ranker) -> Fitting:
    """A fit without validation, as the stage gives it."""

    def loop(batches: Any, config: Any) -> FitLog:
        return fit_best(ranker, batches, config, seed=1, device="cpu")

    return Fitting(ranker.inputs.train, loop=loop)


@pytest.fixture(scope="module")
def fitted(make: Any) -> Any:
    """``fitted(name)``: the same ranker each time, after a few steps."""
    made: dict[str, Ranker] = {}

    def get(name: str) -> Ranker:
        if name not in made:
            ranker = make(name)
            ranker.fit(job(ranker))
            made[name] = ranker.eval()
        return made[name]

    return get


@pytest.fixture(scope="module")
def some_queries(queries: Queries) -> Queries:
    """A few of the world's queries: known and unknown users, an empty history, repeats, a very long one."""
    return queries.take(np.array([0, 1, 6, 7, 8, 9]))


def candidates(ranker: Ranker, count: int) -> Any:
    random = np.random.default_rng(2)
    return np.stack([random.permutation(ranker.num_items)[:5] for _ in range(count)])


def lists_candidates(ranker: Ranker) -> bool:
    """A prompt that holds the candidates: what stands in it decides the score of each."""
    template = dict(ranker.config).get("template")
    return template is not None and "{candidates}" in Template.load(template, more=ranker.slots()).body


def first_batches(ranker: Ranker, count: int = 2) -> list[Any]:
    return list(islice(ranker.batches(0, np.random.default_rng(0)), count))


@pytest.mark.parametrize("name", TRAINED + TUNED)
def test_losses_are_finite_named_scalars(name: str, make: Any, contract: Any) -> None:
    ranker = make(name)
    for batch in first_batches(ranker):
        contract.named(ranker.train()(batch))


@pytest.mark.parametrize("name", TRAINED + TUNED)
def test_gradients_reach_what_learns_and_not_the_language_model(name: str, make: Any, contract: Any) -> None:
    ranker = make(name)
    batches = first_batches(ranker, 3)
    if name in TUNED:  # LoRA's B starts at zero, so that A has a gradient after a step in which B had one
        learning = [p for p in ranker.parameters() if p.requires_grad]
        for batch in batches:  # one of histories of one item gives the queries of attention none
            contract.step(ranker, batch, torch.optim.Adam(learning, lr=1e-2))
    contract.gradients_reach_all(ranker, batches)
    inside = {id(p) for p in ranker.parameters()}
    assert all(p.grad is None for p in ranker.lm.model.parameters() if id(p) not in inside)


@pytest.mark.parametrize("name", TRAINED)
def test_the_language_model_stays_bitwise_and_is_not_stored(name: str, make: Any) -> None:
    ranker = make(name)
    language_model = ranker.lm.model
    frozen = {n: p.clone() for n, p in language_model.named_parameters()}
    learning = {n: p.clone() for n, p in ranker.named_parameters() if p.requires_grad}
    list(fit(ranker, ranker.batches, ranker.config.fit, seed=1, device="cpu"))
    now = dict(ranker.named_parameters())
    assert all(torch.equal(p, frozen[n]) and p.grad is None for n, p in language_model.named_parameters())
    assert any(not torch.equal(now[n], value) for n, value in learning.items())
    assert sum(v.numel() for v in trainable_state(ranker).values()) < sum(v.numel() for v in frozen.values())
    assert not {v.data_ptr() for v in trainable_state(ranker).values()} & {
        p.data_ptr() for p in language_model.parameters()
    }


@pytest.mark.parametrize("name", TRAINED + TUNED)
def test_same_seed_same_trace(name: str, make: Any) -> None:
    def trace(seed: int) -> list[dict[str, float]]:
        ranker = make(name)
        return [e.losses for e in fit(ranker, ranker.batches, ranker.config.fit, seed=seed, device="cpu")]

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


@pytest.mark.parametrize("name", TRAINED + TUNED)
def test_steps_at_learning_rate_zero_leave_the_gradient_as_it_was(name: str, make: Any, contract: Any) -> None:
    ranker = make(name)
    batch = first_batches(ranker, 1)[0]
    optimizer = torch.optim.Adam([p for p in ranker.parameters() if p.requires_grad], lr=0.0)
    contract.step(ranker, batch, optimizer)
    first = {n: p.grad.clone() for n, p in ranker.named_parameters() if p.grad is not None}
    contract.step(ranker, batch, optimizer)
    assert all(torch.equal(p.grad, first[n]) for n, p in ranker.named_parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_finite_whoever_asks_and_the_same_twice(name: str, fitted: Any, some_queries: Queries) -> None:
    ranker = fitted(name)
    listed = candidates(ranker, len(some_queries))
    first = ranker.score(some_queries, listed)
    assert first.shape == listed.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    ranker.train()  # dropout must not reach a score
    assert np.array_equal(first, ranker.score(some_queries, listed))


@pytest.mark.parametrize("name", NAMES + TUNED)
def test_a_query_gets_the_same_answer_alone_as_among_others(name: str, fitted: Any, some_queries: Queries) -> None:
    ranker = fitted(name)
    listed = candidates(ranker, len(some_queries))
    together = ranker.score(some_queries, listed)
    for row in range(len(some_queries)):
        alone = ranker.score(some_queries.slice(row, row + 1), listed[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_answers_does_not_depend_on_how_many_are_scored(
    name: str, fitted: Any, some_queries: Queries
) -> None:
    """Candidates' scores are their own: the same item gets the same score in another column."""
    ranker = fitted(name)
    listed = candidates(ranker, len(some_queries))
    scores = ranker.score(some_queries, listed)
    twice = ranker.score(some_queries, np.concatenate([listed[:, ::-1], listed[:, :1]], axis=1))
    if not lists_candidates(ranker):
        np.testing.assert_allclose(twice[:, -2], scores[:, 0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(twice[:, -1], twice[:, -2], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES + TUNED)
def test_a_stored_ranker_scores_the_same(
    name: str, fitted: Any, make: Any, some_queries: Queries, tmp_path: Path
) -> None:
    ranker = fitted(name).eval()
    state = {k: v.contiguous().clone() for k, v in trainable_state(ranker).items()}
    save_file(state, tmp_path / "weights.safetensors")
    fresh = make(name)
    missing = fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=False)
    assert not missing.unexpected_keys
    listed = candidates(ranker, len(some_queries))
    assert np.array_equal(fresh.eval().score(some_queries, listed), ranker.score(some_queries, listed))


@pytest.mark.parametrize("name", [name for name in NAMES if "fit" not in FIELDS[name]])
def test_a_ranker_without_anything_to_learn_says_so_and_stores_nothing(name: str, make: Any) -> None:
    ranker = make(name)
    assert not ranker.fit(job(ranker)).trained
    assert not trainable_state(ranker)


@pytest.mark.parametrize("name", TUNED)
def test_a_tuned_model_leaves_the_one_it_was_made_of_bitwise(name: str, make: Any) -> None:
    """The base is shared by every ranker of the process; LoRA shares its weights, full has copies."""
    frozen, ranker = make(name.partition("+")[0]), make(name)
    own = {id(p) for p in frozen.parameters()}
    base = {n: p for n, p in frozen.lm.model.named_parameters() if id(p) not in own}
    before = {n: p.clone() for n, p in base.items()}
    start = {n: p.clone() for n, p in ranker.tuned.named_parameters()}
    list(fit(ranker, ranker.batches, ranker.config.fit, seed=1, device="cpu"))
    assert all(torch.equal(p, before[n]) and p.grad is None for n, p in base.items())
    moved = {n for n, p in ranker.tuned.named_parameters() if not torch.equal(p, start[n])}
    assert moved == set(start)
    shared = {p.data_ptr() for p in base.values()} & {p.data_ptr() for p in ranker.tuned.parameters()}
    assert not shared


@pytest.mark.parametrize("name", NAMES)
def test_it_exports_the_tables_that_it_says_it_makes(name: str, make: Any) -> None:
    ranker = make(name)
    exported(ranker, ranker.config, Fitting(ranker.inputs.train))
