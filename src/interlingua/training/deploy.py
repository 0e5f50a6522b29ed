"""From a pair of backbone and aligner to the backbone alone: inputs that the aligner makes are written over its own.

So evaluation, serving and later stages read one kind of thing, whatever was trained along.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.text import Text
from interlingua.training.joint import Joint


def aligner_for(cls: type[Aligner], config: Any, backbone: Backbone, text: Text | None) -> Aligner:
    """An aligner with fresh weights, of the widths that this backbone and these texts have."""
    table = backbone.input_embeddings().items if cls.makes_inputs else backbone.item_embeddings()
    return cls(config, int(table.shape[1]), 0 if text is None else text.dim)


@torch.no_grad()
def deploy(joint: Joint) -> None:
    """Writes what :meth:`interlingua.contracts.aligner.Aligner.inputs` makes over the backbone's own inputs, for good.

    From then on the backbone alone gives the pair's scores.
    """
    if not _changes_inputs(joint):
        return
    own = joint.backbone.input_embeddings()
    made = joint.aligner.inputs(own, joint.text)
    for old, new in ((own.users, made.users), (own.items, made.items)):
        if old is not None and new is not None and new is not old:
            old.copy_(new)
            old.requires_grad_(True)  # part of what was trained, and stored with it
    joint.backbone.train(joint.backbone.training)  # whatever it kept of its old weights is forgotten


@contextmanager
def deployed(joint: Joint) -> Iterator[Backbone]:
    """The backbone as it would be deployed now; training goes on from where it was."""
    if not _changes_inputs(joint):
        yield joint.backbone
        return
    own = joint.backbone.input_embeddings()
    kept = [(t, t.detach().clone(), t.requires_grad) for t in (own.users, own.items) if t is not None]
    deploy(joint)
    try:
        yield joint.backbone
    finally:
        with torch.no_grad():
            for table, before, learns in kept:
                table.copy_(before).requires_grad_(learns)
        joint.backbone.train(joint.backbone.training)


def _changes_inputs(joint: Joint) -> bool:
    return type(joint.aligner).inputs is not Aligner.inputs
