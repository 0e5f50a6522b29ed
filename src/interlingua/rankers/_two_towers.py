"""Two towers around one language model: states of users and of items, kept while the weights stay as they are.

Shape key: B rows, I items, D ID vectors, H' width of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker
from interlingua.contracts.scorer import Towers
from interlingua.data.queries import IntArray, Queries
from interlingua.injection import calibration
from interlingua.injection.hard_prompt import HardPrompts, padded, tokens
from interlingua.injection.id_vectors import IdVectors
from interlingua.injection.prompt_injection import Injection
from interlingua.injection.remembered import Remembered
from interlingua.injection.score_fusion import BLOCK, Features, ScoreFusion, TextSimilarity, features_in_blocks
from interlingua.injection.two_tower import AT_ONCE, PlainStates, by_length, read
from interlingua.lm.adapters import Tuned, check_learned
from interlingua.nn.histories import pick
from interlingua.nn.retrieval_losses import tower_scores


class TwoTowers(Ranker):
    """Reads, keeps and compares states; a subclass makes the parts named here, and says how they learn."""

    ranks_catalogue = True
    lm: Any
    tuned: Tuned | None
    """what learns of the language model"""
    words: HardPrompts
    ids: IdVectors
    injection: Injection | None
    readouts: nn.ModuleDict
    score_fusion: ScoreFusion | None
    text_similarity: TextSimilarity | None
    _plain_states: PlainStates

    counts: Tensor
    item_state_table: Tensor
    """(I, H') states of the items with these weights, stored with them; empty where they are not made yet"""

    def _forget(self) -> None:
        """States made with other weights."""
        self._users_known = Remembered()
        self.item_state_table = self.counts.new_zeros(0, 0)
        self._unseen_known = self.counts.new_zeros(0, 0)

    def train(self, mode: bool = True) -> TwoTowers:
        """Training makes remembered states stale."""
        if mode:
            self._forget()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Other weights make remembered states stale; the items' states come with the weights, where they were made."""
        self._forget()
        state = args[0] if args else kwargs["state_dict"]
        if "item_state_table" in state:
            self.item_state_table = self.counts.new_empty(state["item_state_table"].shape)
        found = super().load_state_dict(*args, **kwargs)
        check_learned(self.tuned, f"this {type(self).__name__}")
        return found

    def fit(self, job: Fitting) -> FitLog:
        """See :class:`Ranker`; a language model that was to learn and did not is an error."""
        log = super().fit(job)
        check_learned(self.tuned, f"this {type(self).__name__}")
        return log

    @property
    def device(self) -> torch.device:
        """Where the maps live; the language model follows."""
        return self.counts.device

    def _place(self) -> None:
        for lm in (self.lm, self._plain_states.lm):  # one model, or one that learns and the one it was made of
            lm.place(self.device)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return tokens(self.lm, texts, room=self.config.prefix_length + 1)

    def _states(self, side: str, ids: Sequence[Sequence[int]], vectors: Tensor) -> Tensor:
        """(B, H') states of texts with their prompts."""
        if self.injection is None and self.tuned is None:
            return self._plain(ids)[:, self._layer_entries :]
        tensors = padded(ids, self.lm.pad_token_id)
        prompts = {} if self.injection is None else self.injection.arguments(side, vectors)
        return read(self.lm, *tensors, self.config.pooling, **prompts)

    @property
    def _layer_entries(self) -> int:
        """Numbers of :func:`plain` before the final state."""
        return self.lm.num_layers * int(self.lm.config.hidden_size)

    def _plain(self, ids: Sequence[Sequence[int]]) -> Tensor:
        return self._plain_states.of(ids, self.device)

    def _read_out(self, side: str, states: Tensor) -> Tensor:
        return self.readouts[side](states) if side in self.readouts else states

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of candidates or of the whole catalogue (see :class:`interlingua.contracts.scorer.Scorer`)."""
        self.eval()
        self._place()
        blocks = [self._block(queries.slice(at, at + BLOCK)) for at in range(0, len(queries), BLOCK)]
        scores = torch.cat(blocks).cpu().numpy() if blocks else np.zeros((0, self.num_items), np.float32)
        return pick(scores, items)

    def towers(self) -> Towers | None:
        """Both towers, where what else is mixed in is a dot product too."""
        if self.score_fusion is not None and self.inputs.base_items is None:
            return None
        return Towers(self.user_embeddings, self.all_item_embeddings(), exact=False)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) user vectors for an index, scaled so that their dot products with the items' are the scores."""
        users = self._sized(self.user_states(queries)) / self._compared[1]
        if self.score_fusion is None:
            return users
        assert self.inputs.user_embeddings is not None
        texts = None if self.text_similarity is None else self.text_similarity.users(queries)
        return self.score_fusion.user_vectors(users, self.inputs.user_embeddings(queries).to(users), texts)

    @torch.no_grad()
    def all_item_embeddings(self) -> Tensor:
        """(I, D) item vectors for an index; of a mixture, all its parts side by side, weighted."""
        items = self._sized(self.item_states())
        if self.score_fusion is None:
            return items
        assert self.inputs.base_items is not None
        texts = None if self.text_similarity is None else self.text_similarity.table
        return self.score_fusion.item_vectors(items, self.inputs.base_items, texts, self.counts)

    @property
    def _compared(self) -> tuple[bool, float]:
        """Whether states are compared by their cosine instead of their product, and the temperature."""
        return self.config.normalised, self.config.temperature

    def _sized(self, states: Tensor) -> Tensor:
        return functional.normalize(states, dim=-1) if self._compared[0] else states

    def _block(self, queries: Queries) -> Tensor:
        if self.score_fusion is None:
            return self._tower_block(queries)
        return self.score_fusion(*self.features(queries), self.counts)

    def _tower_block(self, queries: Queries, hidden: Tensor | None = None) -> Tensor:
        users, items = self.user_states(queries), self.item_states()
        if hidden is not None and bool(hidden.any()):
            if not len(self._unseen_known):
                self._unseen_known = self._read_items(self.ids.unseen)
            items = torch.where(hidden[:, None], self._unseen_known, items)
        normalised, temperature = self._compared
        return tower_scores(users, items, normalised=normalised, temperature=temperature)

    def item_states(self) -> Tensor:
        """(I, H') one vector per item, computed once for a set of weights; of items that came later, when asked."""
        known = self.item_state_table
        if len(known) < self.num_items:
            read = self._read_items(self.ids.items, len(known))
            self.item_state_table = torch.cat([known, read.to(known)]) if len(known) else read
        return self.item_state_table

    @torch.no_grad()
    def _read_items(self, vectors: Tensor, start: int = 0) -> Tensor:
        """(I - start, H') states of the items from ``start`` on, with the given ID vectors (I, D)."""
        self._place()
        ids = self._tokens(self.words.items(list(range(start, self.num_items))))

        def run(indices: np.ndarray, each: Tensor, mask: Tensor) -> Tensor:
            out = self._states("item", [ids[row] for row in indices], vectors[start + torch.as_tensor(indices)])
            return self._read_out("item", out)

        return by_length(ids, self.lm.pad_token_id, run, label="read items")

    @torch.no_grad()
    def user_states(self, queries: Queries) -> Tensor:
        """(B, H') one vector per query; what was asked before with the same weights is not computed again."""
        self._place()
        keys = [self._key(queries, row) for row in range(len(queries))]
        return self._users_known.of(keys, lambda fresh: self._read_users(queries.take(fresh)))

    def _key(self, queries: Queries, row: int) -> tuple[int, bytes, bytes]:
        """What a user's state depends on, besides the weights."""
        return int(queries.users[row]), queries.history(row).tobytes(), b""

    def _read_users(self, queries: Queries) -> Tensor:
        """(B, H') states of the users as of their histories."""
        vectors = self.ids.users(queries)
        ids = self._tokens(self.words.users(queries.padded(self.config.history_length)))

        def run(indices: np.ndarray, each: Tensor, mask: Tensor) -> Tensor:
            states = self._states("user", [ids[row] for row in indices], vectors[torch.as_tensor(indices)])
            return self._read_out("user", states)

        return by_length(ids, self.lm.pad_token_id, run, AT_ONCE, "read users")

    @torch.no_grad()
    def features(self, queries: Queries, hidden: Tensor | None = None) -> Features:
        """What :class:`ScoreFusion` joins; ``hidden`` (I,) items are read as if they had no events."""
        self._place()
        return features_in_blocks(
            lambda part: self._tower_block(part, hidden), self.inputs.base_score, self.text_similarity, queries
        )

    @torch.no_grad()
    def calibrate(self, queries: Queries, targets: IntArray) -> float | None:
        """Learns the mixture from validation users: see :func:`calibration.calibrate`. None: there is none."""
        self.eval()
        return calibration.learned(self.score_fusion, self.features, self.counts, queries, targets, self.config)
