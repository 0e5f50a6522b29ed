"""Gal-Rec, a RECONSTRUCTION: a language model reads a user's two hops, and learns to know nodes by their neighbours.

After Guan, Wu, Zhao, He and Fan, "Enhancing Collaborative Semantics of Language Model-Driven Recommendations via
Graph-Aware Learning", arXiv 2406.13235, of which we had summaries only, neither formulas, prompts, constants nor code.
Told there: CF vectors go into the prompt, which lists the neighbours of one and two hops; ``L = L_0 + l_1 L_1 + l_2 L_2
+ l_3 L_3 + l_4 |Theta|^2``, cross-entropy of the recommendation and contrasts that imitate a graph network, of a node
with its hops, for users and for items, with negatives from a queue. Read nothing here as the paper's numbers.

What is ours:

- A causal model with adapters (the paper's is an encoder-decoder), whose last state after the prompt meets a head over
  all items: the loss ``next``, every event but a user's first after the events before it.
- The prompt: the backbone's vector of the user, the history's last items, and the items that others had who share items
  with it, as a walk ranks them (:class:`interlingua.nn.two_hops.TwoHops`); items as titles and vectors. The user's own
  row is no part of the walk, so that a training event decides nothing of its own prompt.
- The contrasts: a short text holds one vector, and its last state is ``h0`` for the vector of the node itself, ``h1``
  for the mean over its neighbours in the training graph, ``h2`` for the mean over theirs (of a user: users who share
  items; of an item: items of the same users). InfoNCE of h1 with h0 (``one_hop``) and of h2 with h0 (``two_hop``) for
  the batch's users and target items, against a queue of detached h0. Each is read alone: no state can look its
  partner up in the prompt. A state of a mean stands for the paper's (unknown) aggregate of states.
- Queue 4,096, temperature .1, weights .1, LoRA of rank 8. ``|Theta|^2`` is ``fit.weight_decay``.

Shape key: B queries, I items, D ID vectors, n nodes, H input width, H' width of a state, Q keys of a side.

**Limit:** other users' events count in the lists whenever they happened, as in the vectors of any trained backbone. Of
the queues only the room is stored with the run (Q H' zeros a side): states of users are none of a model's weights.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, Side
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.injection.projector import Projector
from interlingua.lm import packed
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.prompt import compile_templates, embed_prompts
from interlingua.lm.template import FOLDER
from interlingua.nn.hop_contrast import ONE_HOP, TWO_HOP, hop_contrasts
from interlingua.nn.hop_means import Hops, hop_means
from interlingua.nn.key_queue import EMPTY, enqueue
from interlingua.nn.two_hops import TwoHops
from interlingua.rankers._item_head_ranker import ItemHeadOptions, ItemHeadRanker
from interlingua.training.batches import last_position_batches

USERS_AT_ONCE = 1024
"""training users whose vectors are made at once"""


class GalRecConfig(ItemHeadOptions):
    """Options of :class:`GalRec`."""

    named_templates = {"template": FOLDER, "node_template": FOLDER}
    only_with = {**ItemHeadOptions.only_with, "one_hop_weight": ("user_vectors", ("backbone",))}

    lora: LoraOptions = LoraOptions(rank=8, alpha=16, dropout=0.05)
    """adapters (ours: rank 8, queries and values)"""
    template: str = "gal-rec"
    """the question, with ``{history}`` and ``{neighbours}``: a template's name or path"""
    node_template: str = "gal-rec-node"
    """the text of the contrasts, with one vector in ``{history}``"""
    history_length: int = Field(default=10, ge=1)
    """last events in the prompt, from which the walk begins (ours)"""
    neighbours: int = Field(default=10, ge=0)
    """items two hops away in the prompt (ours); 0: it lists none (control)"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    user_vectors: Literal["backbone", "none"] = "backbone"
    """the backbone's user vectors; ``none``: no user is a vector or a node, and items have no first hop"""
    id_vectors: Literal["align", "random"] = "align"
    """vectors of backbone or aligner, or random ones (control)"""
    one_hop_weight: float = Field(default=0.1, ge=0)
    """of the contrasts of h1 with h0 (ours)"""
    two_hop_weight: float = Field(default=0.1, ge=0)
    """of the contrasts of h2 with h0 (ours)"""
    temperature: float = Field(default=0.1, gt=0)
    """of the contrasts (ours)"""
    queue_size: int = Field(default=4096, ge=1)
    """Q, keys of each side (ours)"""
    fit: FitConfig = FitConfig(learning_rate=3e-4, batch_size=16, epochs=3, warmup_steps=100, schedule="cosine")
    """training (ours)"""

    @property
    def needs(self) -> frozenset[str]:
        """User vectors, where they are read."""
        return frozenset({"users"} if self.user_vectors == "backbone" else ())


class GalRec(ItemHeadRanker):
    """Two hops in words and vectors in, scores of all items out."""

    Config = GalRecConfig
    version = 1
    without_users = "user_vectors"

    def __init__(self, config: GalRecConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs, noise=config.id_vectors == "random")
        self.user_projector: Projector | None = None
        if config.user_vectors == "backbone":
            if inputs.user_embeddings is None:
                raise ConfigError(
                    "ranker.user_vectors = 'backbone', but this backbone has no user vectors: choose another one, or "
                    "user_vectors = 'none'"
                )
            self.user_projector = Projector(self.ids.user_dim, self.lm.hidden_size, nn.Identity(), "linear")
        self.prompts, self.node_prompts = compile_templates(
            [(config.template, self.slots()), (config.node_template, {"item": Slot("item")})], self.lm,
            inputs.titles, inputs.domain, max_title_tokens=config.max_title_tokens,
        )  # fmt: skip
        for read, expected in ((self.prompts, {"history", "neighbours"}), (self.node_prompts, {"history"})):
            if read.needs != expected:
                raise ConfigError(
                    f"the template {read.template.name!r} must have the lists {', '.join(sorted(expected))}, and has "
                    f"{', '.join(sorted(read.needs)) or 'none'}"
                )
        for side in self._sides():
            self.register_buffer(f"{side}_nodes", torch.full((config.queue_size,), EMPTY))
            self.register_buffer(f"{side}_keys", torch.zeros(config.queue_size, self.head.in_features))
        with torch.no_grad():
            self.item_projector.scale_to(self.ids.items, self.lm.embedding_norm)
            if self.user_projector is not None:
                some = inputs.train.queries(np.arange(min(USERS_AT_ONCE, inputs.train.num_users)))
                self.user_projector.scale_to(self.ids.users(some), self.lm.embedding_norm)
        self._two_hops = TwoHops(inputs.train.matrix())
        self._hops: dict[Side, Hops] = {}
        self._vectors: dict[Side, Tensor] = {}

    def slots(self) -> dict[str, Slot]:
        """Vectors of items and, where it reads them, of users."""
        return {"item": Slot("item")} | ({"user": Slot("query")} if self.user_projector is not None else {})

    @classmethod
    def reads_events(cls, config: Any) -> bool:
        """The lists of two hops are made of them."""
        return bool(config.neighbours)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Every event but a user's first, after all those before it."""
        train = self.inputs.train
        yield from last_position_batches(
            train, int(train.user_counts.max(initial=1)), self.config.fit.batch_size, generator, num_negatives=0,
            all_positions=True,
        )  # fmt: skip

    def fit(self, job: Fitting) -> FitLog:
        """See :class:`ItemHeadRanker`; the queues are emptied, and what else the contrasts read is dropped."""
        log = super().fit(job)
        for side in self._sides():
            self.get_buffer(f"{side}_nodes").fill_(EMPTY)
            self.get_buffer(f"{side}_keys").zero_()
        self._hops, self._vectors = {}, {}
        return log

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses ``next``, ``one_hop`` and ``two_hop``, the latter two summed over the sides that have them."""
        losses = super().forward(batch)
        config: GalRecConfig = self.config
        if config.one_hop_weight or config.two_hop_weight:
            nodes: dict[Side, Tensor] = {"users": batch.users, "items": batch.positives}
            for side in self._sides():
                for name, value in self._contrasts(side, nodes[side].unique()).items():
                    losses[name] = losses[name] + value if name in losses else value
        return losses

    def states(self, queries: Queries) -> Tensor:
        """See :class:`ItemHeadRanker`: states at the last words of the cue."""
        config: GalRecConfig = self.config
        last = config.history_length
        prompts = self.prompts.assemble(
            queries.padded(last), further={"neighbours": self._two_hops.lists(queries, last, config.neighbours)},
            max_length=self.lm.max_positions,
        )  # fmt: skip
        return self.read(prompts, None if self.user_projector is None else self.user_projector(self.ids.users(queries)))

    def key(self, queries: Queries, row: int) -> Hashable:
        """The user and the whole history: both decide the vector and the list of two hops."""
        return int(queries.users[row]), queries.history(row).tobytes()

    def _sides(self) -> tuple[Side, ...]:
        return ("users", "items") if self.config.user_vectors == "backbone" else ("items",)

    def _contrasts(self, side: Side, nodes: Tensor) -> dict[str, Tensor]:
        """The weighted losses of distinct nodes (n,); their states join the queue in training."""
        if not self._hops:
            self._survey()
        config: GalRecConfig = self.config
        other: Side = "items" if side == "users" else "users"
        own = self._node_states(side, self._vectors[side][nodes.cpu()].to(self.device))
        queue = enqueue(self.get_buffer(f"{side}_nodes"), self.get_buffer(f"{side}_keys"), nodes, own)
        if self.training:
            for name, value in zip(("nodes", "keys"), queue, strict=True):
                setattr(self, f"{side}_{name}", value)
        return hop_contrasts(
            own, nodes, self._hops[side],
            lambda name, means: self._node_states(other if name == ONE_HOP else side, means), queue,
            {ONE_HOP: config.one_hop_weight, TWO_HOP: config.two_hop_weight}, config.temperature,
        )  # fmt: skip

    def _node_states(self, side: Side, vectors: Tensor) -> Tensor:
        """(n, H') states behind the texts that hold (n, D) vectors of a side, or means of such."""
        projector = self.item_projector if side == "items" else self.user_projector
        assert projector is not None
        prompts = self.node_prompts.assemble(np.zeros((len(vectors), 1), np.int64), max_length=self.lm.max_positions)
        embeds = embed_prompts(self.lm, prompts, items=projector(vectors))
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        return packed.prompt_states(self.lm, embeds, mask).float()

    @torch.no_grad()
    def _survey(self) -> None:
        """The training nodes' vectors, and their means over hops."""
        train = self.inputs.train
        graph = train.matrix()
        self._vectors = {"items": self.ids.items.cpu()}
        if self.user_projector is not None:
            blocks = np.array_split(np.arange(train.num_users), -(-train.num_users // USERS_AT_ONCE))
            self._vectors["users"] = torch.cat([self.ids.users(train.queries(each)).cpu() for each in blocks])
            self._hops["users"] = hop_means(graph, self._vectors["users"], self._vectors["items"])
        self._hops["items"] = hop_means(graph.T.tocsr(), self._vectors["items"], self._vectors.get("users"))

    @classmethod
    def caveats(cls, config: Any) -> list[str]:
        """It is a reconstruction."""
        return ["gal-rec is a reconstruction from summaries of Gal-Rec: its form, wording and settings are ours"]
