"""Mixtures of LoRA experts: beside each chosen matrix several low-rank updates, mixed by a gate of the layer.

A layer has e experts of rank r. Matrix W becomes ``W x + (alpha / R) sum_k g_k B_k A_k x``, with gate weights
``g = softmax(G m)`` of the layer, m the mean of the layer's input over a row's tokens; B and G start at zero. All
layers hold weights for the most experts and the largest rank; which part of them a pass uses, layer by layer, is its
:class:`Shape` (the first e experts, the first r rows of A). What a pass does not use gets no gradient. The factor has
the largest rank R whatever r is (LoRA: r): shapes share their weights, and an update means the same in all of them.

Shape key: B rows, T tokens, N layers, I inputs and O outputs of a matrix, E most experts, R largest rank.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.errors import ConfigError
from interlingua.lm.adapters import LoraOptions, Tuned, module_names, sharing
from interlingua.lm.models import LanguageModel
from interlingua.lm.variants import stack_of


class MixtureOptions(LoraOptions):
    """Options of a mixture."""

    rank: int = Field(default=8, ge=1)
    """the largest rank of an expert"""
    experts: int = Field(default=4, ge=1)
    """the most experts of a layer"""


@dataclass(frozen=True)
class Shape:
    """How much of every layer's mixture is used."""

    experts: tuple[int, ...]
    """(N,)"""
    ranks: tuple[int, ...]
    """(N,)"""


@dataclass
class _Pass:
    """One forward pass: its tokens, its shape, and the gate weights of the layers that it has come to."""

    mask: Tensor
    """(B, T) 1 at tokens"""
    shape: Shape
    gates: dict[int, Tensor] = field(default_factory=dict)
    """layer -> (B, E), zero for experts that are not used"""


_CURRENT: ContextVar[_Pass | None] = ContextVar("the forward pass through a mixture", default=None)


@contextmanager
def mixing(mask: Tensor, shape: Shape) -> Iterator[None]:
    """While open, a pass of this thread over B rows uses the experts; otherwise the model is the one it was made of.

    Args:
        mask: (B, T) 1 at tokens, 0 at padding.
        shape: see :class:`Shape`.
    """
    token = _CURRENT.set(_Pass(mask, shape))
    try:
        yield
    finally:
        _CURRENT.reset(token)


class _MixtureLinear(nn.Module):
    """A frozen matrix (``base``) with the experts of its layer."""

    def __init__(self, base: nn.Module, layer: int, options: MixtureOptions) -> None:
        super().__init__()
        inputs, outputs = _widths(base)
        width = options.experts * options.rank
        self.base, self.layer = base, layer
        self.experts, self.rank, self.alpha = options.experts, options.rank, options.alpha
        self.lora_dropout = nn.Dropout(options.dropout)
        self.lora_A = nn.Parameter(torch.empty(width, inputs))
        """(E R, I)"""
        self.lora_B = nn.Parameter(torch.zeros(outputs, width))
        """(O, E R)"""
        nn.init.uniform_(self.lora_A, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))  # peft's

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) -> (B, T, O)."""
        out: Tensor = self.base(x)
        now = _CURRENT.get()
        if now is None:
            return out
        used = torch.arange(self.rank, device=x.device) < now.shape.ranks[self.layer]  # (R,)
        weights = (now.gates[self.layer][:, :, None] * used * (self.alpha / self.rank)).flatten(1)  # (B, E R)
        down = functional.linear(self.lora_dropout(x.float()), self.lora_A)
        return out + functional.linear(down * weights[:, None], self.lora_B).to(out.dtype)


def _widths(module: Any) -> tuple[int, int]:
    """Inputs and outputs of a matrix; GPT-2 keeps it transposed."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D":
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    raise ConfigError(f"ranker.lora.modules names a {type(module).__name__}, and experts stand beside matrices only")


def _gate(gate: nn.Linear, layer: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Before a layer: the weights of its experts for every row."""
    now = _CURRENT.get()
    if now is None:
        return
    states = (args[0] if args else kwargs["hidden_states"]).float()
    mask = now.mask.to(states)[..., None]
    mean = (states * mask).sum(1) / mask.sum(1).clamp_min(1)
    unused = torch.arange(gate.out_features, device=mean.device) >= now.shape.experts[layer]
    now.gates[layer] = gate(mean).masked_fill(unused, -math.inf).softmax(-1)


def with_experts(lm: LanguageModel, options: MixtureOptions) -> Tuned:
    """A model that shares the weights of ``lm`` and has experts, which learn; used inside :func:`mixing` only.

    Draws the matrices A from PyTorch's global generator.

    Raises:
        ConfigError: no matrix has one of the names in ``options.modules``.
    """
    model = sharing(lm.model)
    ends = module_names(lm, options)
    for number, layer in enumerate(stack_of(model, lm.num_layers)):
        found = [(name, part) for name, part in layer.named_modules() if _named(name, part, ends)]
        if not found:
            has = sorted({name.rpartition(".")[2] for name, part in layer.named_modules() if _named(name, part, "all")})
            raise ConfigError(
                f"ranker.lora.modules = {options.modules!r}: layer {number} of {lm.name} has no such matrix; it has "
                f"{', '.join(has)}"
            )
        for name, part in found:
            owner, _, own = name.rpartition(".")
            setattr(layer.get_submodule(owner), own, _MixtureLinear(part, number, options))
        gate = nn.Linear(int(lm.config.hidden_size), options.experts, bias=False)
        nn.init.zeros_(gate.weight)
        layer.lora_gate = gate
        layer.register_forward_pre_hook(partial(_gate, gate, number), with_kwargs=True)
    model.eval()
    return Tuned(replace(lm, model=model, name=f"{lm.name} (experts)", whole=lm), "lora", lm.name)


def digest(made: Tuned) -> str:
    """sha256 of all that a model has learned."""
    found = hashlib.sha256()
    for _, value in sorted(made.named_parameters()):
        found.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _named(name: str, part: nn.Module, ends: Sequence[str] | str) -> bool:
    matrix = isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"
    return matrix and (isinstance(ends, str) or name.rpartition(".")[2] in ends)
