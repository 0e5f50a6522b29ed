"""Other models made of one: its weights shuffled (the control without knowledge), or its first layers only."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from interlingua.errors import ConfigError
from interlingua.lm.models import LanguageModel


def shuffled(held: LanguageModel, seed: int) -> LanguageModel:
    """The control: same architecture, the entries of every weight tensor permuted, so all its knowledge is gone.

    Each tensor keeps its distribution of values; tied matrices stay tied. The given model is left as it is.
    """
    if held.precision == "4bit":
        raise ConfigError("the control with shuffled weights needs precision fp32 or bf16 (got 4bit)")
    model = copy.deepcopy(held.model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.reshape(-1)[order].view_as(weight))
    name, revision = f"{held.name} (shuffled)", f"{held.revision}-shuffled-{seed}"
    return replace(held, model=model, name=name, revision=revision, whole=None)


def truncated(held: LanguageModel, num_layers: int) -> LanguageModel:
    """The first ``num_layers`` layers, final norm and output matrix; weights are shared with the given model."""
    total = held.num_layers
    if not 1 <= num_layers <= total:
        raise ConfigError(f"{held.name} has {total} layers; cannot keep {num_layers}")
    if num_layers == total:
        return held
    memo: dict[int, Any] = {id(p): p for p in held.model.parameters()}  # deepcopy then shares them
    model = copy.deepcopy(held.model, memo)
    stack = stack_of(model, total)
    owner, name = _owner(model, stack)
    setattr(owner, name, stack[:num_layers])
    config: Any = model.config
    config.num_hidden_layers = num_layers
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        config.layer_types = list(kinds)[:num_layers]
    name, revision = f"{held.name} ({num_layers} layers)", f"{held.revision}-layers-{num_layers}"
    return replace(held, model=model, name=name, revision=revision, whole=held)


def stack_of(model: nn.Module, total: int) -> nn.ModuleList:
    """The list of a model's ``total`` layers."""
    return next(m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == total)


def _owner(model: nn.Module, child: nn.Module) -> tuple[nn.Module, str]:
    for module in model.modules():
        for name, candidate in module.named_children():
            if candidate is child:
                return module, name
    raise ConfigError(f"{type(model).__name__} has no list of layers to cut")
