"""Any backbone with any aligner: what a recipe may put together, trained for a moment and measured."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from interlingua import registry
from interlingua.contracts.fitting import Fitting
from interlingua.data.prepared import Dataset
from interlingua.training.deploy import aligner_for, deployed
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all


def made_by(name: str) -> frozenset[str]:
    """What a backbone makes, by its default options."""
    cls = registry.find("backbone", name)
    made: frozenset[str] = cls.makes(cls.Config())
    return made


BACKBONES = [n for n in registry.names("backbone") if registry.find("backbone", n).sampling != "none"]
JOINED = [n for n in BACKBONES if "inputs" in made_by(n)]
"""those that an aligner can change"""
ALIGNERS = [n for n in registry.names("align") if "fit" in registry.find("align", n).Config.model_fields]


@pytest.mark.parametrize("aligner", [name for name in ALIGNERS if name != "autoencoder"])
@pytest.mark.parametrize("backbone", JOINED)
def test_every_backbone_learns_along_with_every_aligner(
    backbone: str, aligner: str, world: Dataset, small: Any, table: Any
) -> None:
    seed_all(3)
    made = registry.find("backbone", backbone)
    own = made(small(made), world.split.train)
    cls = registry.find("align", aligner)
    joint = Joint(own, aligner_for(cls, small(cls), own, table), table)
    joint.aligner.start(own, table)
    options = own.config.fit
    before = {name: p.detach().clone() for name, p in joint.named_parameters() if p.requires_grad}
    batches = joint.aligner.batches(own, world.split.train, options)
    (epoch,) = islice(fit(joint, batches, options.model_copy(update={"epochs": 1}), seed=1, device="cpu"), 1)
    assert all(np.isfinite(value) for value in epoch.losses.values())
    moved = {name for name, p in joint.named_parameters() if name in before and not torch.equal(p, before[name])}
    replaces = (
        joint.aligner.inputs(own.input_embeddings(), table).items is not own.input_embeddings().items
    )  # then its own are not read
    assert replaces or any(name.startswith("backbone.") for name in moved)
    if any(name.startswith("aligner.") for name in before):
        assert any(name.startswith("aligner.") for name in moved), "the aligner did not learn"
    joint.eval()
    inputs = [t.detach().clone() for t in (own.input_embeddings().users, own.input_embeddings().items) if t is not None]
    queries = world.split.queries("valid").slice(0, 5)
    with deployed(joint) as alone:
        scores = alone.score(queries)
        tables = joint.aligner.export(
            Fitting(world.split.train, table, tables={"items": alone.item_embeddings().detach()})
        )
    assert np.isfinite(scores).all()
    assert np.ptp(scores, axis=1).min() > 0
    after = [t for t in (own.input_embeddings().users, own.input_embeddings().items) if t is not None]
    assert all(torch.equal(a, b) for a, b in zip(inputs, after, strict=True)), "training goes on from other inputs"
    assert tables["items"].shape[0] == world.split.train.num_items


@pytest.mark.parametrize("backbone", BACKBONES)
def test_options_tell_the_width_of_the_vectors_that_are_made(backbone: str, world: Dataset, small: Any) -> None:
    cls = registry.find("backbone", backbone)
    config = small(cls)
    assert cls.width(config) == cls(config, world.split.train).input_embeddings().items.shape[1]
