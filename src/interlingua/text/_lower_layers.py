"""Outputs of a sentence encoder's frozen lower layers: made once of each text; only the layers above run in a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interlingua.data.queries import IntArray
from interlingua.lm.sentence_model import SentenceModel, Tokens
from interlingua.progress import say
from interlingua.text._last_layers import stack_of, still_below

HELD_BYTES = 2**30
"""larger outputs are not kept: then every step runs all layers"""
ALIKE = 1e-3
"""how far vectors by kept outputs may be from those by all layers: rounding, in batches of other texts"""
TRIED = 8
"""texts by which that is tried"""


class _Passed(nn.Module):
    """Stands for a layer whose work is done."""

    def __init__(self, in_tuple: bool) -> None:
        super().__init__()
        self.in_tuple = in_tuple

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        """What it was given."""
        return (hidden_states,) if self.in_tuple else hidden_states


class LowerLayers:
    """Vectors of texts by the last ``train_layers`` of an encoder, over what the layers below made of them.

    That is made when it is first read, without dropout: (N, D) for the N tokens of all texts. Where it would be too
    large, or an encoder cannot be read from its middle, each call runs all layers.
    """

    def __init__(self, encoder: SentenceModel, tokens: Tokens, train_layers: int) -> None:
        self.encoder, self.tokens = encoder, tokens
        self.owner, self.name, self.layers = stack_of(encoder.model)
        self.below = len(self.layers) - train_layers
        self._states: Tensor | None = None
        self._in_tuple = False
        self._whole = self.below < 1 or len(tokens.ids) * encoder.dim * 4 > HELD_BYTES

    def __call__(self, indices: IntArray) -> Tensor:
        """(m, T) vectors of these texts, with gradients where they are enabled."""
        if self._states is None and not self._whole:
            self._make()
        found: Tensor = (
            self.encoder(self.tokens, indices)
            if self._states is None
            else self.encoder(self.tokens, indices, within=self._reading)
        )
        return found

    @torch.no_grad()
    def _make(self) -> None:
        """Runs the layers of all texts, and tries whether a few can be read again from there."""
        mode, every = self.encoder.training, np.arange(len(self.tokens))
        modes = [layer.training for layer in self.layers]
        self.encoder.eval()
        try:
            plain = self.encoder(self.tokens, every, within=self._noting)
            tried = self.encoder(self.tokens, every[:TRIED], within=self._reading)
            alike = torch.allclose(tried, plain[:TRIED], rtol=ALIKE, atol=ALIKE / 10)
        except (AttributeError, TypeError, IndexError):  # layers that are not called one by one on hidden states
            alike = False
        finally:
            self._put_back(mode, modes)
        if not alike:
            say("note: text: this encoder cannot be read from its middle, so every step runs its frozen layers too")
            self._states, self._whole = None, True

    def _put_back(self, mode: bool, modes: list[bool]) -> None:
        self.encoder.train(mode)
        still_below(self.encoder, len(self.layers) - self.below)
        for layer, own in zip(self.layers, modes, strict=True):
            layer.train(own)

    @contextmanager
    def _noting(self, indices: IntArray) -> Iterator[None]:
        """Keeps what the first layer that learns is given in this call."""
        given: list[Tensor] = []

        def note(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            given.append(args[0] if args else options["hidden_states"])

        def note_kind(_: nn.Module, __: Any, out: Any) -> None:
            self._in_tuple = isinstance(out, tuple)

        hooks = (
            self.layers[self.below].register_forward_pre_hook(note, with_kwargs=True),
            self.layers[0].register_forward_hook(note_kind),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        inside, source = self._places(indices, given[0].device)
        if self._states is None:
            self._states = given[0].new_zeros(len(self.tokens.ids), given[0].shape[-1])
        self._states[source[inside]] = given[0][inside]

    @contextmanager
    def _reading(self, indices: IntArray) -> Iterator[None]:
        """The layers below pass on what they are given, and the first that learns reads what was kept."""
        assert self._states is not None
        self._states = self._states.to(self.encoder.device)
        inside, source = self._places(indices, self._states.device)
        states = self._states.new_zeros(*inside.shape, self._states.shape[1])
        states[inside] = self._states[source[inside]]

        def give(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return ((states, *args[1:]), options) if args else (args, options | {"hidden_states": states})

        hook = self.layers[self.below].register_forward_pre_hook(give, with_kwargs=True)
        passed = [_Passed(self._in_tuple) for _ in range(self.below)]
        setattr(self.owner, self.name, nn.ModuleList([*passed, *self.layers[self.below :]]))
        try:
            yield
        finally:
            setattr(self.owner, self.name, self.layers)
            hook.remove()

    def _places(self, indices: IntArray, device: torch.device) -> tuple[Tensor, Tensor]:
        inside, source = self.tokens.places(indices, left=self.encoder.pads_left)
        return torch.from_numpy(inside).to(device), torch.from_numpy(source).to(device)
