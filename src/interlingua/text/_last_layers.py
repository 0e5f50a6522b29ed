"""Which layers of a sentence encoder learn, and that the others have no dropout."""

from __future__ import annotations

from typing import Any

from torch import nn

from interlingua.errors import ConfigError
from interlingua.lm.sentence_model import SentenceModel


def freeze_below(encoder: SentenceModel, train_layers: int | None) -> None:
    """Leaves only the last transformer layers (and what follows them) trainable."""
    if train_layers is None:
        return
    _, _, layers = stack_of(encoder.model)
    if not 0 < train_layers <= len(layers):
        raise ConfigError(
            f"text.train_layers is {train_layers}; this encoder has {len(layers)} layers: use 1 to {len(layers)}, "
            "or leave it out for all of them"
        )
    encoder.model[0].requires_grad_(False)
    for layer in layers[-train_layers:]:
        layer.requires_grad_(True)


def still_below(encoder: SentenceModel, train_layers: int) -> None:
    """Takes what :func:`freeze_below` froze out of training mode: its dropout would be noise nothing learns from."""
    _, _, layers = stack_of(encoder.model)
    modes = [layer.training for layer in layers[-train_layers:]]
    encoder.model[0].eval()
    for layer, mode in zip(layers[-train_layers:], modes, strict=True):
        layer.train(mode)


def stack_of(model: Any) -> tuple[nn.Module, str, nn.ModuleList]:
    """The module that owns the transformer's layers, their name in it, and the layers: the longest list of modules."""
    found = [
        (owner, name, child)
        for owner in model.modules()
        for name, child in owner.named_children()
        if isinstance(child, nn.ModuleList)
    ]
    if not found:
        raise ConfigError("text.train_layers: this encoder has no stack of layers; leave train_layers unset")
    return max(found, key=lambda each: len(each[2]))
