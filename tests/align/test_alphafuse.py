"""AlphaFuse: what is frozen stays, what is learned lies in the last dimensions only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tests.align.planted import Planted

from interlingua.align.alphafuse import AlphaFuse, AlphaFuseConfig
from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.config import FitConfig
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError
from interlingua.evaluate.protocol import evaluate
from interlingua.training.deploy import aligner_for, deploy
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all
from interlingua.vectors.frozen import FrozenRows

WIDTH = 8


def trained(planted: Planted, control: str = "none", epochs: int = 3, **options: Any) -> Joint:
    """SASRec with AlphaFuse, deployed."""
    train, text = planted.data.split.train, planted.text(control)
    seed_all(1)
    fitting = FitConfig(epochs=epochs, batch_size=64, learning_rate=3e-3)
    backbone = SasRec(SasRecConfig(embedding_dim=WIDTH, max_history=8, num_blocks=1, fit=fitting), train)
    aligner = aligner_for(AlphaFuse, AlphaFuseConfig(**options), backbone, text)
    joint = Joint(backbone, aligner, text)

    def loop(batches: Any, config: FitConfig) -> Any:
        return list(fit(joint, batches, config, seed=1, device="cpu"))

    aligner.fit(Fitting(train, text, backbone, loop=loop))
    deploy(joint.eval())
    return joint


def test_the_first_dimensions_stay_the_whitened_text_and_the_last_are_learned(planted: Planted) -> None:
    joint = trained(planted, null_dim=3, scale=0.5)
    made, warm = joint.backbone.item_embeddings(), planted.data.split.train.item_counts > 0
    expected = PCA(WIDTH, whiten=True, svd_solver="full").fit_transform(planted.text().items.double().numpy())
    expected = 0.5 * expected / np.sqrt((expected**2).mean())
    same = np.allclose(np.abs(made[:, :5].numpy()), np.abs(expected[:, :5]), atol=1e-4)
    assert same, "up to the signs of directions, scikit-learn's"
    moved = np.abs(np.abs(made[:, 5:].numpy()) - np.abs(expected[:, 5:])).max(1)
    assert (moved[warm] > 1e-3).all()
    assert not warm.all()
    assert (moved[~warm] < 1e-4).all(), "an item without events is its text"


def test_the_covariance_of_what_is_frozen_is_the_identity(planted: Planted) -> None:
    aligner = AlphaFuse(AlphaFuseConfig(scale=1.0), WIDTH, 24)
    aligner.start(backbone(planted), planted.text())
    assert torch.allclose(torch.cov(aligner.item_texts.T), torch.eye(WIDTH), atol=0.02)


def backbone(planted: Planted) -> LightGcn:
    return LightGcn(LightGcnConfig(embedding_dim=WIDTH, num_layers=1), planted.data.split.train)


def test_before_training_the_inputs_are_the_text_and_nothing_else(planted: Planted) -> None:
    for cover in (False, True):
        aligner = AlphaFuse(AlphaFuseConfig(cover=cover, null_dim=3), WIDTH, 24)
        own = backbone(planted)
        aligner.start(own, planted.text())
        made = aligner.inputs(own.input_embeddings(), planted.text())
        assert torch.equal(made.items, aligner.item_texts)
        assert bool(made.items[:, 5:].any()) is not cover
        assert made.users is own.users, "of ids, as ever"


def test_users_can_be_made_like_items_on_the_items_axes(planted: Planted) -> None:
    """A user whose text is that of an item begins where the item does."""
    tables = planted.text()
    assert tables.users is not None
    text = FrozenRows(tables.items, torch.cat([tables.items[:1], tables.users[1:]]))
    aligner = AlphaFuse(AlphaFuseConfig(users="texts"), WIDTH, 24)
    own = backbone(planted)
    aligner.start(own, text)
    made = aligner.inputs(own.input_embeddings(), text)
    assert made.users is not None
    assert torch.allclose(made.users[0], made.items[0], atol=1e-6)
    assert not own.users.requires_grad
    assert aligner.users is not None


def test_an_item_that_comes_later_stands_where_its_text_puts_it_also_after_storing(planted: Planted) -> None:
    text = planted.text()
    joint = trained(planted, epochs=1)
    cold = planted.data.split.train.item_counts == 0
    fresh = AlphaFuse(AlphaFuseConfig(), WIDTH, text.dim)
    fresh.load_state_dict(joint.aligner.state_dict())
    made = fresh.inputs_from_texts(FrozenRows(text.items[cold]), WIDTH)
    assert torch.allclose(made, joint.backbone.item_embeddings()[cold], atol=1e-6)


def test_fewer_weights_than_the_backbone_alone(planted: Planted) -> None:
    joint = trained(planted, epochs=1)
    assert joint.aligner.items.numel() == joint.backbone.items.numel() // 2  # type: ignore[operator]
    assert sum(p.numel() for p in joint.aligner.parameters()) == joint.aligner.items.numel()  # type: ignore[operator]


def test_texts_without_variance_are_padded_or_refused(planted: Planted) -> None:
    items = planted.text().items.clone()
    flat = FrozenRows(items[:, :6] @ torch.randn(6, 24))
    aligner = AlphaFuse(AlphaFuseConfig(), WIDTH, 24)
    aligner.start(backbone(planted), flat)
    assert not aligner.item_texts[:, 6:].any()
    with pytest.raises(ConfigError, match=r"keeps 7 directions of the texts, which have only 6"):
        AlphaFuse(AlphaFuseConfig(null_dim=1), WIDTH, 24).start(backbone(planted), flat)


def test_more_learned_dimensions_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"align\.null_dim = 9, but a vector of the backbone has 8"):
        AlphaFuse(AlphaFuseConfig(null_dim=9), 8, 24)


def test_texts_help_and_texts_dealt_out_at_random_do_not(planted: Planted) -> None:
    def quality(control: str) -> float:
        joint = trained(planted, control, epochs=12)
        split = planted.data.split
        return float(evaluate(joint.backbone, split, "valid", slices=False, resamples=0).metrics["ndcg@10"])

    assert quality("none") > 1.2 * quality("shuffled")
