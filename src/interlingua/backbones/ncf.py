"""NeuMF: an elementwise product and a perceptron of user and item, joined by one layer (He et al. 2017).

"Neural Collaborative Filtering", arXiv 1708.05031: generalised matrix factorisation (GMF, eq. 9), the perceptron (MLP,
eq. 10) and their fusion (NeuMF, eq. 12), each with its own embeddings; binary cross-entropy with sampled negatives
(eq. 7). Paper's notation: the score below is the argument of the last sigmoid, which changes no ranking.

The perceptron's first layer is a sum of a user half and an item half, so each is computed once per user and per item,
and only the smaller layers above it once per pair.

Shape key: B rows, U users, I items, C candidates, D = G + M columns of a table (GMF's and one side's MLP embedding), H
width of the first hidden layer, N negatives.

With ``pretrain_epochs`` both parts are first trained alone, each with an output layer of its own; then NeuMF starts
from their embeddings and layers, and from half of each output layer (section 3.4.1, alpha = 0.5).

**Deviations:**
- Embeddings start from N(0, 0.1^2), the paper's from N(0, 0.01^2): ``init_std``; layers from PyTorch's default for
  Linear.
- What is pre-trained goes on with Adam, the paper's with plain SGD. Both parts are pre-trained on the same batches in
  one pass: they share no parameter, and Adam treats each parameter by itself. Trained along with an aligner, nothing is
  pre-trained.
- Negatives are items that the user does not have, drawn anew in each epoch, as the authors'; the authors' script keeps
  the epoch that is best on the test part, here the validation part says.
- Users unseen in training get the mean of the vectors of training users, weighted by the cosine of the two histories
  (all users equally if nothing is shared); the paper does not treat them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._pair_scores import in_blocks
from interlingua.config import Config, FitConfig
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded, FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.nn.histories import history_matrix
from interlingua.nn.losses import first_is_positive
from interlingua.training.batches import Negatives, pair_batches


class NcfConfig(Config):
    """Options of :class:`Ncf`."""

    embedding_dim: int = Field(8, ge=1)
    """G, the paper's predictive factors (8 to 64)"""
    layers: list[int] = [64, 32, 16, 8]
    """widths of the perceptron; the first is both sides' embeddings together (authors' default)"""
    parts: Literal["neumf", "gmf", "mlp"] = "neumf"
    """both, or one alone"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """between hidden layers (paper: none)"""
    num_negatives: int = Field(4, ge=1)
    """per event (paper: 4)"""
    init_std: float = Field(0.1, gt=0)
    """of the embeddings at the start (paper: 0.01)"""
    pretrain_epochs: int = Field(0, ge=0)
    """epochs in which ``gmf`` and ``mlp`` are trained alone before ``neumf`` (paper: until they converge); 0: none"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=256, epochs=50, patience=5)
    """training (paper: Adam, 0.0001 to 0.005, batches of 128 to 1024)"""

    only_with: ClassVar = {"pretrain_epochs": ("parts", ("neumf",))}

    @field_validator("layers")
    @classmethod
    def _layers_are_wide_enough(cls, layers: list[int]) -> list[int]:
        if len(layers) < 2 or min(layers) < 1 or layers[0] % 2:
            raise ValueError("give at least two positive widths, the first of them even, e.g. [64, 32, 16, 8]")
        return layers


def _widths(config: NcfConfig) -> tuple[int, int]:
    """G and M."""
    return 0 if config.parts == "mlp" else config.embedding_dim, 0 if config.parts == "gmf" else config.layers[0] // 2


class Ncf(Backbone):
    """One table per side, GMF's columns before MLP's, and the layers that join them."""

    Config = NcfConfig
    sampling = "pairs"
    dot_product = False

    def __init__(self, config: NcfConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.gmf_dim, half = _widths(config)
        self.users = nn.Parameter(torch.empty(train.num_users, self.gmf_dim + half).normal_(std=config.init_std))
        self.items = nn.Parameter(torch.empty(train.num_items, self.gmf_dim + half).normal_(std=config.init_std))
        hidden = config.layers[1:] if half else []
        self.user_half = nn.Linear(half, hidden[0], bias=False) if half else None
        self.item_half = nn.Linear(half, hidden[0]) if half else None
        self.above = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(hidden))
        self.out = nn.Linear(self.gmf_dim + (hidden[-1] if half else 0), 1)
        self.alone: nn.ModuleList | None = None
        """output layers of GMF and of MLP, while they are trained alone"""
        self._histories = train.matrix()  # training data, as every backbone is made from: no part of the weights

    @classmethod
    def width(cls, config: Any) -> int | None:
        """GMF's columns plus those of one side of the perceptron."""
        return sum(_widths(config))

    @classmethod
    def reads_all_items(cls, config: Any) -> bool:
        """Only those of the batch."""
        return False

    def pretrain(self, job: Fitting) -> FitLog | None:
        """Trains both parts alone, if the options ask for it, and joins them."""
        if not self.config.pretrain_epochs:
            return None
        self.alone = nn.ModuleList(nn.Linear(n, 1) for n in self._columns()).to(self.out.weight.device)
        options = self.config.fit.model_copy(update={"epochs": self.config.pretrain_epochs, "patience": None})
        log = job.by_gradient(self.batches(job.train, options), options, earlier=True)
        self._join()
        return log

    def _columns(self) -> tuple[int, int]:
        """Columns of the output layer that are GMF's, and MLP's."""
        return self.gmf_dim, self.out.in_features - self.gmf_dim

    @torch.no_grad()
    def _join(self) -> None:
        """Half of each part's output layer, side by side, and the parts' own layers go."""
        assert self.alone is not None
        gmf, mlp = cast(list[nn.Linear], list(self.alone))
        self.out.weight.copy_(torch.cat([gmf.weight, mlp.weight], dim=1) / 2)
        self.out.bias.copy_((gmf.bias + mlp.bias) / 2)
        self.alone = None

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Every event once an epoch, with uniform negatives."""
        source = Negatives(train)

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            return pair_batches(train, fit, generator, negatives=source, num_negatives=self.config.num_negatives)

        return make

    def input_embeddings(self) -> Embeddings:
        """The embeddings, GMF's columns before MLP's."""
        return Embeddings(self.users, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """The tables themselves: users and items meet in the losses."""
        assert inputs.users is not None
        return Encoded(inputs, functional.embedding(batch.users, inputs.users))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy, positives and negatives each of weight one."""
        assert batch.negatives is not None
        indices = torch.cat([batch.positives[:, None], batch.negatives.reshape(len(batch), -1)], dim=1)
        first = functional.embedding(indices, encoded.tables.items)
        met = self._met(self._user_side(encoded.query)[:, None], self._item_side(first))
        if self.alone is None:
            return {"bce": first_is_positive(self.out(met)[..., 0])}
        parts = zip(("gmf", "mlp"), self.alone, met.split(self._columns(), dim=-1), strict=True)
        return {f"{name}_bce": first_is_positive(layer(part)[..., 0]) for name, layer, part in parts}

    def pairs(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores of pairs from both sides' halves (see :meth:`_user_side`), which are broadcast against each other.

        Args:
            user: (..., G + H)
            item: (..., G + H)
        """
        scores: Tensor = self.out(self._met(user, item))[..., 0]
        return scores

    def _met(self, user: Tensor, item: Tensor) -> Tensor:
        """What the output layer reads of such pairs: GMF's product beside MLP's last layer."""
        product = user[..., : self.gmf_dim] * item[..., : self.gmf_dim]
        if self.user_half is None:
            return product
        x = functional.relu(user[..., self.gmf_dim :] + item[..., self.gmf_dim :])
        for layer in self.above:
            x = functional.relu(layer(functional.dropout(x, self.config.dropout, self.training)))
        return torch.cat([product, x], dim=-1)

    def _user_side(self, users: Tensor) -> Tensor:
        """(..., D) -> (..., G + H): a user's part of the score of any item."""
        if self.user_half is None:
            return users
        return torch.cat([users[..., : self.gmf_dim], self.user_half(users[..., self.gmf_dim :])], dim=-1)

    def _item_side(self, items: Tensor) -> Tensor:
        """(..., D) -> (..., G + H): an item's part of the score for any user."""
        if self.item_half is None:
            return items
        return torch.cat([items[..., : self.gmf_dim], self.item_half(items[..., self.gmf_dim :])], dim=-1)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) both embeddings of a user, for aligners and rankers; no score is a dot product of them."""
        place = self.users.device
        indices = torch.as_tensor(np.asarray(queries.users, np.int64), device=place)
        out = self.users.detach()[indices.clamp(min=0)]
        unknown = np.flatnonzero(np.asarray(queries.users) < 0)
        if len(unknown):
            weights = torch.as_tensor(
                history_similarity(history_matrix(queries.take(unknown), self.num_items), self._histories)
            )
            out[torch.from_numpy(unknown).to(place)] = weights.to(place) @ self.users.detach()
        return out

    def item_embeddings(self) -> Tensor:
        """(I, D) both embeddings of the items."""
        return self.items.detach()

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Every pair through the layers above the first, by blocks (see :class:`Scorer`)."""
        self.at_rest()
        users, table = self._user_side(self.user_embeddings(queries)), self._item_side(self.item_embeddings())
        own = None if items is None else torch.as_tensor(np.asarray(items), device=table.device)
        return in_blocks(len(queries), len(table), own, lambda some, part: self.pairs(users[some, None], table[part]))


def history_similarity(histories: sp.csr_matrix, train: sp.csr_matrix) -> FloatArray:
    """(B, U) weights that sum to 1: cosines of the histories (B, I) with the training users' (U, I)."""
    known = sp.csr_matrix(train > 0, dtype=np.float32)
    shared = (histories @ known.T).toarray().astype(np.float32)
    sizes = np.sqrt(np.asarray(known.sum(axis=1), np.float32).ravel())
    weights = shared / np.maximum(sizes, 1.0)[None, :]
    total = weights.sum(axis=1, keepdims=True)
    return np.where(total > 0, weights / np.maximum(total, 1e-12), np.float32(1.0 / max(train.shape[0], 1)))
