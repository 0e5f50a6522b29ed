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
- ``tune`` is ours: the model learns too, but for its word embeddings; layers are aligned with the untuned model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.config import Config, FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.ranker import RankerInputs
from interlingua.injection.hard_prompt import HardPrompts, padded
from interlingua.injection.id_vectors import IdVectors
from interlingua.injection.kv_prompt_checks import check, of_model, refuse
from interlingua.injection.loading import whole_model
from interlingua.injection.prompt_injection import Injection
from interlingua.injection.prompt_maps import Kind
from interlingua.injection.score_fusion import ScoreFusion, TextSimilarity
from interlingua.injection.two_tower import PlainStates, Pooling
from interlingua.lm.adapter_checks import store_checked
from interlingua.lm.adapters import LoraOptions, Tune, tuned
from interlingua.lm.encoder import causal, frozen
from interlingua.lm.here import missing
from interlingua.lm.history import USER_HISTORY, queries_of
from interlingua.lm.locate import identity
from interlingua.lm.models import Precision
from interlingua.lm.prefix_attention import Place
from interlingua.lm.template import FOLDER
from interlingua.nn.retrieval_losses import (
    in_batch_bpr,
    in_batch_distillation,
    in_batch_softmax,
    layer_alignment,
    tower_scores,
)
from interlingua.rankers._two_towers import TwoTowers
from interlingua.runtime.missing import Missing, package
from interlingua.training.batches import last_position_batches
from interlingua.training.sample_choice import Filter, Sample, choose


class KvPromptConfig(Config):
    """Options of :class:`interlingua.rankers.kv_prompt.KvPrompt`."""

    named_models = {"model": identity}
    named_templates = {"user_template": FOLDER, "item_template": FOLDER}
    only_with = {"lora": ("tune", ("lora",))}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a decoder, or of an encoder of the BERT family (paper: probably gpt2-large)"""
    revision: str | None = None
    """commit or tag of a hub model; None: what the hub calls main, by its commit in key and card"""
    precision: Precision = "fp32"
    """fp32, bf16 or, for decoders with CUDA, 4bit"""
    num_layers: int | None = Field(default=None, ge=1)
    """only the first layers of the language model (None: all)"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """``shuffled``: the control without the model's knowledge"""
    tune: Tune = "none"
    """whether the language model learns too (paper: no): ``lora`` adapters beside its frozen weights, or its ``full``
    weights but for the word embeddings"""
    lora: LoraOptions = LoraOptions()
    """rank, alpha, dropout and modules of the adapters"""
    injection: Literal["kv", "direct", "input", "none"] = "kv"
    """where ID vectors enter: ``kv``: every layer's keys and values through its frozen projections (RA-Rec);
    ``direct``: the maps give keys and values themselves (as prefix tuning does); ``input``: as input tokens before the
    text (as A-LLMRec does); ``none``: nowhere, text only"""
    maps: Kind = "full"
    """``full``: a matrix per layer (paper, as far as known); ``shared``: one for all; ``low-rank``; ``diagonal``;
    ``none``: learned context only, no ID vector"""
    rank: int = Field(default=8, ge=1)
    """of ``low-rank`` maps"""
    prefix_length: int = Field(default=4, ge=0)
    """learned context vectors per layer (paper: not known)"""
    tied_start: bool = True
    """the item side's maps and context start as copies of the user side's, where the widths agree: equal vectors then
    make equal prompts, so the dot product of ID vectors survives from the start (paper: not known)"""
    start_gain: float = Field(default=1.0, gt=0)
    """prompts start at so many times the size of what a layer reads: larger ones are attended to sooner"""
    prompted_layers: list[int] | None = None
    """layers with a prompt, 0 the first (None: all, the paper); ``kv`` and ``direct``"""
    place: Place = "before"
    """``kv`` with rotary positions: the prompt stands right before the text, or has no position (``none``)"""
    id_vectors: Literal["backbone", "random"] = "backbone"
    """``random``: noise instead, fixed for each user and item (ablation)"""
    user_template: str = "ra-rec-user"
    """hard prompt of the user side: a template's name or path; ``none``: soft prompt only"""
    item_template: str = "ra-rec-item"
    """hard prompt of the item side"""
    history_length: int = Field(default=10, ge=1)
    """last items of the history in the user's hard prompt (paper: not known)"""
    max_title_words: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    pooling: Pooling = "last"
    """the state that stands for a text: ``last`` token (decoders), ``cls`` (encoders) or ``mean``"""
    readout: int = Field(default=0, ge=0)
    """0: the states themselves are compared (paper); else a learned linear map per side, to so many dimensions"""
    normalised: bool = False
    """cosine instead of the dot product (paper: dot product)"""
    temperature: float = Field(default=1.0, gt=0)
    """scores are divided by it (paper: 1)"""
    loss: Literal["bpr", "softmax"] = "bpr"
    """``bpr`` against the other items of the batch (paper), or ``softmax`` over them"""
    popularity_correction: bool = True
    """``softmax``: subtract the log of an item's share of the training events, so that scores say how likely an item is
    among all of them, however the samples were drawn"""
    distill_weight: float = Field(default=0.0, ge=0)
    """weight of learning what the backbone would choose among the batch's items: a sample then tells of all of them,
    not of one alone (paper: 0)"""
    align_weight: float = Field(default=0.1, ge=0)
    """weight of the layer-wise alignment losses (paper: not known)"""
    align_temperature: float = Field(default=0.1, gt=0)
    """temperature of the layer-wise alignment losses (paper: not known)"""
    id_dropout: float = Field(default=0.0, ge=0, lt=1)
    """share of the ID vectors that a training step replaces by zero: practice for items without one (paper: 0)"""
    fraction: float = Field(default=0.06, gt=0, le=1)
    """part of the training samples that is used (paper: 0.06)"""
    filter: Filter = "none"
    """drops a sample whose answer has nothing in common with its history: no word of the titles (``words``, the paper),
    or no likeness of text vectors (``similarity``)"""
    min_similarity: float = Field(default=0.3, ge=-1, le=1)
    """least cosine of ``similarity``"""
    user_buckets: int = Field(default=5, ge=1)
    """samples are drawn evenly over so many buckets of users by length (paper: number not known; 1: none)"""
    item_buckets: int = Field(default=5, ge=1)
    """the same for items by popularity"""
    sample_seed: int = 0
    """of the draw"""
    soft_epochs: int = Field(default=0, ge=0)
    """the first so many epochs (rounds) train the soft prompt alone, one token in the place of the text: it costs a
    small part of a step with texts, and the maps that it finds are a start for those (paper: 0)"""
    fuse_scores: bool = False
    """mix in the backbone's score and the likeness of texts by weights learned on validation users"""
    cold_weight: float = Field(default=1.0, gt=0)
    """fuse_scores: how much a validation answer among the rarest 35 % of the items weighs; a dial between rare and
    frequent items"""
    unseen_floor: bool = True
    """fuse_scores: items without a training event are placed at least as high as texts alone would"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=32, epochs=3)
    """training (paper: about 7,000 steps; the rest is not known)"""

    def lacks(self) -> list[Missing]:
        """Packages and the language model."""
        lora = package("peft", "llm", "ranker.tune = 'lora'") if self.tune == "lora" else []
        return super().lacks() + missing(self.model, self.precision, self.lm_weights) + lora

    def check_models(self) -> None:
        """A family without keys and values to put a prompt into is refused here, not after the backbone's training."""
        lm = frozen(self.model, self.precision, self.num_layers, "pretrained", self.revision)
        refuse(of_model(self, causal(lm), lm.num_layers, lm.abilities))

    @property
    def needs(self) -> frozenset[str]:
        """User vectors, where maps read them."""
        return frozenset({"users"} if self.injection != "none" and self.maps != "none" else ())


class KvPrompt(TwoTowers):
    """Two towers around one language model, which is frozen in the paper."""

    Config = KvPromptConfig
    version = 2
    without_users = "maps"

    def __init__(self, config: KvPromptConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        base = frozen(config.model, config.precision, config.num_layers, config.lm_weights, config.revision)
        check(config, inputs, causal(base), base.num_layers, base.abilities)
        self.tuned = tuned(base, config.tune, config.lora, words=False)
        self.lm = base if self.tuned is None else self.tuned.lm
        self.words = HardPrompts(
            config.user_template, config.item_template, inputs.titles, inputs.categories, inputs.domain,
            config.max_title_words,
        )  # fmt: skip
        self.register_buffer("counts", torch.as_tensor(inputs.train.item_counts).float(), persistent=False)
        self.register_buffer("item_state_table", torch.zeros(0, 0))
        self._plain_states = PlainStates(base, config.pooling)
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
        self.text_similarity = (
            TextSimilarity(inputs.texts, inputs.added) if config.fuse_scores and inputs.texts is not None else None
        )
        self.sample: Sample | None = None
        self._softly = False
        self._log_chance = torch.zeros(self.num_items)

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
        """Writes ``sample.parquet``; makes the items' states (stored with the weights); returns entries of the card."""
        self.item_states()
        chosen = self._choose()
        chosen.frame(self.inputs.train).write_parquet(folder / "sample.parquet")
        card = {"sample": chosen.counts, "language_model": {"name": self.lm.name, "revision": self.lm.revision}}
        return card | store_checked(self.tuned, self.config.lora, folder / "adapters")

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

    def writer(self) -> Any:
        """See :class:`Ranker`; an encoder cannot write text."""
        if not causal(self.lm):
            return None
        whole = self.config.num_layers is None and self.config.lm_weights == "pretrained" and self.tuned is None
        return self.lm if whole else whole_model(self.config)
