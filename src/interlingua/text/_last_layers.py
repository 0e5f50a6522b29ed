"""Which layers of a sentence encoder learn."""

from __future__ import annotations

from typing import Any

from torch import nn

from interlingua.errors import ConfigError
from interlingua.lm.sentence_model import SentenceModel


def freeze_below(encoder: SentenceModel, train_layers: int | None) -> None:
    """Leaves only the last transformer layers (and what follows them) trainable."""
    if train_layers is None:
        return
    layers = _layers(encoder.model)
    if not 0 < train_layers <= len(layers):
        raise ConfigError(
            f"text.train_layers is {train_layers}; this encoder has {len(layers)} layers: use 1 to {len(layers)}, "
            "or leave it out for all of them"
        )
    encoder.model[0].requires_grad_(False)
    for layer in layers[-train_layers:]:
        layer.requires_grad_(True)


def _layers(model: Any) -> nn.ModuleList:
    """The longest list of modules is the transformer's stack of layers."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    if not lists:
        raise ConfigError("text.train_layers: this encoder has no stack of layers; leave train_layers unset")
    return max(lists, key=len)
