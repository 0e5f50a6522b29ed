"""Training of a quantiser on a table of vectors: an inner fit of a few hundred steps, kept as constants.

Shape key: n vectors, T width, K codes of a vector.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.config import Config
from interlingua.nn.quantise import CodeReport, Quantiser, code_report
from interlingua.progress import track
from interlingua.runtime.repeatable import repeatable

Module = TypeVar("Module", bound=nn.Module)


class QuantiserOptions(Config):
    """Sizes and training of codebooks."""

    levels: int = Field(default=3, ge=1)
    """K, codes of an item (TIGER and TokenRec: 3; LC-Rec: 4)"""
    size: int = Field(default=256, ge=2)
    """codes of a codebook (TIGER, LC-Rec: 256; TokenRec: 512 in the paper, 256 in the code)"""
    code_dim: int = Field(default=32, ge=1)
    """width of a code (TIGER, LC-Rec: 32; TokenRec: 512)"""
    hidden: list[int] = Field(default=[256, 128])
    """widths of the encoder's hidden layers, the decoder's in reverse (TIGER: 512, 256, 128; TokenRec: 128, 256)"""
    beta: float = Field(default=0.25, ge=0)
    """weight of the commitment (all: .25)"""
    epochs: int = Field(default=100, ge=0)
    """passes over the vectors (TIGER: 20,000; TokenRec: 1,000)"""
    batch_size: int = Field(default=512, ge=2)
    """vectors of a step (TIGER: 1,024; TokenRec: 512)"""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's step size (TokenRec: 1e-3; TIGER: Adagrad with .4)"""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's (TokenRec: .01)"""
    restart_every: int = Field(default=10, ge=0)
    """epochs after which codes that no vector uses are moved (TokenRec: all of them, every 50); 0: never"""


def as_buffers(module: Module) -> Module:
    """The module with constants in place of its parameters: they are stored, and nothing trains them."""
    for part in module.modules():
        for name, held in list(part._parameters.items()):
            if held is not None:
                del part._parameters[name]
                part.register_buffer(name, held.detach().clone())
    return module.eval()


class FittedQuantiser(nn.Module):
    """A quantiser, its vectors' mean and scale, all constant once :meth:`fit` has run.

    Then a vector's codes depend on it alone; the codebooks follow from the seed and all vectors of the fit.
    ``make``: (T) -> the quantiser, with parameters. T may be told by :meth:`fit`, or by the state that is loaded.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, make: Callable[[int], Quantiser], width: int = 0) -> None:
        super().__init__()
        self.make = make
        self.held = as_buffers(make(width)) if width else Quantiser()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, vectors: Tensor, options: QuantiserOptions, label: str) -> CodeReport:
        """Trains on vectors (n, T) with PyTorch's generator; reports on the codes that they get."""
        table = vectors.detach().float().to(self.mean.device)
        self.mean = table.mean(0)
        self.scale = (table - self.mean).square().mean().sqrt().clamp(min=1e-12)
        centred = (table - self.mean) / self.scale
        quantiser = self.make(table.shape[1]).to(table.device)
        train_quantiser(quantiser, centred, options, label)
        self.held = as_buffers(quantiser)
        codes = self.codes(table)
        return code_report(codes, options.size, table, self.decode(codes))

    def codes(self, vectors: Tensor) -> Tensor:
        """(n, K) codes of vectors (n, T)."""
        return self.held.codes((vectors.to(self.mean) - self.mean) / self.scale)

    def decode(self, codes: Tensor) -> Tensor:
        """(n, T) vectors that codes (n, K) stand for."""
        return self.held.decode(codes) * self.scale + self.mean

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Takes the stored width; the quantiser is made for it before its constants are read."""
        stored = state_dict.get(prefix + "mean")
        if stored is not None and stored.shape != self.mean.shape:
            self.mean = self.mean.new_zeros(stored.shape)
            self.held = as_buffers(self.make(len(stored))).to(self.mean.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def train_quantiser(quantiser: Quantiser, vectors: Tensor, options: QuantiserOptions, label: str) -> None:
    """Begins by K-means, takes ``options.epochs`` passes in random order, restarts dead codes; none in the last tenth.

    Args:
        quantiser: with parameters.
        vectors: (n, T) centred and scaled.
        options: sizes and rates.
        label: what progress says.
    """
    quantiser.train()
    quantiser.begin(vectors)
    optimizer = _optimizer(quantiser, options)
    last_restart = options.epochs - options.epochs // 10
    for epoch in track(range(1, options.epochs + 1), label):
        _pass(quantiser, vectors, optimizer, options.batch_size)
        if options.restart_every and epoch % options.restart_every == 0 and epoch <= last_restart:
            quantiser.restart(vectors)
    quantiser.eval()


def expected_seconds(quantiser: Quantiser, vectors: Tensor, options: QuantiserOptions) -> float:
    """Seconds of :func:`train_quantiser`, from one pass over vectors (n, T), one beginning and one restart."""
    table = vectors.detach().float()
    optimizer = _optimizer(quantiser.train(), options)
    times = [time.perf_counter()]
    for work in (
        lambda: quantiser.begin(table),
        lambda: _pass(quantiser, table, optimizer, options.batch_size),
        lambda: quantiser.restart(table),
    ):
        work()
        times.append(time.perf_counter())
    begin, one, restart = (after - before for before, after in pairwise(times))
    return begin + options.epochs * one + restart * (options.epochs // (options.restart_every or options.epochs + 1))


def _optimizer(quantiser: Quantiser, options: QuantiserOptions) -> torch.optim.Optimizer:
    return torch.optim.AdamW(quantiser.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)


def _pass(quantiser: Quantiser, vectors: Tensor, optimizer: torch.optim.Optimizer, batch_size: int) -> None:
    """One step for each batch of vectors (n, T), in random order."""
    for part in torch.randperm(len(vectors), device=vectors.device).split(batch_size):
        if len(part) < 2:  # statistics of a batch need two
            continue
        optimizer.zero_grad(set_to_none=True)
        with repeatable(vectors.device.type == "cpu"):
            torch.stack(list(quantiser.losses(vectors[part]).values())).sum().backward()
        optimizer.step()
