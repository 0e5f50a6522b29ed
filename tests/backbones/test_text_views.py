"""FAERec and LLM-ESR: what the two views are, how they are joined, and what is learned of whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.nn import functional

from interlingua.backbones._shifted import last_state
from interlingua.backbones.faerec import FaeRec, FaeRecConfig, item_fraction
from interlingua.backbones.llm_esr import LlmEsr, LlmEsrConfig, mean_texts, most_similar
from interlingua.config import build
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.prepared import Dataset
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all
from interlingua.vectors.frozen import FrozenRows

D, T = 8, 20
SMALL: dict[str, Any] = {"embedding_dim": D, "max_history": 6, "num_blocks": 1, "dropout": 0.0}
FIT = {"epochs": 2, "batch_size": 16, "patience": None}
FAEREC = FaeRecConfig(**SMALL, text_dropout=0.0, gate_dropout=0.0, fit=FIT)
LLM_ESR = LlmEsrConfig(**SMALL, similar_users=3, fit=FIT)


@pytest.fixture(scope="module")
def world() -> Dataset:
    return generate(num_users=40, num_items=30, seed=3)


@pytest.fixture(scope="module")
def table(world: Dataset) -> torch.Tensor:
    basis = torch.randn(5, T, generator=torch.Generator().manual_seed(1))
    return torch.randn(30, 5, generator=torch.Generator().manual_seed(0)) @ basis + 3


Make = Callable[..., Any]


@pytest.fixture(scope="module")
def make(world: Dataset, table: torch.Tensor) -> Make:
    def build(config: Any) -> Any:
        seed_all(4)
        cls = FaeRec if isinstance(config, FaeRecConfig) else LlmEsr
        model = cls(config, world.split.train)
        model.start(world.split.train, FrozenRows(table))
        return model

    return build


def batch_of(model: Any, world: Dataset) -> Batch:
    return next(iter(model.batches(world.split.train, model.config.fit)(0, np.random.default_rng(0))))


@pytest.mark.parametrize("config", [FAEREC, LLM_ESR])
def test_ids_start_as_principal_components(config: Any, make: Make, table: torch.Tensor) -> None:
    model = make(config)
    expected = PCA(5).fit_transform(table.numpy())
    assert np.allclose(np.abs(model.items.detach()[:, :5]), np.abs(expected), atol=1e-4)
    assert not model.items.detach()[:, 5:].any()  # five directions have any variance


@pytest.mark.parametrize("config", [FAEREC, LLM_ESR])
def test_an_item_without_events_keeps_its_id_and_all_others_learn(config: Any, make: Make, world: Dataset) -> None:
    model, train = make(config), world.split.train
    unseen = torch.as_tensor(train.item_counts == 0)
    assert unseen.any()
    before = model.items.detach().clone()
    list(fit(Joint(model, Aligner(Aligner.Config(), 0, 0)), model.batches(train, model.config.fit), model.config.fit,
             seed=1, device="cpu"))  # fmt: skip
    moved = (model.items.detach() != before).any(1)
    assert torch.equal(moved, ~unseen)


@pytest.mark.parametrize("config", [FAEREC, LLM_ESR])
def test_without_texts_it_says_so(config: Any, world: Dataset) -> None:
    cls = FaeRec if isinstance(config, FaeRecConfig) else LlmEsr
    with pytest.raises(ConfigError, match=r"reads item texts, but the recipe has no \[text\] section"):
        cls(config, world.split.train).start(world.split.train, None)


def test_faerec_mixes_the_views_by_its_gate(make: Make) -> None:
    model, indices, positions = make(FAEREC), torch.tensor([[3, 5]]), torch.randn(1, 2, D)
    with torch.no_grad():
        made = model._placed(model.items, indices, positions)
        for place, item in enumerate((3, 5)):
            ids = model.items[item] + positions[0, place]
            texts = model.view(torch.tensor([item]))[0] + positions[0, place]
            fraction = torch.sigmoid(model.gate(torch.cat([ids, texts])))
            mixed = fraction * ids + (1 - fraction) * texts
            expected = (mixed - mixed.mean()) / mixed.std(unbiased=False)
            assert torch.allclose(made[0, place], expected, atol=1e-4)


def test_faerec_lists_come_from_the_sum_of_both_views(make: Make, world: Dataset) -> None:
    model = make(FAEREC).eval()
    queries = world.split.queries("valid").slice(0, 4)
    both = functional.layer_norm(model.items + model.view(), (D,))
    expected = (model.user_embeddings(queries) @ both.T).detach().numpy()
    assert np.allclose(model.score(queries), expected, atol=1e-5)


def test_faerec_trains_on_what_it_lists_or_on_ids_alone(make: Make, world: Dataset) -> None:
    model = make(FAEREC)
    batch = batch_of(model, world)
    assert torch.allclose(model.encode(model.input_embeddings(), batch).tables.items, model.item_embeddings())
    ids = make(FAEREC.model_copy(update={"trained_scores": "ids"}))
    assert torch.equal(ids.encode(ids.input_embeddings(), batch).tables.items, ids.items)


def test_faerec_alignments_take_turns(make: Make, world: Dataset) -> None:
    assert [round(item_fraction(epoch, 30, 0.9), 6) for epoch in (0, 15, 30, 45)] == [1, 0.9, 1, 0.9]
    assert abs(item_fraction(5, 30, 0.9) - 0.975) < 1e-9
    model = make(FAEREC)
    batch = batch_of(model, world)
    first = model.losses(model.encode(model.input_embeddings(), batch), batch)
    assert float(first["align_features"]) == 0
    assert float(first["align_items"]) > 0
    list(model.batches(world.split.train, model.config.fit)(15, np.random.default_rng(0)))
    later = model.losses(model.encode(model.input_embeddings(), batch), batch)
    assert torch.allclose(later["align_items"], 0.9 * first["align_items"])
    assert float(later["align_features"]) > 0


def test_faerec_aligns_dimensions_apart_by_popularity(make: Make, world: Dataset) -> None:
    model = make(FAEREC.model_copy(update={"off_diagonal": 0.3, "align_weight": 1.0}))
    batch = batch_of(model, world)
    model.epoch = 15
    seen = [int(i) for part in (batch.histories, batch.negatives) for i in part.flatten() if i >= 0]  # type: ignore[union-attr]
    counts = torch.as_tensor(world.split.train.item_counts)[seen]
    total = 0.0
    for half in (counts >= counts.median(), counts < counts.median()):
        items = torch.tensor(seen)[half]
        a, b = model.items[items].detach(), model.view(items).detach()
        a, b = ((x - x.mean(0)) / (x.std(0) + 1e-5) for x in (a, b))
        squares = (a.T @ b / len(items) - torch.eye(D)).square()
        total += float(squares.trace() + 0.3 * (squares.sum() - squares.trace()))
    made = model.losses(model.encode(model.input_embeddings(), batch), batch)["align_features"]
    assert abs(float(made) - 0.1 * total) < 1e-3 * total


def test_cross_attention_is_multi_head_attention_that_sees_no_later_event(make: Make) -> None:
    cross = make(LLM_ESR).into_ids
    other = nn.MultiheadAttention(D, 2, bias=True, batch_first=True)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([cross.query.weight, cross.key.weight, cross.value.weight]))
        other.in_proj_bias.zero_()
        other.out_proj.weight.copy_(cross.out.weight)
        other.out_proj.bias.copy_(cross.out.bias)
        asking, read = torch.randn(2, 3, 5, D)
        later = torch.ones(5, 5, dtype=torch.bool).triu(1)
        expected, _ = other(asking, read, read, attn_mask=later, need_weights=False)
        assert torch.allclose(cross(asking, read), expected, atol=1e-6)


def test_llm_esr_encodes_both_views_by_the_same_blocks(make: Make) -> None:
    model, histories = make(LLM_ESR).eval(), torch.tensor([[1, 4, 2]])
    with torch.no_grad():
        states, _ = model.states(model.items, histories)
        places = model.positions[-3:]
        ids = (model.items[histories[0]] * D**0.5 + places)[None]
        texts = (model.view(histories[0]) * D**0.5 + places)[None]
        first = model.norm(model.blocks[0](model.into_ids(texts, ids)))
        second = model.norm(model.blocks[0](model.into_texts(ids, texts)))
        assert torch.allclose(states, torch.cat([first, second], dim=-1), atol=1e-5)
        assert torch.allclose(model.last_states(model.items, histories), states[:, -1], atol=1e-5)


def test_llm_esr_draws_a_user_to_similar_users(make: Make, world: Dataset, table: torch.Tensor) -> None:
    model, train = make(LLM_ESR), world.split.train
    vectors = torch.stack([table[train.queries(np.array([u])).items].mean(0) for u in range(train.num_users)])
    cosines = functional.normalize(vectors, dim=1) @ functional.normalize(vectors, dim=1).T
    cosines.fill_diagonal_(-2)
    nearest = cosines.argsort(dim=1, descending=True)[:, :3]
    assert torch.equal(model.similar.sort().values, nearest.sort().values)
    batch = batch_of(model, world)
    model.eval()
    encoded = model.encode(model.input_embeddings(), batch)
    teachers = []
    for user in batch.users.tolist():
        states = []
        for similar in nearest[user].tolist():
            history = train.queries(np.array([similar])).items[:-1][-6:]
            made, lengths = model.states(model.items, torch.as_tensor(history)[None])
            states.append(last_state(made, lengths)[0])
        teachers.append(torch.stack(states).mean(0))
    expected = 0.1 * (encoded.query - torch.stack(teachers)).square().mean()
    assert torch.allclose(model.losses(encoded, batch)["distill"], expected, rtol=1e-4)


def test_llm_esr_teachers_of_an_epoch_are_those_of_its_first_step(make: Make, world: Dataset) -> None:
    now, epoch = make(LLM_ESR), make(LLM_ESR.model_copy(update={"teacher": "epoch"}))
    batch = batch_of(epoch, world)
    assert epoch.training
    made = [m.losses(m.encode(m.input_embeddings(), batch), batch)["distill"] for m in (now, epoch)]
    assert torch.allclose(made[0], made[1], rtol=1e-4)
    assert not epoch.taught.requires_grad


def test_users_without_events_are_like_nobody() -> None:
    users = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    assert most_similar(users, 1).flatten().tolist() == [1, 0, 1]
    empty = generate(num_users=4, num_items=6, seed=1).split.train
    assert mean_texts(empty.filter(np.zeros(len(empty), bool)), torch.ones(6, 2)).tolist() == [[0.0, 0.0]] * 4


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="cross_heads = 3"):
        build(LlmEsrConfig, LLM_ESR.model_dump() | {"cross_heads": 3})
