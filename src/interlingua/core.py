"""The whole vocabulary: tables of vectors, batches, queries, and the five contracts that every method is composed of.

Shape key: U users, I items, B rows of a batch, L positions of a history, C candidates, D backbone width,
T text width. Item and user *rows* are positions in :class:`interlingua.data.interactions.Interactions`; external ids
never enter a batch.
The row ``PAD`` (-1) stands for "no item" in a padded history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from interlingua.batch import Batch, Encoded, FloatArray, Side, Tables
from interlingua.component import Component
from interlingua.config import FitConfig
from interlingua.queries import PAD, IntArray, Queries

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions

__all__ = [
    "PAD", "Aligner", "Backbone", "Batch", "Domain", "Encode", "Encoded", "FloatArray", "IntArray", "Joint", "Metrics",
    "Queries", "Ranker", "Reader", "ReaderInputs", "Side", "TableRanker", "Tables", "Text",
]  # fmt: skip


@runtime_checkable
class Ranker(Protocol):
    """Anything that scores items for queries: a table, an NCF, a language model. What evaluation and serving see."""

    num_items: int

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores, higher is better.

        Args:
            queries: B users with histories.
            items: (B, C) candidate rows of each query, or None for the whole catalogue.

        Returns:
            (B, C) or (B, I) float32. Seen items are *not* masked here; the caller does that.
        """
        ...


class Text(Protocol):
    """Item or user texts as vectors: a frozen table and a trainable encoder look the same."""

    @property
    def dim(self) -> int:
        """T"""
        ...

    def rows(self, side: Side, ids: Tensor | None = None) -> Tensor:
        """(n, T) vectors of the given rows, or of all."""
        ...


class Backbone(Component):
    """A collaborative-filtering model. A new one is one file in ``backbones/`` with a subclass and its ``Config``.

    Two families share the contract: trained by gradient (``ego/encode/losses``) and solved in closed form (``solve``
    fills buffers, ``score`` reads them). Subclasses set ``sampling`` to say which batches they train on.
    """

    kind: ClassVar[str] = "backbone"
    sampling: ClassVar[Literal["pairs", "sequences", "none"]] = "pairs"
    """``none``: closed form, :meth:`solve` is called instead of the training loop"""
    needs_text: ClassVar[bool] = False
    """True: ``text`` is passed to :meth:`solve`, and the recipe must have a [text] section"""
    dot_product: ClassVar[bool] = True
    """False: :meth:`score` is another function of the vectors; they are then inputs of aligners and readers only"""

    num_users: int
    num_items: int

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__()
        self.config = config
        self.num_users = train.num_users
        self.num_items = train.num_items

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """A frozen table of texts, where :attr:`needs_text` says so."""
        return frozenset({"text.table"} if cls.needs_text else ())

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """Scores, and what the subclass defines of vectors and training."""
        trained = cls.sampling != "none"
        said = {
            "scores": True, "items": cls.item_table is not Backbone.item_table, "training": trained,
            "users": cls.represent is not Backbone.represent, "inputs": cls.ego is not Backbone.ego,
            "user_table": cls.sampling == "pairs", "dot_product": cls.dot_product,
        }  # fmt: skip
        return frozenset(word for word, holds in said.items() if holds)

    @classmethod
    def width(cls, config: Any) -> int | None:
        """Columns of the tables of :meth:`ego`; None where only a made backbone says so."""
        return config.embedding_dim if "embedding_dim" in type(config).model_fields else None

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterable[Batch]]:
        """What :func:`interlingua.fit.fit_best` trains this backbone on: (epoch, generator) -> the epoch's batches."""
        raise NotImplementedError(f"{type(self).__name__} is not trained by gradient")

    def solve(self, train: Interactions, text: Text | None = None) -> None:
        """Closed-form fit: reads the training interactions (and texts) once."""
        raise NotImplementedError(f"{type(self).__name__} is trained by gradient")

    def expected_seconds(self, train: Interactions) -> float | None:
        """Seconds that :meth:`solve` will take, where they do not follow from a part of the users; else None."""
        return None

    def ego(self) -> Tables:
        """Trainable inputs, before any propagation."""
        raise NotImplementedError(f"{type(self).__name__} has no vectors")

    def encode(self, ego: Tables, batch: Batch) -> Encoded:
        """Users and items of one batch from the inputs ``ego`` (which an aligner may have changed)."""
        raise NotImplementedError(f"{type(self).__name__} has no vectors")

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Named scalars to be summed and minimised."""
        raise NotImplementedError(f"{type(self).__name__} is not trained by gradient")

    def represent(self, queries: Queries) -> Tensor:
        """(B, D) user vectors of arbitrary queries, unknown users included (from their histories). No gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no user vectors")

    def item_table(self) -> Tensor:
        """(I, D) item vectors whose dot product with :meth:`represent` is the score (see :attr:`dot_product`)."""
        raise NotImplementedError(f"{type(self).__name__} has no item vectors")

    def item_bias(self) -> Tensor | None:
        """(I,) added to every dot product, or None."""
        return None

    def learned_items(self, train: Interactions) -> Tensor:
        """(I,) bool: items whose vector says something; others are reached by their texts, where that is possible."""
        return torch.as_tensor(train.item_counts > 0)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Buffers take the stored shape: what :meth:`solve` filled is restored into a freshly made object."""
        for name, buffer in self._buffers.items():
            stored = state_dict.get(prefix + name)
            if buffer is not None and stored is not None and stored.shape != buffer.shape:
                self._buffers[name] = buffer.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Dot product of :meth:`represent` with :meth:`item_table` (see :class:`Ranker`)."""
        self.eval()
        query, table, bias = self.represent(queries), self.item_table(), self.item_bias()
        if items is None:
            scores = query @ table.T
            return (scores if bias is None else scores + bias).float().cpu().numpy()
        rows = torch.as_tensor(np.asarray(items), device=table.device)
        scores = torch.einsum("bd,bcd->bc", query, table[rows])
        return (scores if bias is None else scores + bias[rows]).float().cpu().numpy()


Encode = Callable[[Tables, Batch], Encoded]


class Aligner(Component):
    """Joins a backbone with texts through its encode *function*: it may change the input or read the output."""

    kind: ClassVar[str] = "align"
    keeps_space: ClassVar[bool] = False
    """True: the exported item vectors lie in the backbone's own space, so that its user vectors score them"""
    trains_backbone: ClassVar[bool] = False
    """True: there is nothing to learn with a frozen backbone"""
    picks_dimensions: ClassVar[bool] = False
    """True: texts need as many dimensions as the backbone's vectors, or more"""
    makes_inputs: ClassVar[bool] = False
    """True: ``backbone_dim`` is the width of the backbone's inputs, not of its final vectors (layers side by side)"""

    def __init__(self, config: Any, backbone_dim: int, text_dim: int) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Item vectors; what is trained reads the backbone's inputs, and its batches unless it makes its own."""
        fitted = "fit" in cls.Config.model_fields
        own = cls.batches is not Aligner.batches
        return frozenset(
            {"items"} | ({"inputs"} if fitted else set()) | ({"training"} if fitted and not own else set())
        )

    def forward(
        self, encode: Encode, ego: Tables, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The encoded batch and named alignment losses."""
        return encode(ego, batch), {}

    def inputs(self, ego: Tables, text: Text | None) -> Tables:
        """What the backbone reads instead of ``ego`` when nothing is random (``ego`` itself: nothing changes)."""
        return ego

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Called once before training: where an aligner sets the backbone's first weights."""

    def batches(
        self, backbone: Backbone, train: Interactions, fit: FitConfig
    ) -> Callable[[int, np.random.Generator], Iterable[Batch]]:
        """What the pair is trained on: the backbone's own batches, unless the aligner needs others."""
        return backbone.batches(train, fit)

    def export(self, tables: Tables, text: Text | None) -> Tables:
        """The vectors that later stages see."""
        return tables

    def to_backbone(self, latents: Tensor) -> Tensor:
        """(n, D) exported item vectors in the backbone's space, where its user vectors score them."""
        return latents


class Joint(nn.Module):
    """The only place where backbone, text and aligner meet; ``forward(batch)`` is the training contract."""

    def __init__(
        self, backbone: Backbone, aligner: Aligner, text: Text | None = None, *, frozen_backbone: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.aligner = aligner
        self.text = text  # registered as a child when it is a module (a trainable encoder)
        self.frozen_backbone = frozen_backbone
        if frozen_backbone:
            backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Joint:
        """A frozen backbone stays in evaluation mode: its dropout would be noise that nothing learns from."""
        super().train(mode)
        if self.frozen_backbone:
            self.backbone.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses of one batch."""
        encoded, extra = self.aligner(self.backbone.encode, self.backbone.ego(), self.text, batch)
        own = {} if self.frozen_backbone else self.backbone.losses(encoded, batch)
        return {**own, **extra}


class TableRanker:
    """A ranker from plain vectors: what a user's own embeddings or an exported run become."""

    def __init__(self, items: Tensor, represent: Callable[[Queries], Tensor], bias: Tensor | None = None) -> None:
        self.items, self.represent, self.num_items = items, represent, int(items.shape[0])
        self.bias = items.new_zeros(()) if bias is None else bias

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Dot products, plus the (I,) bias where there is one (see :class:`Ranker`)."""
        query, bias = self.represent(queries), self.bias.expand(self.num_items)
        if items is None:
            return (query @ self.items.T + bias).float().cpu().numpy()
        rows = torch.as_tensor(np.asarray(items), device=self.items.device)
        return (torch.einsum("bd,bcd->bc", query, self.items[rows]) + bias[rows]).float().cpu().numpy()


@dataclass(frozen=True)
class Domain:
    """Words for the catalogue's things, for prompts and pages; stored in the dataset card."""

    noun: str = "item"
    """``movie``, ``product``, ``game``, ``book``, ``place``"""
    verb: str = "choose"
    """what a user does with it: ``watch``, ``buy``, ``play``, ``read``, ``visit``"""
    past: str = "chosen"
    """its past participle: ``watched``, ``bought``"""


@dataclass(frozen=True)
class ReaderInputs:
    """What a language-model reader sees: tables and functions of queries, never a backbone."""

    titles: list[str]
    """(I,) printable titles"""
    domain: Domain
    train: Interactions
    items: Tensor
    """(I, Di) vectors for the ``item`` slot; for items unseen in training already the text latents"""
    text_items: Tensor | None
    """(I, Di) the same space reached from texts alone (``A-LLMRec (SBERT)``), where the aligner has it"""
    represent: Callable[[Queries], Tensor] | None
    """(B, Du) vectors for the ``user`` slot, from the frozen backbone"""
    user_dim: int
    """Du (0 without a user slot)"""
    base_score: Callable[[Queries, IntArray | None], FloatArray] | None = None
    """the frozen backbone's own scores, for residual scoring, distillation and retrieval"""
    base_items: tuple[Tensor, Tensor | None] | None = None
    """(I, Du) vectors and (I,) bias whose products with :attr:`represent` are :attr:`base_score`, where it is one"""
    cold_items: npt.NDArray[np.bool_] | None = None
    """(I,) items that the backbone has not learned: without a training event, or without a vector"""
    texts: Tensor | None = None
    """(I, T) the text encoder's own vectors, where they are frozen"""
    categories: list[str | None] | None = None
    """(I,) each item's categories (``A|B`` or ``A, B``), where the catalogue has them"""


class Reader(Component):
    """A frozen language model that reads vectors: trained on :meth:`batches`, afterwards a :class:`Ranker`."""

    kind: ClassVar[str] = "llm"

    num_items: int

    def __init__(self, config: Any, inputs: ReaderInputs) -> None:
        super().__init__()
        self.config = config
        self.inputs = inputs
        self.num_items = len(inputs.titles)

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Something that retrieves, item vectors, and what the options ask for."""
        return frozenset({"scores", "items"}) | config.needs

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterable[Batch]:
        """Training batches of one epoch (a round): see :data:`interlingua.fit.Batches`."""
        raise NotImplementedError

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """See :class:`Ranker`."""
        raise NotImplementedError


Metrics = Mapping[str, float]
