"""MMREC: a click model over ids, categories and vectors of texts or images, whose fields meet in dot products.

Tian, Wang, Zhao, Ding, "MMREC: LLM Based Multi-Modal Recommender System", arXiv 2408.04211. **RECONSTRUCTION:** no code
was released, and the settings here are from the paper's description alone, which is a DLRM (Naumov et al. 2019, arXiv
1906.00091) over vectors of review texts and images. Here a field is the user's id, the item's id, a column of the
catalogue (an embedding per value, the mean of several), or a source of vectors (a linear map). All have one width; the
dot products of all pairs of fields, beside the mapped vectors, go through a perceptron to one logit. The loss is binary
cross-entropy of the labels; without labels, of events against drawn negatives. Sources are [text] and the [texts.NAME]
that ``texts`` names, of any encoder: ``npy`` brings vectors of images.

An item without an event has no id of its own: it shares one vector of unknown items, which is trained in place of the
ids that ``id_dropout`` drops. So items are scored by their features alone, and later items like any other. Drawn as a
negative such an item has no weight: label 0 alone would be learned of the input that scores it.

Shape key: B rows, n items, I items, U users, D width of a field, F fields of an item, K sources of vectors, H width of
the first hidden layer, N negatives.

**Deviations:** one language model's vectors per section in place of summaries and image descriptions that an LLM writes
(write them by ``interlingua profiles``); vectors are centred and scaled; ``id_dropout`` is ours. A user unseen in
training is the mean, over the items of the history, of the mean vectors of their users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Self, cast

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._attribute_tokens import columns_of
from interlingua.backbones._feature_fields import NO_VALUE, CategoryField, DenseField
from interlingua.backbones._pair_scores import in_blocks
from interlingua.config import Config, FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded, FloatArray
from interlingua.contracts.scorer import BoolArray
from interlingua.contracts.text import Text
from interlingua.data.catalogue import Catalogue
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.nn.histories import history_matrix, weighted_sum
from interlingua.nn.losses import first_is_positive
from interlingua.training.labelled import labelled_or_drawn


class MmrecConfig(Config):
    """Options of :class:`Mmrec`."""

    embedding_dim: int = Field(default=16, ge=1)
    """D, of every field (DLRM: 16 to 64)"""
    layers: list[int] = [64, 32]
    """widths of the perceptron's hidden layers"""
    fields: list[str] = ["categories"]
    """columns of the catalogue, each a field of embeddings"""
    texts: list[str] = []
    """names of sections [texts.NAME], each a field of vectors beside [text]"""
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """share of the items of a batch that are read without their id; 0: what has no event is a guess"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """between hidden layers"""
    num_negatives: int = Field(default=4, ge=1)
    """per event, where the data have no labels"""
    init_std: float = Field(default=0.1, gt=0)
    """of the embeddings at the start"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=512, epochs=50, patience=5)
    """training"""

    @field_validator("layers")
    @classmethod
    def _some_layer(cls, layers: list[int]) -> list[int]:
        if not layers or min(layers) < 1:
            raise ValueError("give at least one positive width, e.g. [64, 32]")
        return layers


class Mmrec(Backbone):
    """Dot products of fields below a perceptron."""

    Config = MmrecConfig
    config: MmrecConfig
    version = 2
    sampling = "pairs"
    needs_text = True
    dot_product = False

    learned: Tensor
    readers: Tensor

    def __init__(self, config: MmrecConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim, widths, std = config.embedding_dim, config.layers, config.init_std
        self.users = nn.Parameter(torch.empty(train.num_users, dim).normal_(std=std))
        self.items = nn.Parameter(torch.empty(train.num_items, dim).normal_(std=std))
        self.unknown = nn.Parameter(torch.empty(dim).normal_(std=std))
        self.unknown.requires_grad_(config.id_dropout > 0)
        self.categories = nn.ModuleList(CategoryField(train.num_items, dim, std) for _ in config.fields)
        self.dense = nn.ModuleList(DenseField(train.num_items, dim) for _ in ("text", *config.texts))
        fields = 1 + len(self.categories) + len(self.dense)
        self.item_half = nn.Linear(len(self.dense) * dim + fields * (fields - 1) // 2, widths[0])
        self.user_half = nn.Linear(fields, widths[0], bias=False)
        self.above = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(widths[-1], 1)
        events = train if train.labelled is None else train.labelled
        self.register_buffer("learned", torch.from_numpy(np.bincount(events.items, minlength=train.num_items) > 0))
        self.register_buffer("readers", torch.zeros(0, dim))
        self._texts: Mapping[str, Text] = {}
        self._histories = train.matrix()  # training data, as every backbone is made from: no part of the weights

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Texts, and the further ones that are named."""
        return super().needs(config) | ({"texts"} if config.texts else set())

    @classmethod
    def needs_texts(cls, config: Any) -> frozenset[str]:
        """The further texts."""
        return frozenset(config.texts)

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """No inputs that an aligner may change: it has joined with texts already."""
        return super().makes(config) - {"inputs"}

    def learned_items(self, train: Interactions) -> Tensor:
        """(I,) those with an event, liked or not."""
        return self.learned

    def read_catalogue(self, catalogue: Catalogue) -> None:
        """Takes in the columns of ``fields``."""
        for name, field in zip(self.config.fields, self.categories, strict=True):
            (column,) = columns_of(catalogue, [name], ())
            cast(CategoryField, field).take_in(catalogue.items, column)

    def read_texts(self, texts: Mapping[str, Text]) -> None:
        """Keeps the further texts until :meth:`start`."""
        self._texts = texts

    def start(self, train: Interactions, text: Text | None) -> None:
        """Takes in the vectors.

        Raises:
            ConfigError: some are missing, or the catalogue was not read.
        """
        if not all(cast(CategoryField, field).is_read for field in self.categories):
            raise ConfigError(
                f"the backbone 'mmrec' reads columns of the catalogue ({', '.join(self.config.fields)}), and was given "
                "no catalogue: give the dataset an items table, or in Python Fitting(..., catalogue=...); without "
                "columns set backbone.fields = []"
            )
        self.readers = self.readers[:0]
        given = {"text": text, **self._texts}
        for name, field in zip(("text", *self.config.texts), self.dense, strict=True):
            source = given.get(name)
            if source is None:
                section = "[text]" if name == "text" else f"[texts.{name}]"
                raise ConfigError(f"backbone 'mmrec' reads {section}, which is not there; add it, e.g. name = 'lsa'")
            cast(DenseField, field).take_in(source.rows("items").detach().float())

    def finish(self) -> None:
        """Keeps :meth:`mean_readers`."""
        self.readers = self.mean_readers()

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Labelled events once an epoch, or events with negatives."""
        return labelled_or_drawn(train, fit, self.config.num_negatives)

    def input_embeddings(self) -> Embeddings:
        """The vectors of ids."""
        return Embeddings(self.users, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """The tables themselves: users and items meet in the losses."""
        assert inputs.users is not None
        return Encoded(inputs, functional.embedding(batch.users, inputs.users))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy; a negative without any event does not count."""
        items = batch.positives[:, None]
        if batch.labels is None:
            assert batch.negatives is not None
            items = torch.cat([items, batch.negatives.reshape(len(batch), -1)], 1)
        flat = items.reshape(-1)
        known = self.learned[flat]
        if self.training and self.config.id_dropout:
            known = known & (torch.rand(len(flat), device=flat.device) >= self.config.id_dropout)
        fields = self._fields(flat, known, encoded.tables.items)
        half = self._item_side(fields).reshape(*items.shape, -1)
        dots = torch.einsum("bd,bnfd->bnf", encoded.query, fields.reshape(*items.shape, *fields.shape[1:]))
        scores = self._top(dots, half)
        if batch.labels is None:
            return {"bce": first_is_positive(scores, self.learned[items].to(scores))}
        return {"bce": functional.binary_cross_entropy_with_logits(scores, batch.labels[:, None])}

    def _fields(self, indices: Tensor, known: Tensor, table: Tensor) -> Tensor:
        """(n, F, D) ids, categories, vectors of ``indices`` (n,); an id only where ``known`` (n,)."""
        ids = torch.where(known[:, None], functional.embedding(indices, table), self.unknown)
        return torch.stack([ids, *(field(indices) for field in (*self.categories, *self.dense))], dim=1)

    def _item_side(self, fields: Tensor) -> Tensor:
        """(n, H) the item's part of the first layer: its vectors, and the dot products of its own fields (n, F, D)."""
        return cast(Tensor, self.item_half(torch.cat([fields[:, -len(self.dense) :].flatten(1), products(fields)], 1)))

    def _top(self, dots: Tensor, half: Tensor) -> Tensor:
        """(...) logits, of the user's products with an item's fields (..., F) and the item's part (..., H)."""
        x = functional.relu(self.user_half(dots) + half)
        for layer in self.above:
            x = functional.relu(layer(functional.dropout(x, self.config.dropout, self.training)))
        return cast(Tensor, self.out(x))[..., 0]

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) vectors of the users, see the module of those unseen; no score is a dot product of them alone."""
        indices = torch.as_tensor(np.asarray(queries.users, np.int64), device=self.users.device)
        out = self.users.detach()[indices.clamp(min=0)]
        unknown = np.flatnonzero(np.asarray(queries.users) < 0)
        if len(unknown):
            table = self.readers if len(self.readers) else self.mean_readers()
            learned = len(table) - 1
            history = history_matrix(queries.take(unknown).below(learned), learned)
            counts = torch.as_tensor(np.diff(history.indptr), device=table.device)[:, None]
            found = torch.where(counts > 0, weighted_sum(history, table[:-1]) / counts.clamp(min=1), table[-1])
            out[torch.from_numpy(unknown).to(out.device)] = found
        return out

    @torch.no_grad()
    def mean_readers(self) -> Tensor:
        """(I + 1, D) the mean vector of each training item's users, and of all users at the end and where none is."""
        users = self.users.detach()
        mean = users.mean(0) if len(users) else users.new_zeros(users.shape[1])
        own = weighted_sum(self._histories.T.tocsr().astype(np.float32), users)
        counts = torch.as_tensor(np.asarray(self._histories.sum(0), np.float32).ravel(), device=users.device)[:, None]
        return torch.cat([torch.where(counts > 0, own / counts.clamp(min=1), mean), mean[None]])

    def user_rows(self) -> frozenset[str]:
        """The users' vectors."""
        return frozenset({"users"})

    @torch.no_grad()
    def item_embeddings(self) -> Tensor:
        """(I, D) the mean of an item's fields, for aligners and rankers."""
        everything = torch.arange(self.num_items, device=self.items.device)
        return self._fields(everything, self.learned, self.items).mean(1)

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Logits, by blocks (see :class:`Scorer`)."""
        return self._scores(queries, items, self.learned)

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """The same of items without their ids."""
        return self._scores(queries, items, torch.zeros_like(self.learned))

    @torch.no_grad()
    def _scores(self, queries: Queries, items: IntArray | None, known: Tensor) -> FloatArray:
        self.at_rest()
        users, place = self.user_embeddings(queries), self.users.device
        if items is None:
            distinct, own = torch.arange(self.num_items, device=place), None
        else:
            distinct, own = torch.as_tensor(np.asarray(items, np.int64), device=place).unique(return_inverse=True)
        fields = self._fields(distinct, known[distinct], self.items)
        half = self._item_side(fields)

        def pairs(some: slice, part: slice | Tensor) -> Tensor:
            chosen = fields[part]  # (n, F, D), or (b, C, F, D)
            dots = torch.einsum("bd,nfd->bnf" if chosen.dim() == 3 else "bd,bnfd->bnf", users[some], chosen)
            return self._top(dots, half[part])

        return in_blocks(len(queries), len(distinct), own, pairs)

    def extended(self, added: AddedItems) -> Self | None:
        """A later item is its features; None: it has no vectors of a source."""
        given = [added.text, *(added.texts.get(name) for name in self.config.texts)]
        vectors = [each for each in given if each is not None]
        if len(vectors) < len(given):
            return None
        lines = None if added.lines is None else added.lines.items
        categories = (cast(CategoryField, field).longer(lines, added.count) for field in self.categories)
        dense = (cast(DenseField, field).longer(own) for field, own in zip(self.dense, vectors, strict=True))
        return self.longer(
            added, items=torch.cat([self.items.detach(), self.unknown.detach().expand(added.count, -1)]),
            learned=torch.cat([self.learned, self.learned.new_zeros(added.count)]),
            categories=nn.ModuleList(categories), dense=nn.ModuleList(dense),
        )  # fmt: skip

    def heard(self, added: AddedItems) -> BoolArray | None:
        """(n,) whether a category is known."""
        if added.lines is None or not len(self.categories):
            return None
        found = [
            (cast(CategoryField, field).read(added.lines.items) != NO_VALUE).any(1).numpy() for field in self.categories
        ]
        heard: BoolArray = np.logical_or.reduce(found)
        return heard


def products(fields: Tensor) -> Tensor:
    """(n, F (F - 1) / 2) dot products of all pairs of fields (n, F, D)."""
    first, second = torch.triu_indices(fields.shape[1], fields.shape[1], offset=1, device=fields.device)
    return torch.bmm(fields, fields.transpose(1, 2))[:, first, second]
