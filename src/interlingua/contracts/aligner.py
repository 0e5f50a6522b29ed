"""What joins a backbone with texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.component import Component
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions


Encode = Callable[[Embeddings, Batch], Encoded]


class Aligner(Component):
    """Joins a backbone with texts through its encode *function*: it may change the input or read the output."""

    kind: ClassVar[str] = "align"
    keeps_space: ClassVar[bool] = False
    """True: the exported item vectors lie in the backbone's own space, so that its user vectors score them"""
    trains_backbone: ClassVar[bool] = False
    """True: there is nothing to learn with a frozen backbone"""
    backbone_follows: ClassVar[bool] = False
    """True: :meth:`fit` ends with the backbone's own training, by the backbone's options"""
    closed_form: ClassVar[bool] = False
    """True: :meth:`fit` is the aligner's own and reads a backbone that is trained: no steps are taken through it"""
    picks_dimensions: ClassVar[bool] = False
    """True: texts need as many dimensions as the backbone's vectors, or more"""
    makes_inputs: ClassVar[bool] = False
    """True: ``backbone_dim`` is the width of the backbone's inputs, not of its final vectors (layers side by side)"""
    reads: ClassVar[frozenset[str]] = frozenset()
    """what it needs of texts, whatever its options: words of :mod:`interlingua.contracts.component`"""

    def __init__(self, config: Any, backbone_dim: int, text_dim: int) -> None:
        super().__init__()
        self.config = config
        self.only_own_losses = False
        """True while the backbone's own losses do not count, in a phase of a training that changes it all the same"""

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Item vectors and :attr:`reads`; what is trained also the backbone's inputs, and its batches or its own."""
        fitted = "fit" in cls.Config.model_fields
        own = cls.batches is not Aligner.batches
        trained = ({"inputs"} if fitted else set()) | ({"training"} if fitted and not own else set())
        return cls.reads | {"items"} | trained

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The encoded batch and named alignment losses."""
        return encode(inputs, batch), {}

    def inputs(self, inputs: Embeddings, text: Text | None) -> Embeddings:
        """What the backbone reads instead of ``inputs`` when nothing is random (``inputs`` itself: nothing changes)."""
        return inputs

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Called once before training: where an aligner sets the backbone's first weights."""

    def batches(
        self, backbone: Backbone, train: Interactions, fit: FitConfig
    ) -> Callable[[int, np.random.Generator], Iterable[Batch]]:
        """What the pair is trained on: the backbone's own batches, unless the aligner needs others."""
        return backbone.batches(train, fit)

    def fit(self, job: Fitting) -> FitLog:
        """By gradient on :meth:`batches`, with the backbone's options where the aligner has none of its own."""
        assert job.backbone is not None
        options = self.config.fit or job.backbone.config.fit
        self.start(job.backbone, job.text)
        return job.by_gradient(self.batches(job.backbone, job.train, options), options)

    def expected_seconds(self, job: Fitting) -> float | None:
        """Seconds that :meth:`fit` of :attr:`closed_form` will take, if it knows without a fit; else one is timed."""
        return None

    def width(self, backbone_dim: int) -> int:
        """Di, the width of the exported item vectors, for a backbone of the given width."""
        return backbone_dim

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """Item vectors, as later stages see them."""
        return frozenset({"items"})

    def export(self, job: Fitting) -> dict[str, Tensor]:
        """The item vectors that later stages see: the backbone's, which lie in ``job.tables``, as they are."""
        return {"items": job.tables["items"]}

    def from_texts(self, text: Text, job: Fitting) -> Tensor | None:
        """(n, Di) item vectors of texts alone, for items that came after training; None: it makes none.

        By default what :meth:`export` makes of these texts, which must read each text by itself.

        Args:
            text: vectors of n items' texts.
            job: what it was fitted on, with the exports of the stages before it.
        """
        if "items_from_text" not in self.makes(self.config):
            return None
        return self.export(replace(job, text=text))["items_from_text"]

    def further_codes(self, codes: Tensor, items: Tensor, text: Text | None) -> Tensor:
        """(n, K) codes of n items that came after training, where :meth:`makes` names ``item_codes``.

        Args:
            codes: (I, K) those of the items before them.
            items: (n, D) their vectors.
            text: vectors of their texts.
        """
        raise NotImplementedError(f"{type(self).__name__} makes item_codes, but has no method further_codes")

    def inputs_from_texts(self, text: Text, width: int) -> Tensor | None:
        """(n, ``width``) the backbone's inputs of n items without an ID vector, by their texts; None: it changes none.

        By default what :meth:`inputs` makes of zeros and these texts.
        """
        own = Embeddings(None, text.rows("items").new_zeros(len(text.rows("items")), width))
        made = self.inputs(own, text)
        return None if made is own else made.items

    def to_backbone(self, latents: Tensor) -> Tensor:
        """(n, D) exported item vectors in the backbone's space, where its user vectors score them."""
        return latents
