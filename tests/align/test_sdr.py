"""SDR beside its formula in float64, its weights, and its control."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.align.planted import Planted
from tests.random_events import random_events
from torch.nn import functional

from interlingua.align.sdr import Sdr, SdrConfig
from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError
from interlingua.evaluate.protocol import evaluate
from interlingua.nn import soft_targets
from interlingua.nn.soft_targets import certain_cross_entropy, certainty
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all
from interlingua.vectors.frozen import FrozenRows

USERS, ITEMS, WIDTH, TEXT = 6, 9, 4, 5


@pytest.fixture
def text() -> FrozenRows:
    torch.manual_seed(9)
    return FrozenRows(torch.randn(ITEMS, TEXT) + 1, torch.randn(USERS, TEXT))


@pytest.fixture
def backbone() -> LightGcn:
    torch.manual_seed(1)
    return LightGcn(LightGcnConfig(embedding_dim=WIDTH, num_layers=1), random_events(USERS, ITEMS, 25))


BATCH = Batch(torch.tensor([0, 4, 4, 2]), torch.tensor([2, 3, 3, 0]), torch.tensor([1, 1, 6, 2]))


def by_formula(vectors: Any, texts: Any, users: list[int], temperature: float, floor: float) -> float:
    """The loss of the given users in plain numpy: (users, items) of vectors and of whitened texts."""
    (e_u, e_i), (t_u, t_i) = ([np.asarray(x, np.float64) for x in pair] for pair in (vectors, texts))

    def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.array([a @ row / np.linalg.norm(a) / np.linalg.norm(row) for row in b])

    total = 0.0
    for user in users:
        q, p = (np.exp(cosines(a[user], b) / temperature) for a, b in ((t_u, t_i), (e_u, e_i)))
        q, p = q / q.sum(), p / p.sum()
        weight = min(max(1 + float((q * np.log(q)).sum()) / math.log(len(q)), floor), 1.0)
        total -= weight * float((q * np.log(p)).sum())
    return total / len(users)


def whitened(both: np.ndarray, dim: int) -> np.ndarray:
    centred = both - both.mean(0)
    _, strength, right = np.linalg.svd(centred, full_matrices=False)
    return centred @ right[:dim].T / strength[:dim] * math.sqrt(len(both) - 1)


@pytest.mark.parametrize("whitening", ["joint", "separate", "none"])
def test_the_loss_is_the_papers_each_user_once(backbone: LightGcn, text: FrozenRows, whitening: Any) -> None:
    assert text.users is not None
    users, items = text.users.double().numpy(), text.items.double().numpy()
    if whitening == "joint":
        both = whitened(np.concatenate([users, items]), 3)
        users, items = both[:USERS], both[USERS:]
    elif whitening == "separate":
        users, items = whitened(users, 3), whitened(items, 3)
    aligner = Sdr(SdrConfig(weight=0.7, temperature=0.3, whitening=whitening, dim=3, floor=0.05), WIDTH, TEXT)
    aligner.start(backbone, text)
    encoded, losses = aligner(backbone.encode, backbone.input_embeddings(), text, BATCH)
    tables = [table.detach() for table in (encoded.tables.users, encoded.tables.items) if table is not None]
    if whitening != "separate":
        expected = by_formula(tables, (users, items), [0, 2, 4], 0.3, 0.05)
        assert float(losses["sdr"]) == pytest.approx(0.7 * expected, rel=1e-5)
        return
    signs = [by_formula(tables, (users * [a, b, c], items), [0, 2, 4], 0.3, 0.05)  # no order of signs is the right one
             for a in (1, -1) for b in (1, -1) for c in (1, -1)]  # fmt: skip
    assert min(abs(float(losses["sdr"]) - 0.7 * each) for each in signs) < 1e-5
    assert max(signs) - min(signs) > 0.01, "the quirk: which axis of a user is which of an item is left to chance"


def test_gradients_equal_those_of_the_plain_formula_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    values = [torch.randn(n, d).double() for n, d in ((5, 3), (8, 3), (5, 2), (8, 2))]
    grads = []
    for chunk in (None, 8, 1000):
        a, c = (each.clone().requires_grad_(True) for each in values[:2])
        q = (values[2] @ values[3].T).softmax(1)
        if chunk is None:
            entropies = -(q * q.log()).sum(1)
            weights = (1 - entropies / math.log(8)).clamp(0.1, 1)
            loss = (weights * functional.cross_entropy(a @ c.T, q, reduction="none")).mean()
        else:
            monkeypatch.setattr(soft_targets, "CHUNK_ELEMENTS", chunk)
            loss = certain_cross_entropy(a, c, values[2], values[3], 0.1)
        (3 * loss).backward()
        grads.append((loss.detach(), a.grad, c.grad))
    for made in grads[1:]:
        assert all(torch.allclose(x, y) for x, y in zip(made, grads[0], strict=True))  # type: ignore[arg-type]


def test_weights_run_from_the_floor_for_a_uniform_target_to_one_for_a_sure_one() -> None:
    entropies = torch.tensor([math.log(50.0), 0.5 * math.log(50.0), 0.0])
    assert certainty(entropies, 50, 0.1).tolist() == pytest.approx([0.1, 0.5, 1.0])


def test_drawn_users_give_the_same_loss_in_expectation(backbone: LightGcn, text: FrozenRows) -> None:
    losses = []
    for limit in (None, 1):
        aligner = Sdr(SdrConfig(contrast_anchors=limit, dim=3), WIDTH, TEXT)
        aligner.start(backbone, text)
        count = 1 if limit is None else 400
        torch.manual_seed(5)
        found = [aligner(backbone.encode, backbone.input_embeddings(), text, BATCH)[1]["sdr"] for _ in range(count)]
        losses.append(float(torch.stack(found).mean()))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_without_user_texts_the_error_says_where_they_could_come_from(backbone: LightGcn, text: FrozenRows) -> None:
    with pytest.raises(ConfigError, match=r"text\.users = 'items'"):
        Sdr(SdrConfig(), WIDTH, TEXT).start(backbone, FrozenRows(text.items))


def quality(planted: Planted, control: str, weight: float) -> float:
    """Validation NDCG@10 of LightGCN with SDR after few epochs."""
    train, text = planted.data.split.train, planted.text(control)
    seed_all(1)
    options = FitConfig(epochs=12, batch_size=256, learning_rate=0.01)
    backbone = LightGcn(LightGcnConfig(embedding_dim=16, num_layers=1, fit=options), train)
    aligner = Sdr(SdrConfig(weight=weight, dim=12), 16, text.dim)
    joint = Joint(backbone, aligner, text)

    def loop(batches: Any, config: FitConfig) -> Any:
        return list(fit(joint, batches, config, seed=1, device="cpu"))

    aligner.fit(Fitting(train, text, backbone, loop=loop))
    return float(evaluate(backbone.eval(), planted.data.split, "valid", slices=False, resamples=0).metrics["ndcg@10"])


def test_texts_help_and_texts_dealt_out_at_random_do_not(planted: Planted) -> None:
    plain, with_texts = quality(planted, "none", 0.0), quality(planted, "none", 5.0)
    assert with_texts > 1.1 * plain
    assert quality(planted, "shuffled", 5.0) < 1.02 * plain
