"""Rankers (language models that rank) and their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.component import Component
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.scorer import Scorer
from interlingua.contracts.slots import Slot
from interlingua.data.domain import Domain
from interlingua.data.queries import IntArray, Queries

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions


@dataclass(frozen=True)
class Profiles:
    """What a language model wrote of items and of training users, from training events alone."""

    items: list[str]
    """(I,)"""
    users: list[str]
    """(U,)"""


@dataclass(frozen=True)
class RankerInputs:
    """The inputs of a language-model ranker: tables and functions of queries, never a backbone."""

    titles: list[str]
    """(I,) printable titles"""
    domain: Domain
    train: Interactions
    items: Tensor
    """(I, Di) vectors for the ``item`` slot; for items unseen in training already the text latents. Di is 0 where
    neither backbone nor aligner makes item vectors (a ranker that needs them says so)"""
    items_from_text: Tensor | None
    """(I, Di) vectors in the same space from texts alone (``A-LLMRec (SBERT)``), if the aligner makes them"""
    user_embeddings: Callable[[Queries], Tensor] | None
    """(B, Du) vectors for the ``user`` slot, from the frozen backbone"""
    user_dim: int
    """Du (0 without a user slot)"""
    base_score: Callable[[Queries, IntArray | None], FloatArray] | None = None
    """the frozen backbone's own scores, for residual scoring, distillation and retrieval"""
    base_items: tuple[Tensor, Tensor | None] | None = None
    """(I, Du) vectors and (I,) bias whose products with :attr:`user_embeddings` are :attr:`base_score`, if any do"""
    cold_items: npt.NDArray[np.bool_] | None = None
    """(I,) items that the backbone has not learned: without a training event, or without a vector"""
    texts: Tensor | None = None
    """(I, T) the text encoder's own vectors, if they are frozen"""
    named_texts: Mapping[str, Tensor] = field(default_factory=dict)
    """name -> (I, T) item vectors of the sections ``[texts.NAME]``"""
    categories: list[str | None] | None = None
    """(I,) each item's categories (``A|B`` or ``A, B``), if the catalogue has them"""
    descriptions: list[str | None] | None = None
    """(I,) each item's description, if the catalogue has them"""
    profiles: Profiles | None = None
    """of the folder that :meth:`Ranker.reads_profiles` names; None: it names none, or the ranker is trained already"""
    columns: tuple[str, ...] = ()
    """names of what the catalogue says of items besides their title and description: ``category``, ``brand``"""
    item_codes: Tensor | None = None
    """(I, K) integers of each item, if the aligner makes them"""
    added: int = 0
    """number of items at the end that came after training: no mean and no scale may depend on them"""
    user_scale: float | None = None
    """root mean square of the training users' vectors, for a model that was saved without its users"""
    has_times: bool = False
    """events, and those of histories that have times, have seconds since 1970; False: times say the order alone"""


class Ranker(Component, Scorer):
    """Orders items with a language model: fitted (or nothing to learn), afterwards a :class:`Scorer`."""

    kind: ClassVar[str] = "ranker"
    validation: ClassVar[Literal["none", "ranking", "pairs"]] = "none"
    """what early stopping measures while it is fitted: nothing (``fit.patience`` is refused), lists of recommendations,
    or pairs with labels where the data have some (else lists)"""
    without_users: ClassVar[str] = ""
    """the option (``slots.user``) whose value ``none`` does without user vectors; empty: there is none"""

    def __init__(self, config: Any, inputs: RankerInputs) -> None:
        super().__init__()
        self.config = config
        self.inputs = inputs
        self.num_items = len(inputs.titles)

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Needs a retriever, item vectors, and what the options require."""
        return frozenset({"scores", "items"}) | config.needs

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterable[Batch]:
        """Training batches of one epoch (a round): see :data:`interlingua.training.loop.Batches`."""
        raise NotImplementedError

    ranks_catalogue = False
    """True: it ranks the whole catalogue (with a head over the items); False: it needs retrieved candidates"""

    def fit(self, job: Fitting) -> FitLog:
        """By gradient on :meth:`batches`; a ranker without parameters overrides this with nothing."""
        return job.by_gradient(self.batches, self.config.fit)

    @classmethod
    def reads_profiles(cls, config: Any) -> str | None:
        """The folder of a profile set (``interlingua profiles``) that training reads; None: none."""
        return None

    @property
    def earlier_epochs(self) -> int:
        """Epochs (rounds) of trainings before the one that ``config.fit`` describes: for estimates of time."""
        return 0

    def slots(self) -> Mapping[str, Slot]:
        """Slot name -> what this ranker puts into that slot of its template; names are free."""
        return {}

    @classmethod
    def reads_events(cls, config: Any) -> bool:
        """Its scores depend on other users' training events: a model saved without them would score otherwise."""
        return False

    @classmethod
    def caveats(cls, config: Any) -> list[str]:
        """Notes for readers of its numbers, with these options."""
        return []

    def writer(self) -> Any:
        """The language model that can write reasons: this ranker's own, with all layers; None: it cannot write."""
        return None
