"""RA-Rec: ID vectors as key/value prompts in every layer of a frozen language model, which becomes a retriever.

Yu et al., "RA-Rec: An Efficient ID Representation Alignment Framework for LLM-based Recommendation", arXiv
2402.04527v2. The model reads a user (task and titles: the hard prompt; the user's vector in every layer: the soft
prompt) and, separately, an item; the score is the dot product of the two last hidden states. Only the maps from ID
vectors to prompts learn. Item states are computed once, and the whole catalogue is ranked exactly.

Shape key: B rows, I items, D ID vectors, H' width of a state, N layers, P prompt vectors.

**Deviations** (no code of the authors is public, and their settings are only partly known; see docs/ra-rec.md):
- ID vectors are scaled, those of items shifted to mean zero; an item without a training event, and a user without a
  history, have the zero vector: their prompt is the learned bias, with the context. ``id_dropout`` practises that.
- The prompt of a layer is aligned with that layer's *output* on the hard prompt alone (its input would be the same for
  all texts in the first layer, where the last token is pooled); the mean over the prompt's vectors stands for it.
- Items that the user has in training are no negatives. No L2 term of its own: ``fit.weight_decay``.
- The states of the hard prompt alone never change, so they are computed once per text. ``distill_weight`` is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.contracts.scorer import Towers
from interlingua.data.queries import IntArray, Queries
from interlingua.injection import calibration
from interlingua.injection.hard_prompt import HardPrompts, padded, tokens
from interlingua.injection.id_vectors import IdVectors
from interlingua.injection.kv_prompt_config import KvPromptConfig, check
from interlingua.injection.loading import whole_model
from interlingua.injection.prompt_injection import Injection
from interlingua.injection.score_fusion import BLOCK, Features, ScoreFusion, TextSimilarity, features_in_blocks
from interlingua.injection.two_tower import ROWS, PlainStates, by_length, read
from interlingua.lm.encoder import causal, frozen
from interlingua.lm.history import USER_HISTORY, queries_of
from interlingua.nn.retrieval_losses import (
    in_batch_bpr,
    in_batch_distillation,
    in_batch_softmax,
    layer_alignment,
    tower_scores,
)
from interlingua.training.batches import last_position_batches
from interlingua.training.sample_choice import Sample, choose

REMEMBERED = 20000
"""states that are kept of queries, and of texts without a prompt"""


class KvPrompt(Ranker):
    """Two towers around one frozen language model."""

    Config = KvPromptConfig
    version = 2
    ranks_catalogue = True

    def __init__(self, config: KvPromptConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.lm = frozen(config.model, config.precision, config.num_layers, config.lm_weights, config.revision)
        check(config, inputs, causal(self.lm), self.lm.num_layers, self.lm.abilities)
        self.words = HardPrompts(
            config.user_template, config.item_template, inputs.titles, inputs.categories, inputs.domain,
            config.max_title_words,
        )  # fmt: skip
        self.register_buffer("counts", torch.as_tensor(inputs.train.item_counts).float(), persistent=False)
        self.register_buffer("item_state_table", torch.zeros(0, 0))
        self._plain_states = PlainStates(self.lm, config.pooling, REMEMBERED)
        self._forget()
        self.ids = IdVectors(inputs, noise=config.id_vectors == "random")
        probe = self._tokens(self.words.items(list(range(min(16, self.num_items)))))
        dims = {"user": self.ids.user_dim, "item": self.ids.item_dim}
        self.injection = (
            None
            if config.injection == "none"
            else Injection(config, self.lm, dims, padded(probe, self.lm.pad_token_id))
        )
        self.readouts = nn.ModuleDict()
        if config.readout:
            width = int(self._plain(probe[:1]).shape[1]) - self._layer_entries
            self.readouts.update({side: nn.Linear(width, config.readout, bias=False) for side in ("user", "item")})
        self.score_fusion = ScoreFusion() if config.fuse_scores else None
        self.text_similarity = TextSimilarity(inputs.texts) if config.fuse_scores and inputs.texts is not None else None
        self.sample: Sample | None = None
        self._softly = False
        self._log_chance = torch.zeros(self.num_items)

    counts: Tensor
    item_state_table: Tensor
    """(I, H') states of the items with these weights, stored with them; empty where they are not made yet"""

    def _forget(self) -> None:
        """States made with other weights."""
        self._users_known: dict[tuple[int, bytes], Tensor] = {}
        self.item_state_table = self.counts.new_zeros(0, 0)
        self._unseen_known = self.counts.new_zeros(0, 0)

    def train(self, mode: bool = True) -> KvPrompt:
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
        return super().load_state_dict(*args, **kwargs)

    @property
    def device(self) -> torch.device:
        """Where the maps live; the language model follows."""
        return self.counts.device

    def _place(self) -> None:
        if self.lm.device != self.device and self.lm.precision != "4bit":
            self.lm.to(self.device)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """The chosen samples in random order; rows of similar length share a batch."""
        config: KvPromptConfig = self.config
        chosen = self._choose()
        self._softly = epoch < config.soft_epochs
        yield from last_position_batches(
            self.inputs.train, max(config.history_length, USER_HISTORY), config.fit.batch_size, generator,
            stops=chosen.stops,
        )  # fmt: skip

    def _choose(self) -> Sample:
        if self.sample is None:
            config: KvPromptConfig = self.config
            texts = None if self.inputs.texts is None else self.inputs.texts.cpu().numpy()
            self.sample = choose(
                self.inputs.train, self.inputs.titles, fraction=config.fraction, filter=config.filter,
                length=config.history_length, texts=texts, min_similarity=config.min_similarity,
                user_buckets=config.user_buckets, item_buckets=config.item_buckets, seed=config.sample_seed,
            )  # fmt: skip
            # of all events, not of the sample, which is drawn evenly over buckets as if all items were as frequent
            counts = np.maximum(self.inputs.train.item_counts, 1)
            self._log_chance = torch.as_tensor(np.log(counts / counts.sum())).float()
            self._matrix = self.inputs.train.matrix()
        return self.sample

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Writes ``sample.parquet``, makes the items' states (stored with the weights), returns what the card says."""
        self.item_states()
        chosen = self._choose()
        chosen.frame(self.inputs.train).write_parquet(folder / "sample.parquet")
        return {"sample": chosen.counts, "language_model": {"name": self.lm.name, "revision": self.lm.revision}}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses: ``rank``, and ``align_user`` and ``align_item`` where they have a weight."""
        assert batch.histories is not None
        self._place()
        self._choose()
        config: KvPromptConfig = self.config
        histories, users = batch.histories.cpu().numpy(), batch.users.cpu().numpy()
        positives = batch.positives.cpu()
        if self._softly:
            user_ids = item_ids = self._tokens([""] * len(positives))
        else:
            user_ids = self._tokens(self.words.users(histories[:, -config.history_length :]))
            item_ids = self._tokens(self.words.items(positives.tolist()))
        queries = queries_of(histories, users)
        who = self._dropped(self.ids.users(queries))
        what = self._dropped(self.ids.items[positives.to(self.device)])
        mine = self._read_out("user", self._states("user", user_ids, who))
        theirs = self._read_out("item", self._states("item", item_ids, what))
        scores = tower_scores(mine, theirs, normalised=config.normalised, temperature=config.temperature)
        had = torch.as_tensor(self._matrix[users][:, positives.numpy()].toarray() > 0, device=scores.device)
        chance = self._log_chance[positives].to(scores.device) if config.popularity_correction else None
        bpr = config.loss == "bpr"
        out = {"rank": in_batch_bpr(scores, ~had) if bpr else in_batch_softmax(scores, ~had, chance)}
        if config.distill_weight > 0:
            assert self.inputs.base_score is not None
            candidates = np.tile(positives.numpy(), (len(users), 1))
            taught = torch.as_tensor(self.inputs.base_score(queries, candidates), device=scores.device)
            out["distill"] = config.distill_weight * in_batch_distillation(scores, taught, ~had, chance)
        if config.align_weight > 0 and not self._softly and self.injection is not None and self.injection.aligned:
            same = (positives[:, None] == positives[None]).to(scores.device)
            out["align_user"] = config.align_weight * self._alignment("user", who, user_ids, None)
            out["align_item"] = config.align_weight * self._alignment("item", what, item_ids, same)
        return out

    def _dropped(self, vectors: Tensor) -> Tensor:
        if not self.config.id_dropout or not self.training:
            return vectors
        return vectors * (torch.rand(len(vectors), 1, device=vectors.device) >= self.config.id_dropout)

    def _alignment(self, side: str, vectors: Tensor, ids: Sequence[Sequence[int]], same: Tensor | None) -> Tensor:
        assert self.injection is not None
        states = self._plain(ids)[:, : self._layer_entries].reshape(len(ids), self.lm.num_layers, -1)
        prompts = self.injection.vectors(side, vectors).mean(2)
        return layer_alignment(prompts, states[:, self.injection.layers], self.config.align_temperature, same)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return tokens(self.lm, texts, room=self.config.prefix_length + 1)

    def _states(self, side: str, ids: Sequence[Sequence[int]], vectors: Tensor) -> Tensor:
        """(B, H') states of texts with their prompts."""
        if self.injection is None:
            return self._plain(ids)[:, self._layer_entries :]
        tensors = padded(ids, self.lm.pad_token_id)
        return read(self.lm, *tensors, self.config.pooling, **self.injection.arguments(side, vectors))

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
        return scores if items is None else np.take_along_axis(scores, np.asarray(items, np.int64), axis=1)

    def towers(self) -> Towers | None:
        """Both towers, where what else is mixed in is a dot product too."""
        if self.score_fusion is not None and self.inputs.base_items is None:
            return None
        return Towers(self.user_embeddings, self.all_item_embeddings(), exact=False)

    def writer(self) -> Any:
        """See :class:`Ranker`; an encoder writes nothing."""
        if not causal(self.lm):
            return None
        whole = self.config.num_layers is None and self.config.lm_weights == "pretrained"
        return self.lm if whole else whole_model(self.config)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) user vectors for an index, scaled so that their dot products with the items' are the scores."""
        users = self._sized(self.user_states(queries)) / self.config.temperature
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

    def _sized(self, states: Tensor) -> Tensor:
        return functional.normalize(states, dim=-1) if self.config.normalised else states

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
        return tower_scores(users, items, normalised=self.config.normalised, temperature=self.config.temperature)

    def item_states(self) -> Tensor:
        """(I, H') one vector per item, computed once for a set of weights."""
        if not len(self.item_state_table):
            self.item_state_table = self._read_items(self.ids.items)
        return self.item_state_table

    @torch.no_grad()
    def _read_items(self, vectors: Tensor) -> Tensor:
        """(I, H') states of all items with the given ID vectors (I, D)."""
        self._place()
        ids = self._tokens(self.words.items(list(range(self.num_items))))

        def run(indices: np.ndarray, each: Tensor, mask: Tensor) -> Tensor:
            out = self._states("item", [ids[row] for row in indices], vectors[torch.as_tensor(indices)])
            return self._read_out("item", out)

        return by_length(ids, self.lm.pad_token_id, run, label="read items")

    @torch.no_grad()
    def user_states(self, queries: Queries) -> Tensor:
        """(B, H') one vector per query; what was asked before with the same weights is not computed again."""
        self._place()
        keys = [(int(user), queries.history(row).tobytes()) for row, user in enumerate(queries.users)]
        fresh = [row for row, key in enumerate(keys) if key not in self._users_known]
        if len(self._users_known) + len(fresh) > REMEMBERED:
            self._users_known.clear()
            fresh = list(range(len(keys)))
        if fresh:
            new_queries = queries.take(np.asarray(fresh))
            vectors = self.ids.users(new_queries)
            ids = self._tokens(self.words.users(new_queries.padded(self.config.history_length)))

            def run(indices: np.ndarray, each: Tensor, mask: Tensor) -> Tensor:
                states = self._states("user", [ids[row] for row in indices], vectors[torch.as_tensor(indices)])
                return self._read_out("user", states)

            for row, state in zip(fresh, by_length(ids, self.lm.pad_token_id, run, ROWS, "read users"), strict=True):
                self._users_known[keys[row]] = state
        return torch.stack([self._users_known[key] for key in keys])

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
