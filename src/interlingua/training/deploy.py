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
from interlingua.contracts.batch import Embeddings
from interlingua.contracts.text import Text
from interlingua.training.joint import Joint


def aligner_for(cls: type[Aligner], config: Any, backbone: Backbone, text: Text | None) -> Aligner:
    """An aligner with fresh weights, of the widths that this backbone and these texts have."""
    table = backbone.input_embeddings().items if cls.makes_inputs else backbone.item_embeddings()
    return cls(config, int(table.shape[1]), 0 if text is None else text.dim)


def deploy(joint: Joint) -> None:
    """Writes what :meth:`interlingua.contracts.aligner.Aligner.inputs` makes over the backbone's own inputs, for good.

    From then on the backbone alone gives the pair's scores.
    """
    found = _made(joint)
    if found is not None:
        _write(joint, *found)


@contextmanager
def deployed(joint: Joint) -> Iterator[Backbone]:
    """The backbone as it would be deployed now; training goes on from where it was."""
    found = _made(joint)
    if found is None:
        yield joint.backbone
        return
    own = found[0]
    stored = [(t, t.detach().clone(), t.requires_grad) for t in (own.users, own.items) if t is not None]
    _write(joint, *found)
    try:
        yield joint.backbone
    finally:
        with torch.no_grad():
            for table, before, learns in stored:
                table.copy_(before).requires_grad_(learns)
        joint.backbone.train(joint.backbone.training)


@torch.no_grad()
def _made(joint: Joint) -> tuple[Embeddings, Embeddings] | None:
    """The backbone's inputs and those that the aligner makes of them; None: it has none, or they stay as they are."""
    if "inputs" not in joint.backbone.makes(joint.backbone.config):
        return None
    own = joint.backbone.input_embeddings()
    made = joint.aligner.inputs(own, joint.text)
    return None if made is own else (own, made)


@torch.no_grad()
def _write(joint: Joint, own: Embeddings, made: Embeddings) -> None:
    for old, new in ((own.users, made.users), (own.items, made.items)):
        if old is not None and new is not None and new is not old:
            old.copy_(new)
            old.requires_grad_(True)  # part of what was trained, and stored with it
    joint.backbone.train(joint.backbone.training)  # whatever it kept of its old weights is forgotten
