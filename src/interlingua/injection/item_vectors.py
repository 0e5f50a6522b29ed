"""The items' vectors as a ranker sees them: standardised, with the text's latent beside the joint one.

Shape key: I items, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from interlingua.contracts.ranker import RankerInputs
from interlingua.errors import ConfigError
from interlingua.injection.projector import standardise


def unlearned(inputs: RankerInputs) -> Tensor:
    """(I,) bool: items that the backbone has not learned; without its word, those without a training event."""
    cold = inputs.cold_items
    return torch.as_tensor(inputs.train.item_counts == 0 if cold is None else cold)


class ItemVectors(nn.Module):
    """(I, D) joint vectors and, where the aligner has them, the same space reached from texts.

    Both are shifted and scaled by the joint table's mean and spread. They are inputs, not parameters: nothing of them
    is saved with a ranker.
    """

    joint: Tensor
    text: Tensor

    def __init__(self, inputs: RankerInputs, source: str, scaled: bool) -> None:
        super().__init__()
        joint = inputs.items.detach().float()
        text = None if inputs.items_from_text is None else inputs.items_from_text.detach().float()
        if source == "random":  # the paper's ablation: vectors that carry nothing but identity
            generator = torch.Generator().manual_seed(0)
            joint, text = torch.randn(joint.shape, generator=generator), None
        if len(joint) != len(inputs.titles):
            raise ConfigError(f"{len(joint)} item vectors were given for {len(inputs.titles)} titles")
        if scaled:
            mean, scale = standardise(joint[: len(joint) - inputs.added])
            joint = (joint - mean) / scale
            text = None if text is None else (text - mean) / scale
        self.has_text, self.random = text is not None, source == "random"
        self.register_buffer("joint", joint, persistent=False)
        self.register_buffer("text", joint if text is None else text, persistent=False)

    @property
    def dim(self) -> int:
        """D"""
        return int(self.joint.shape[1])

    def mixed(self, from_text: Tensor) -> Tensor:
        """(I, D) the text latent where ``from_text`` (I,) is True, the joint vector elsewhere."""
        return torch.where(from_text[:, None], self.text, self.joint)

    def unseen(self, vectors: Tensor, hidden: Tensor) -> Tensor:
        """``vectors`` (I, D) with ``hidden`` (I,) items as if nothing had been learned of them.

        They are reached from their text, or stand in the middle of all items where there is none. Random vectors say
        nothing of an item's events, and stay.
        """
        if self.random:
            return vectors
        instead = self.text if self.has_text else self.joint.mean(0, keepdim=True)
        return torch.where(hidden[:, None], instead, vectors)

    def dropped(self, fraction: float) -> Tensor:
        """(I, D) with a random share of the items reached from their text: practice for unseen ones."""
        if fraction <= 0 or not self.has_text:
            return self.joint
        return self.mixed(torch.rand(len(self.joint), device=self.joint.device) < fraction)
