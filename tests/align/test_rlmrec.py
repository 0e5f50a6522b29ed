"""RLMRec's aligners beside direct computations, and the cheaper ways of using texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.random_events import random_events
from torch.nn import functional

from interlingua.align.contrastive import Contrastive, ContrastiveConfig
from interlingua.align.init import Init, InitConfig, directions
from interlingua.align.kar import Kar, KarConfig
from interlingua.align.masked import Masked, MaskedConfig
from interlingua.align.replace import Replace, ReplaceConfig
from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError
from interlingua.training.deploy import deploy, deployed
from interlingua.training.joint import Joint
from interlingua.vectors.frozen import FrozenRows

USERS, ITEMS, WIDTH, TEXT = 5, 7, 4, 6


@pytest.fixture
def text() -> FrozenRows:
    torch.manual_seed(9)
    return FrozenRows(torch.randn(ITEMS, TEXT), torch.randn(USERS, TEXT))


@pytest.fixture
def batch() -> Batch:
    return Batch(torch.tensor([0, 1, 1, 4]), torch.tensor([2, 3, 3, 0]), torch.tensor([1, 1, 6, 2]))


@pytest.fixture
def backbone() -> LightGcn:
    torch.manual_seed(1)
    return LightGcn(LightGcnConfig(embedding_dim=WIDTH, num_layers=1), random_events(USERS, ITEMS, 20))


def rows_loss(a: torch.Tensor, p: torch.Tensor, c: torch.Tensor, temperature: float) -> torch.Tensor:
    """(n,) InfoNCE term of every row, as RLMRec writes it."""
    a, p, c = (functional.normalize(x) for x in (a, p, c))
    return torch.log(torch.exp(a @ c.T / temperature).sum(1)) - (a * p).sum(1) / temperature


def aligned(aligner: Aligner, backbone: LightGcn, text: FrozenRows | None, batch: Batch) -> tuple[Encoded, Any]:
    return aligner(backbone.encode, backbone.input_embeddings(), text, batch)


@pytest.mark.parametrize("candidates", ["all", "batch"])
def test_contrastive_equals_the_authors_three_terms(
    backbone: LightGcn, text: FrozenRows, batch: Batch, candidates: Any
) -> None:
    config = ContrastiveConfig(weight=0.7, temperature=0.3, user_candidates=candidates)
    aligner = Contrastive(config, WIDTH, TEXT)
    encoded, losses = aligned(aligner, backbone, text, batch)
    users, items = aligner.map(text.rows("users")), aligner.map(text.rows("items"))
    pool = users if candidates == "all" else users[batch.users]
    terms = [rows_loss(encoded.query, users[batch.users], pool, 0.3)]
    for rows in (batch.positives, batch.negatives):
        assert rows is not None
        terms.append(rows_loss(encoded.tables.items[rows], items[rows], items[rows], 0.3))
    assert torch.allclose(losses["align"], 0.7 * torch.stack(terms).sum(0).mean(), atol=1e-5)


def test_contrastive_without_negatives_leaves_their_term_out(
    backbone: LightGcn, text: FrozenRows, batch: Batch
) -> None:
    torch.manual_seed(0)
    whole = Contrastive(ContrastiveConfig(weight=1.0), WIDTH, TEXT)
    part = Contrastive(ContrastiveConfig(weight=1.0, negatives=False), WIDTH, TEXT)
    part.load_state_dict(whole.state_dict())
    encoded, losses = aligned(whole, backbone, text, batch)
    assert batch.negatives is not None
    items = whole.map(text.rows("items"))[batch.negatives]
    own = rows_loss(encoded.tables.items[batch.negatives], items, items, 0.2).mean()
    less = aligned(part, backbone, text, batch)[1]["align"]
    assert torch.allclose(losses["align"] - less, own, atol=1e-5)


@pytest.mark.parametrize("candidates", ["all", "batch"])
def test_drawn_anchors_keep_their_own_text_and_all_candidates(
    backbone: LightGcn, text: FrozenRows, batch: Batch, candidates: Any
) -> None:
    """A limit as large as the batch is exact; one position is its own term of the exact loss."""
    torch.manual_seed(0)
    whole = Contrastive(ContrastiveConfig(weight=1.0, user_candidates=candidates, negatives=False), WIDTH, TEXT)
    few = Contrastive(
        ContrastiveConfig(weight=1.0, user_candidates=candidates, negatives=False, contrast_anchors=1), WIDTH, TEXT
    )
    few.load_state_dict(whole.state_dict())
    exact = float(aligned(whole, backbone, text, batch)[1]["align"])
    draws = [float(aligned(few, backbone, text, batch)[1]["align"]) for _ in range(300)]
    encoded, _ = aligned(whole, backbone, text, batch)
    users, items = whole.map(text.rows("users")), whole.map(text.rows("items"))
    pool = users if candidates == "all" else users[batch.users]
    mine = rows_loss(encoded.query, users[batch.users], pool, 0.2)
    told = items[batch.positives]
    theirs = rows_loss(encoded.tables.items[batch.positives], told, told, 0.2)
    possible = (mine[:, None] + theirs[None]).reshape(-1).tolist()
    assert all(min(abs(draw - value) for value in possible) < 1e-4 for draw in draws)
    assert len({round(draw, 3) for draw in draws}) > 4
    assert sum(draws) / 300 == pytest.approx(exact, abs=0.3 * float(np.std(possible)))


def test_masked_with_drawn_anchors_is_told_from_all_masked_texts(
    backbone: LightGcn, text: FrozenRows, batch: Batch
) -> None:
    aligner = Masked(MaskedConfig(weight=1.0, temperature=0.4, mask_ratio=0.5, contrast_anchors=1), WIDTH, TEXT)
    torch.manual_seed(3)
    encoded, losses = aligned(aligner, backbone, text, batch)
    torch.manual_seed(3)
    chosen = torch.randperm(USERS + ITEMS)[:6]
    assert encoded.tables.users is not None
    rebuilt = aligner.map(torch.cat([encoded.tables.users, encoded.tables.items])[chosen])
    texts = torch.cat([text.rows("users"), text.rows("items")])[chosen]
    possible = rows_loss(rebuilt, texts, texts, 0.4)
    assert float((possible - losses["align"]).abs().min()) < 1e-5


def test_contrastive_exports_texts_in_the_backbones_space(backbone: LightGcn, text: FrozenRows) -> None:
    aligner = Contrastive(ContrastiveConfig(), WIDTH, TEXT)
    items = backbone.eval().item_embeddings().detach()
    tables = Embeddings.of(aligner.export(Fitting(None, text, tables={"items": items})))
    assert tables.items_from_text is not None
    lengths = tables.items_from_text.norm(dim=1)
    assert torch.allclose(lengths, items.norm(dim=1).median().expand(ITEMS), atol=1e-5)


def test_masked_rebuilds_the_texts_of_masked_nodes(backbone: LightGcn, text: FrozenRows, batch: Batch) -> None:
    aligner = Masked(MaskedConfig(weight=0.6, temperature=0.4, mask_ratio=0.5), WIDTH, TEXT)
    torch.manual_seed(3)
    encoded, losses = aligned(aligner, backbone, text, batch)
    torch.manual_seed(3)
    chosen = torch.randperm(USERS + ITEMS)[:6]
    inputs = torch.cat([backbone.users, backbone.items]).clone()
    inputs[chosen] = 0.0  # the token starts at zero
    slow = backbone.smooth(Embeddings(inputs[:USERS], inputs[USERS:]))
    assert torch.allclose(encoded.tables.items, slow.items, atol=1e-6)
    rebuilt = aligner.map(torch.cat([slow.users, slow.items])[chosen])  # type: ignore[list-item]
    texts = torch.cat([text.rows("users"), text.rows("items")])[chosen]
    assert torch.allclose(losses["align"], 0.6 * rows_loss(rebuilt, texts, texts, 0.4).mean(), atol=1e-5)


def test_masked_always_masks_at_least_one_node(backbone: LightGcn, text: FrozenRows, batch: Batch) -> None:
    aligner = Masked(MaskedConfig(mask_ratio=0.001), WIDTH, TEXT)
    hidden, chosen = aligner._draw(USERS + ITEMS, torch.device("cpu"))
    assert int(hidden.sum()) == len(chosen) == 1
    assert torch.isfinite(aligned(aligner, backbone, text, batch)[1]["align"])


def test_the_mask_token_has_the_width_of_the_inputs_not_of_concatenated_layers(backbone: LightGcn) -> None:
    aligner = Masked(MaskedConfig(), 3 * WIDTH, TEXT)
    aligner.start(backbone, None)
    assert aligner.token.shape == (1, WIDTH)
    fresh = Masked(MaskedConfig(), 3 * WIDTH, TEXT)
    fresh.load_state_dict(aligner.state_dict())
    assert fresh.token.shape == (1, WIDTH)


@pytest.mark.parametrize("cls", [Contrastive, Masked, Kar, Replace])
def test_without_user_texts_the_error_says_where_they_could_come_from(
    cls: Any, backbone: LightGcn, text: FrozenRows, batch: Batch
) -> None:
    with pytest.raises(ConfigError, match=r"text\.users = 'items'"):
        aligned(cls(cls.Config(), WIDTH, TEXT), backbone, FrozenRows(text.items), batch)


def test_replace_scores_by_texts_alone(backbone: LightGcn, text: FrozenRows, batch: Batch) -> None:
    aligner = Replace(ReplaceConfig(map="linear"), WIDTH, TEXT)
    aligner.start(backbone, text)
    joint = Joint(backbone, aligner, text)
    sum(joint(batch).values()).backward()  # type: ignore[union-attr]
    assert backbone.items.grad is None
    assert aligner.map.weight.grad is not None
    mapped = backbone.smooth(Embeddings(aligner.map(text.rows("users")), aligner.map(text.rows("items"))))
    with deployed(joint.eval()) as alone:
        assert torch.allclose(alone.item_embeddings(), mapped.items, atol=1e-6)
    assert not backbone.items.requires_grad
    deploy(joint)
    assert torch.allclose(backbone.item_embeddings(), mapped.items, atol=1e-6)
    assert backbone.items.requires_grad, "what was deployed is stored like any trained weight"


def test_init_starts_from_principal_components_at_the_old_scale(backbone: LightGcn, text: FrozenRows) -> None:
    before = backbone.items.detach().square().mean()
    Init(InitConfig(), WIDTH, TEXT).start(backbone, text)
    after = backbone.items.detach()
    assert torch.allclose(after.square().mean(), before, atol=1e-6)
    centred = text.items - text.items.mean(0)
    covariance = after.T @ after
    assert torch.allclose(covariance, torch.diag(covariance.diagonal()), atol=1e-5), "components are uncorrelated"
    top = torch.linalg.svdvals(centred)[:WIDTH].square()  # the largest variances there are, up to scale
    assert torch.allclose(covariance.diagonal() / covariance.trace(), top / top.sum(), atol=1e-4)


def test_init_by_variance_picks_the_widest_dimensions() -> None:
    items = torch.randn(50, 4) * torch.tensor([1.0, 5.0, 0.1, 3.0])
    assert torch.equal(directions(items, 2, "variance"), torch.eye(4)[:, [1, 3]])


def test_init_needs_enough_dimensions(backbone: LightGcn) -> None:
    with pytest.raises(ConfigError, match=r"picks 4 of the text's dimensions, but there are only 3"):
        Init(InitConfig(), WIDTH, 3).start(backbone, FrozenRows(torch.randn(ITEMS, 3)))


def test_kar_adds_gated_experts(text: FrozenRows) -> None:
    aligner = Kar(KarConfig(shared_experts=1, own_experts=1, hidden_dim=3), WIDTH, TEXT)
    rows = text.rows("items")
    said = [aligner.shared[0](rows), aligner.own["item"][0](rows)]  # type: ignore[index]
    gate = torch.softmax(aligner.gates["item"](rows), dim=1)
    assert torch.allclose(aligner.adapt(rows, "items"), gate[:, :1] * said[0] + gate[:, 1:] * said[1], atol=1e-6)
