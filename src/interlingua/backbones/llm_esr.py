"""LLM-ESR: two views of a history, IDs and texts, each attending to the other, through one and the same SASRec.

Liu et al., NeurIPS 2024, arXiv 2405.20646. Texts go through two linear maps; ID vectors start as the texts' principal
components. A cross-attention in each direction mixes the views (its output alone goes on), the same blocks encode
both, and the two states side by side are compared with ID vector and mapped text side by side. Users with few events
learn from others: a user's state is drawn to the mean state of the users whose texts are most alike.

Shape key: B rows, L positions, I items, U users, T text width, D width of a view, S similar users.

**Deviations:**
- The authors' blocks and cross-attentions read later events as well (the mask is commented out in their code), so that
  with a target at every position a state may read its own target. Here all attention is causal.
- The authors' users are alike by the language model's vector of a prompt with their history. Here by user texts where
  the recipe has them, else by the mean text of their items.
- A user who is alike to several users of a batch is encoded once. ``teacher = "epoch"`` encodes every user once an
  epoch instead, without dropout: states are older, and an epoch costs about twice SASRec's instead of 11 times.
- ID vectors of items without training events stay where they start; the authors train them as negatives.
- Not here: their item-level regulariser (off by default there), GRU4Rec and BERT4Rec as backbones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._shifted import last_state, positions_mask
from interlingua.backbones._text_views import TextView
from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.config import FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError

USER_BLOCK = 1024
"""users compared with all others at once"""


class LlmEsrConfig(SasRecConfig):
    """Options of :class:`LlmEsr`; the other ones are :class:`interlingua.backbones.sasrec.SasRec`'s."""

    embedding_dim: int = Field(default=64, ge=1)
    """D of one view (paper: 64)"""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """on both views, attention and feed-forward (the authors' code: 0.5)"""
    loss: Literal["bce", "gbce", "ce", "sampled-ce", "shared-ce"] = "bce"
    """as in SASRec; ``bce`` with one negative is the authors'"""
    cross_heads: int = Field(2, ge=1)
    """heads of the cross-attentions (the authors' code: 2)"""
    distill_weight: float = Field(0.1, ge=0)
    """alpha, of the squared distance to similar users' states (paper: 0.1)"""
    similar_users: int = Field(10, ge=1)
    """S (the authors' code: 10)"""
    teacher: Literal["now", "epoch"] = "now"
    """similar users' states: by the weights of this step, or of the epoch's start"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=128, epochs=200, patience=20)
    """training (the authors' code: patience 20)"""


class CrossAttention(nn.Module):
    """Causal attention in which one view asks and the other answers; no residual, no norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.out = nn.Linear(dim, dim)

    def forward(self, asking: Tensor, read: Tensor) -> Tensor:
        """(B, L, D) mixtures of ``read`` (B, L, D) up to each position of ``asking`` (B, L, D)."""
        batch, width, dim = asking.shape
        query, key, value = (
            to(x).view(batch, width, self.heads, dim // self.heads).transpose(1, 2)
            for to, x in ((self.query, asking), (self.key, read), (self.value, read))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        made: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, width, dim))
        return made


class LlmEsr(SasRec):
    """SASRec over two views that attend to each other, with similar users as teachers."""

    Config = LlmEsrConfig
    needs_text = True

    similar: Tensor

    def __init__(self, config: LlmEsrConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim = config.embedding_dim
        self.view = TextView(train, dim, self._mapper)
        self.into_ids = CrossAttention(dim, config.cross_heads)
        self.into_texts = CrossAttention(dim, config.cross_heads)
        self.register_buffer("similar", torch.zeros(0, 0, dtype=torch.int64), persistent=False)
        self.taught: Tensor | None = None
        """(U, 2D) states of all users at the epoch's start, where they teach"""
        self._train = train

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """No inputs that an aligner may change: it has joined with texts already."""
        return super().makes(config) - {"inputs"}

    @property
    def state_width(self) -> int:
        """Both views side by side: 2D."""
        return 2 * self.items.shape[1]

    def _mapper(self, width: int) -> nn.Module:
        """T -> T / 2 -> D, with nothing between."""
        inner = max(width // 2, 1)
        return nn.Sequential(nn.Linear(width, inner), nn.Linear(inner, self.config.embedding_dim))

    @torch.no_grad()
    def start(self, train: Interactions, text: Text | None) -> None:
        """Takes in the texts, and finds each user's most similar users."""
        self.items.copy_(self.view.take_in(text, "llm-esr"))
        self._train = train
        if self.config.distill_weight and text is not None:
            users = text.rows("users").detach().float() if text.has_users else mean_texts(train, self.view.texts)
            self.similar = most_similar(users, min(self.config.similar_users, train.num_users - 1)).to(
                self.items.device
            )

    def extended(self, added: AddedItems) -> Self | None:
        """An item without an event is its text, and its text's principal components as ID vector."""
        if added.text is None:
            return None
        new = added.text.to(self.view.texts)
        ids = torch.cat([self.items.detach(), self.view.first(new)])
        return self.longer(added, items=ids, view=self.view.longer(new))

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """SASRec's; at an epoch's start, what teaches is encoded where it is not encoded at each step."""
        drawn = super().batches(train, fit)

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            if self.config.teacher == "epoch" and self.similar.numel():
                self.taught = self._all_states()
            yield from drawn(epoch, generator)

        return make

    def _all_states(self) -> Tensor:
        """(U, 2D) every user's state, without dropout."""
        training = self.training
        states = self.user_embeddings(self._histories(np.arange(self._train.num_users)))
        self.train(training)
        return states

    def _histories(self, users: np.ndarray) -> Queries:
        """What a training row of these users reads: their events but the last."""
        found = self._train.queries(users)
        return Queries.of([found.history(row)[:-1] for row in range(len(found))])

    def _placed(self, table: Tensor, indices: Tensor, positions: Tensor) -> Tensor:
        """(B, L, 2D) the two views side by side, each with its position."""
        scale = table.shape[1] ** 0.5
        views = functional.embedding(indices, table), self.view.at(indices)
        return torch.cat(
            [functional.dropout(x * scale + positions, self.config.dropout, self.training) for x in views], dim=-1
        )

    def _crossed(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        """(2B, L, D) what the blocks read, ID views first, and lengths (B,)."""
        x, lengths = self._inputs(table, histories)
        ids, texts = x.chunk(2, dim=-1)
        both = torch.cat([self.into_ids(texts, ids), self.into_texts(ids, texts)])
        real = positions_mask(lengths, x.shape[1])[..., None]
        return both * torch.cat([real, real]), lengths

    def states(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, L, 2D) of every position, shifted as SASRec's, and lengths (B,)."""
        x, lengths = self._crossed(table, histories)
        for block in self.blocks:
            x = block(x)
        return torch.cat(self.norm(x).chunk(2), dim=-1), lengths

    def last_states(self, table: Tensor, histories: Tensor) -> Tensor:
        """(B, 2D) the states of the last events alone."""
        x, lengths = self._crossed(table, histories)
        for block in self.blocks[:-1]:
            x = block(x)
        last = (lengths - 1).clamp(min=0)
        return torch.cat(self.norm(self.blocks[-1](x, torch.cat([last, last])))[:, 0].chunk(2), dim=-1)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """As SASRec's; ``tables`` has ID vectors and mapped texts side by side."""
        if batch.histories is None:
            raise ConfigError("llm-esr needs batches with histories: use sequence_batches or last_position_batches")
        ids = self.view.ids(inputs.items)
        states, lengths = self.states(ids, batch.histories)
        table = torch.cat([ids, self.view()], dim=1)
        return Encoded(Embeddings(None, table), last_state(states, lengths), (states, lengths))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """SASRec's loss, and the distance of each row's last state to the mean state of similar users."""
        out = super().losses(encoded, batch)
        if self.config.distill_weight and self.similar.numel():
            teachers = self._teachers(self.similar[batch.users])
            out["distill"] = self.config.distill_weight * functional.mse_loss(encoded.query, teachers)
        return out

    @torch.no_grad()
    def _teachers(self, similar: Tensor) -> Tensor:
        """(B, 2D) mean states of the users ``similar`` (B, S)."""
        if self.taught is not None:
            return self.taught[similar].mean(1)
        distinct, places = similar.unique(return_inverse=True)
        histories = self._histories(distinct.cpu().numpy())
        longest = max(min(int(histories.lengths().max()), self.config.max_history), 1)
        padded = torch.from_numpy(histories.padded(longest)).to(self.items.device)
        states, lengths = self.states(self.items, padded)  # with dropout, as the authors
        return last_state(states, lengths)[places].mean(1)

    def item_embeddings(self) -> Tensor:
        """(I, 2D) ID vectors and mapped texts."""
        with torch.no_grad():
            return self._compared(torch.cat([self.items, self.view()], dim=1))


def mean_texts(train: Interactions, texts: Tensor) -> Tensor:
    """(U, T) the mean of ``texts`` (I, T) over each user's training events; zero without any."""
    queries = train.queries(np.arange(train.num_users))
    if not len(queries.items):
        return texts.new_zeros(train.num_users, texts.shape[1])
    items, starts = (
        torch.as_tensor(np.asarray(x, np.int64), device=texts.device) for x in (queries.items, queries.offsets[:-1])
    )
    return functional.embedding_bag(items, texts, starts, mode="mean")


def most_similar(users: Tensor, count: int) -> Tensor:
    """(U, ``count``) indices of the users whose vectors ``users`` (U, T) have the largest cosine, not oneself."""
    unit = functional.normalize(users, dim=1)
    found = []
    for start in range(0, len(unit), USER_BLOCK):
        scores = unit[start : start + USER_BLOCK] @ unit.T
        own = torch.arange(len(scores), device=unit.device)
        scores[own, own + start] = -torch.inf
        found.append(scores.topk(count, dim=1).indices)
    return torch.cat(found)
