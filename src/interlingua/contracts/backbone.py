"""A collaborative-filtering model: trained by gradient, solved in closed form, or brought by the user."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.batch import Batch, Embeddings, Encoded, FloatArray
from interlingua.contracts.component import Component
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.scorer import BoolArray, Scorer, Towers, products
from interlingua.contracts.text import Text
from interlingua.data.catalogue import Catalogue
from interlingua.data.queries import IntArray, Queries
from interlingua.progress import track

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions

USER_BLOCK = 2048
"""users whose vectors are made at once"""
PRETRAIN = "pretrain"
"""name of the phase of a training that :meth:`Backbone.pretrain` runs"""


class Backbone(Component, Scorer):
    """A collaborative-filtering model. A new one is one file in ``backbones/`` with a subclass and its ``Config``.

    Two families share the contract: trained by gradient (``input_embeddings``, ``encode``, ``losses``) and solved in
    closed form (``fit`` fills buffers, ``score`` reads them). Subclasses set ``sampling`` to say which batches they
    train on.
    """

    kind: ClassVar[str] = "backbone"
    sampling: ClassVar[Literal["pairs", "sequences", "histories", "none"]] = "pairs"
    """``histories``: whole histories as their own targets, without negatives; ``none``: closed form, which overrides
    :meth:`fit`"""
    draws_negatives: ClassVar[bool] = True
    """False: no loss compares with drawn items, whatever the options; users who have every item are learned too"""
    learns_first_events: ClassVar[bool] = False
    """True (``sequences``): a user's first event is a target too, after an empty history"""
    needs_text: ClassVar[bool] = False
    """True: :meth:`fit` (by gradient: :meth:`start`) reads texts, and the recipe must have a [text] section"""
    dot_product: ClassVar[bool] = True
    """False: :meth:`score` is another function of the vectors; they are then inputs of aligners and rankers only"""
    without_events: ClassVar[float | None] = None
    """score of every item without a training event (a sum over events: 0); None: it depends"""

    num_users: int
    num_items: int

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__()
        self.config = config
        self.num_users = train.num_users
        self.num_items = train.num_items

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Needs a frozen table of texts if :attr:`needs_text` is True."""
        return frozenset({"text.table"} if cls.needs_text else ())

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """Makes scores, and the vectors and training that the subclass defines."""
        trained = cls.sampling != "none"
        conditions = {
            "scores": True,
            "items": cls.item_embeddings is not Backbone.item_embeddings,
            "users": cls.user_embeddings is not Backbone.user_embeddings,
            "inputs": cls.input_embeddings is not Backbone.input_embeddings,
            "training": trained,
            "user_table": cls.sampling == "pairs",
            "dot_product": cls.dot_product,
        }
        return frozenset(word for word, holds in conditions.items() if holds)

    @classmethod
    def width(cls, config: Any) -> int | None:
        """Width of the tables of :meth:`input_embeddings`; None if it is known only after construction."""
        return config.embedding_dim if "embedding_dim" in type(config).model_fields else None

    @classmethod
    def history_length(cls, config: Any) -> int | None:
        """Number of last events of a history that are read; None: all, or none."""
        return config.max_history if config and "max_history" in type(config).model_fields else None

    @classmethod
    def reads_all_items(cls, config: Any) -> bool:
        """Whether a training step reads the inputs of items that are not in its batch.

        False lets an aligner that makes inputs at some cost (of a text encoder that learns) make only the batch's.
        """
        return True

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterable[Batch]]:
        """Batches for the loop (:mod:`interlingua.training.loop`): (epoch, generator) -> the epoch's batches."""
        raise NotImplementedError(f"{type(self).__name__} is not trained by gradient")

    def read_catalogue(self, catalogue: Catalogue) -> None:
        """Called once before :meth:`start`: where a model that reads the catalogue's columns takes them in."""

    def read_texts(self, texts: Mapping[str, Text]) -> None:
        """Called once before :meth:`start`: where a model that reads sections [texts.NAME] takes them in, by name."""

    def start(self, train: Interactions, text: Text | None) -> None:
        """Called once before training by gradient: where a model that reads texts takes them in."""

    def start_for_estimate(self, train: Interactions, text: Text | None) -> None:
        """What ``--dry-run`` calls in place of :meth:`start`: no long work, and steps that cost as much as after it."""
        self.start(train, text)

    def finish(self) -> None:
        """Called once after training by gradient: where a model keeps what its questions read of its weights."""

    def fit(self, job: Fitting) -> FitLog:
        """Trains by gradient on :meth:`batches`; closed forms override this and set ``sampling = "none"``."""
        if job.catalogue is not None:
            self.read_catalogue(job.catalogue)
        self.read_texts(job.texts)
        self.start(job.train, job.text)
        before = self.pretrain(job)
        log = job.by_gradient(self.batches(job.train, self.config.fit), self.config.fit)
        self.finish()
        return log if before is None else log.after(PRETRAIN, before)

    def pretrain(self, job: Fitting) -> FitLog | None:
        """A training before :meth:`fit`'s own, ``job.by_gradient(..., earlier=True)``; None: there is none.

        An aligner that trains a backbone along leaves it out.
        """
        return None

    def expected_seconds(self, train: Interactions) -> float | None:
        """Seconds that :meth:`fit` will take, where they do not follow from a part of the users; else None."""
        return None

    def input_embeddings(self) -> Embeddings:
        """Trainable inputs, before any propagation."""
        raise NotImplementedError(f"{type(self).__name__} has no vectors")

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Vectors of a batch's users and items, from ``inputs`` (which an aligner may have changed)."""
        raise NotImplementedError(f"{type(self).__name__} has no vectors")

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Named scalars to be summed and minimised."""
        raise NotImplementedError(f"{type(self).__name__} is not trained by gradient")

    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) user vectors of any queries; unknown users get theirs from their histories. No gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no user vectors")

    def users_over(self, items: Tensor) -> Callable[[Queries], Tensor] | None:
        """:meth:`user_embeddings` that reads histories by the vectors ``items`` (I, D) where it has none of theirs.

        None: an item that it has not learned says nothing in a history.
        """
        return None

    def item_embeddings(self) -> Tensor:
        """(I, D) item vectors whose dot product with :meth:`user_embeddings` is the score (see :attr:`dot_product`)."""
        raise NotImplementedError(f"{type(self).__name__} has no item vectors")

    def item_bias(self) -> Tensor | None:
        """(I,) added to every dot product, or None."""
        return None

    def learned_items(self, train: Interactions) -> Tensor:
        """(I,) bool: items with a learned vector; the others are reached through their texts, if possible."""
        return torch.as_tensor(train.item_counts > 0)

    def learned_users(self, train: Interactions) -> Tensor:
        """(U,) bool: users about whom the model knows more than the history in a query."""
        return torch.as_tensor(train.user_counts > 0)

    def extended(self, added: AddedItems) -> Backbone | None:
        """The backbone over its items and ``added``, as a fit on both would have made the latter, without a fit.

        None: it knows nothing of items that came after its training.
        """
        return None

    def heard(self, added: AddedItems) -> BoolArray | None:
        """(n,) whether a new item's line says anything to the model; None: it reads no lines."""
        return None

    def with_inputs(self, added: AddedItems) -> Self | None:
        """:meth:`extended` where an item without an event is its input: a further line of the table ``items``."""
        if added.inputs is None:
            return None
        table = self.input_embeddings().items.detach()
        return self.longer(added, items=torch.cat([table, added.inputs.to(table)]))

    def retold(self, indices: Tensor, text: Tensor, job: Fitting) -> Backbone | None:
        """The backbone with other texts of some of its items: their (n) indices, and (n, T) vectors as ``job.text``'s.

        None: what it knows of an item is more than its text, and stays until the next training.
        """
        return None

    def longer(self, added: AddedItems, **changed: Any) -> Self:
        """A copy for more items, with other buffers or parameters; the original stays as it is."""
        other = copy.copy(self)
        for name in ("_buffers", "_parameters", "_modules"):
            other.__dict__[name] = dict(self.__dict__[name])
        other.num_items = self.num_items + added.count
        for name, value in changed.items():
            held = torch.nn.Parameter(value, requires_grad=False) if name in other._parameters else value
            setattr(other, name, held)
        return other

    def user_rows(self) -> frozenset[str]:
        """Names of the state's tensors with one row per user: a model saved without its users omits their rows."""
        if "inputs" not in self.makes(self.config):
            return frozenset()
        users = self.input_embeddings().users
        return frozenset(name for name, held in self.state_dict(keep_vars=True).items() if held is users)

    def given_away(self) -> dict[str, Tensor]:
        """The state without users' rows (one row for all), with which the same class scores histories as before.

        A backbone whose scores need more than its state must add it here; otherwise it is only saved with events.
        """
        per_user, state = self.user_rows(), self.state_dict()
        return {k: v.new_zeros(1, *v.shape[1:]) if k in per_user and v.numel() else v for k, v in state.items()}

    @torch.no_grad()
    def export(self, job: Fitting) -> dict[str, Tensor]:
        """``items`` (I, D), and ``users`` (U, D) as their training events make them, where the backbone has vectors."""
        made, out = self.makes(self.config), {}
        if "items" in made:
            out["items"] = self.item_embeddings().detach()
        if "users" in made:
            train = job.train
            blocks = np.array_split(np.arange(train.num_users), max(1, train.num_users // USER_BLOCK))
            users = [self.user_embeddings(train.queries(block)) for block in track(blocks, "user vectors")]
            out["users"] = torch.cat(users)
        return out

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Buffers take the stored shape: what :meth:`fit` filled is restored into a freshly made object."""
        for name, buffer in self._buffers.items():
            stored = state_dict.get(prefix + name)
            if buffer is not None and stored is not None and stored.shape != buffer.shape:
                self._buffers[name] = buffer.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def towers(self) -> Towers | None:
        """The vectors whose products are the scores, if there are any."""
        if not {"items", "users", "dot_product"} <= self.makes(self.config):
            return None
        self.at_rest()
        return Towers(self.user_embeddings, self.item_embeddings(), self.item_bias())

    def at_rest(self) -> None:
        """Out of training, where it is in it: going over all modules takes longer than a small question."""
        if self.training:
            self.eval()

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Dot product of :meth:`user_embeddings` with :meth:`item_embeddings` (see :class:`Scorer`)."""
        self.at_rest()
        return products(self.user_embeddings(queries), self.item_embeddings(), items, self.item_bias())
