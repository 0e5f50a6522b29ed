"""What both CTRLs share: states after a prefix against sentences of it, in a phase before the backbone's own training.

Phase 1 trains the backbone with a contrast of its states and sentences, and none of its own losses; phase 2 is the
backbone's own training from there, and reads no text. What is kept is the backbone.

With ``text.trainable = true`` the sentence encoder learns in phase 1 too: each step reads its batch's sentences. Its
weights are dropped after it. A frozen encoder reads every sentence once.

Shape key: B rows, P prefixes, N events, D backbone width, T text width, J joint width, M sub-spaces, S width of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.align._encoder_rate import two_rates
from interlingua.align._profile_map import needed
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import ReadableText, Text
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.training.prefixes import Int64, prefix_batches, spread

MAX_HISTORY = 50
"""events of a prefix if the backbone sets no limit"""
PHASE = "contrast"
"""name of phase 1"""


class PrefixFit(FitConfig):
    """Training in phase 1: one optimiser, with two groups of weights where the encoder learns."""

    encoder_learning_rate: float | None = Field(default=None, gt=0)
    """of the text encoder, with ``text.trainable``; None: ``learning_rate``, one rate for all (CTRL)"""

    def groups(self, named: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
        """The encoder's weights at their own rate, and all others."""
        return two_rates(named, self.encoder_learning_rate)


class PrefixConfig(Config):
    """Options that both share."""

    joint_dim: int = Field(128, ge=1)
    """J, width of states and sentences after their first maps (CTRL: 128; A-LLMRec: 50)"""
    sub_spaces: int = Field(3, ge=1)
    """M (A-LLMRec: 3; CTRL does not say)"""
    sub_dim: int | None = Field(None, ge=1)
    """S; None: J (A-LLMRec; CTRL does not say)"""
    prefixes: int = Field(4, ge=1)
    """of each user, evenly over the history, the whole one among them; each is a sentence to be encoded"""
    history_titles: int = Field(10, ge=1)
    """last titles of a prefix that its sentence names (both: all)"""


@dataclass(frozen=True)
class Words:
    """What sentences are made of, and what reads them (see ``ReadableText.reader``)."""

    titles: list[str]
    texts: list[str]
    reader: Callable[[list[str]], Callable[[Tensor], Tensor]]


class PrefixSentences(Aligner):
    """Maps of states and sentences into sub-spaces; subclasses say what a sentence is, and the contrast."""

    reads = frozenset({"text.items", "text.encoder", "users", "training"})
    trains_backbone = True
    backbone_follows = True
    version = 2
    named: ClassVar[str]
    """the component's name, for errors"""

    places: Tensor

    def __init__(self, config: Any, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        width = config.sub_dim or config.joint_dim
        self.state_map = nn.Linear(backbone_dim, config.joint_dim)
        self.text_map = nn.Linear(text_dim, config.joint_dim)
        self.state_parts = nn.Linear(config.joint_dim, config.sub_spaces * width)
        self.text_parts = nn.Linear(config.joint_dim, config.sub_spaces * width)
        self.register_buffer("places", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.only_own_losses = True
        self._words: Words | None = None
        self._read: Callable[[Tensor], Tensor] | None = None

    def sentence(self, words: Words, prefix: list[int], target: int) -> str:
        """The sentence of a prefix (item indices, oldest first) and the item after it."""
        raise NotImplementedError

    def contrast(self, states: Tensor, sentences: Tensor) -> Tensor:
        """The loss of states (B, M, S) and the sentences (B, M, S) of the same prefixes."""
        raise NotImplementedError

    def cut(self, events: Int64, train: Interactions, size: int, generator: np.random.Generator) -> list[Int64]:
        """The epoch's batches, as numbers of the events after each prefix."""
        raise NotImplementedError

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Keeps the words, of which sentences are made once the training events are known.

        Raises:
            ConfigError: a rate for an encoder that does not learn.
        """
        source, rate = cast(ReadableText, needed(text, self.named)), self.config.fit.encoder_learning_rate
        if rate is not None and source.frozen is not None:
            raise ConfigError(
                f"align.fit.encoder_learning_rate is {rate}, but [text] is frozen: set text.trainable = true, or leave "
                "the rate out"
            )
        self._words = Words(list(source.titles), list(source.texts), source.reader)

    def batches(
        self, backbone: Backbone, train: Interactions, fit: FitConfig
    ) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Phase 1's: prefixes of histories. Their sentences are written here; a frozen encoder reads them here too."""
        events = spread(train, self.config.prefixes)
        self._write(train, events)
        length = backbone.history_length(backbone.config) or MAX_HISTORY

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            return prefix_batches(train, self.cut(events, train, fit.batch_size, generator), length)

        return make

    def _write(self, train: Interactions, events: Int64) -> None:
        """Makes what reads the P sentences, and (N,) which one is an event's."""
        assert self._words is not None, "start() comes first"
        written = []
        for event in events.tolist():
            first = max(int(train.offsets[train.users[event]]), event - self.config.history_titles)
            written.append(self.sentence(self._words, train.items[first:event].tolist(), int(train.items[event])))
        self._read = self._words.reader(written)
        places = torch.zeros(len(train), dtype=torch.int64)
        places[torch.from_numpy(events)] = torch.arange(len(events))
        self.places = places.to(self.text_map.weight.device)

    def fit(self, job: Fitting) -> FitLog:
        """The contrast, then the backbone's own training, each with its section's ``fit``."""
        assert job.backbone is not None
        assert job.text is not None
        self.start(job.backbone, job.text)
        self.only_own_losses = True
        batches = self.batches(job.backbone, job.train, self.config.fit)
        before = job.by_gradient(batches, self.config.fit, earlier=True)
        self.only_own_losses = False
        cast(ReadableText, job.text).freeze()
        options = job.backbone.config.fit
        return job.by_gradient(job.backbone.batches(job.train, options), options).after(PHASE, before)

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The encoded batch, and ``contrast`` in phase 1."""
        needed(text, self.named)
        encoded = encode(inputs, batch)
        if not self.only_own_losses:
            return encoded, {}
        assert batch.events is not None, "phase 1 is trained on its own batches"
        assert self._read is not None, "batches() comes first"
        sentences = self._read(self.places[batch.events])
        states = self._parts(self.state_parts, self.state_map(encoded.query))
        return encoded, {"contrast": self.contrast(states, self._parts(self.text_parts, self.text_map(sentences)))}

    def _parts(self, layer: nn.Linear, joint: Tensor) -> Tensor:
        """(B, J) -> (B, M, S)."""
        made: Tensor = layer(joint)
        return made.view(len(joint), self.config.sub_spaces, -1)
