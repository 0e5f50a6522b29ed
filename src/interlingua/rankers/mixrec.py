"""MixRec, a RECONSTRUCTION: titles under a block mask, a sequence model's token, LoRA experts of a searched shape.

After Liu et al., "Beyond Inter-Item Relations: Dynamic Adaptive Mixture-of-Experts for LLM-Based Sequential
Recommendation", arXiv 2408.07427 (first "DARec"; several other papers are called MixRec too), of which we had the
abstract and summaries only, neither formulas nor constants nor code. Known: a language model tuned on histories has,
beside its causal mask, one that lets an item's tokens see their own item whole; a small sequential model trained
jointly gives it the user's long-term taste; the architecture of its experts is chosen layer by layer, by Bayesian
optimisation. Read nothing here as the paper's numbers.

What is ours: the wording; the mask in the first half of the layers; SASRec as the sequential model, its user state
through one affine map as one token; LoRA experts beside the matrices of a layer, mixed by a softmax gate on the mean of
the layer's input (:mod:`interlingua.lm.experts`); the loss, which is the cross-entropy ``next`` of a head over all
items plus ``cf_weight`` times SASRec's own, ``cf``, at every position; and the search: a first training in which every
step draws another number and rank of the experts for each layer, then the choice of what validates best, of the widest
and ``trials`` random ones, which is trained on from there. Trials share their weights; none has a training of its own.

Every event but a user's first is a target. ``head = "titles"`` scores an item by the mean embedding of its title's
tokens, centred and of length 1, so that items without events have a score of their own.

Shape key: B rows, L history, I items, n items that came later, D width of the sequence model, H input width, H' width
of a state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from interlingua.config import Config, FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import IntArray, Queries
from interlingua.injection.joint_sequence import JointSequence
from interlingua.injection.loading import state_width, title_embeddings, whole_model
from interlingua.injection.projector import Projector
from interlingua.lm.adapters import Tuned
from interlingua.lm.block_mask import check_blocks, seeing_things, things_of
from interlingua.lm.expert_search import drawn_in_training, to_try, widest
from interlingua.lm.experts import MixtureOptions, Shape, digest, mixing, with_experts
from interlingua.lm.models import LanguageModel
from interlingua.lm.padding import last_states
from interlingua.lm.prompt import compile_template, embed_prompts
from interlingua.lm.template import FOLDER
from interlingua.progress import say, track
from interlingua.rankers._state_ranker import StateRanker
from interlingua.rankers._tuned_ranker import TunedOptions
from interlingua.runtime.missing import Missing
from interlingua.training.batches import last_position_batches

SEARCH = "search"
"""name of the phase that :meth:`Mixrec.fit` begins with"""


class MixrecConfig(TunedOptions):
    """Options of :class:`Mixrec`; all values are ours."""

    named_templates = {"template": FOLDER}
    only_with = {
        **TunedOptions.only_with,
        "search": ("tune", ("lora",)),
        **dict.fromkeys(("trials", "trial_users", "first_epochs"), ("search", ("random",))),
        **dict.fromkeys(
            ("cf_dim", "cf_history", "cf_blocks", "cf_heads", "cf_dropout", "cf_weight"), ("cf", ("joint",))
        ),
    }  # fmt: skip

    lm_weights: Literal["pretrained", "shuffled", "none"] = "pretrained"  # type: ignore[assignment]
    """controls: ``shuffled`` weights; ``none``: no language model, the head reads the sequence model's state"""
    lora: MixtureOptions = MixtureOptions()
    """the experts of a layer: their largest number and rank, alpha, dropout and modules"""
    search: Literal["random", "none"] = "random"
    """``random``: numbers and ranks of experts are searched; ``none``: the largest number and rank in every layer"""
    trials: int = Field(default=8, ge=1)
    """random shapes that are compared with the widest"""
    trial_users: int = Field(default=100, ge=1)
    """users of the validation part that compare them"""
    first_epochs: int = Field(default=1, ge=1)
    """epochs (rounds) of the training before the search"""
    block_share: float = Field(default=0.5, ge=0, le=1)
    """fraction of the layers, from the first, rounded up, in which an item's tokens see their own item; 0: none. In the
    last layer it changes nothing: the state that answers is that of the cue"""
    cf: Literal["joint", "none"] = "joint"
    """the sequence model that is trained along, and its token; ``none``: titles alone (ablation)"""
    cf_dim: int = Field(default=64, ge=1)
    """D"""
    cf_history: int = Field(default=50, ge=1)
    """events that the sequence model reads"""
    cf_blocks: int = Field(default=2, ge=1)
    """its transformer blocks"""
    cf_heads: int = Field(default=1, ge=1)
    """its attention heads"""
    cf_dropout: float = Field(default=0.2, ge=0, lt=1)
    """its dropout"""
    cf_weight: float = Field(default=1.0, ge=0)
    """weight of its own loss"""
    head: Literal["full", "titles"] = "full"
    """``full``: a row of its own for every item; ``titles``: the mean embedding of the title's tokens"""
    template: str = "mixrec"
    """the prompt: a template's name or path, with ``{history}`` of titles, and ``{user}`` for the token"""
    history_length: int = Field(default=10, ge=1)
    """titles in the prompt, the last ones"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    fit: FitConfig = FitConfig(learning_rate=3e-4, batch_size=16, epochs=3, warmup_steps=100, schedule="cosine")
    """training, before the search too"""

    @model_validator(mode="after")
    def _something_is_read(self) -> MixrecConfig:
        if self.lm_weights == "none" and (self.cf == "none" or self.head == "titles"):
            found = "cf = 'none'" if self.cf == "none" else "head = 'titles'"
            raise ValueError(f"lm_weights = 'none' leaves the sequence model alone to be read: {found} needs another")
        return self

    @property
    def reads(self) -> bool:
        """There is a language model."""
        return self.lm_weights != "none"

    @property
    def first_fit(self) -> FitConfig:
        """How the shared experts are trained before the search: no shape of that training is the final one."""
        return self.fit.model_copy(update={"epochs": self.first_epochs, "patience": None})

    def lacks(self) -> list[Missing]:
        """Packages and the language model."""
        return super().lacks() if self.reads else Config.lacks(self)

    def check_models(self) -> None:
        """Loads the model once: a family without the block mask is refused here."""
        if self.reads:
            check_blocks(whole_model(self), "ranker.block_share", self.block_share > 0)


class Mixrec(StateRanker):
    """Titles and a sequence model's vector in, scores of all items out."""

    Config = MixrecConfig
    version = 1
    expert_counts: Tensor
    expert_ranks: Tensor
    title_rows: Tensor

    def __init__(self, config: MixrecConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.searching = False
        self.tried: list[tuple[float, Shape]] = []
        """what the search measured, in this process"""
        self.learned = self.num_items - inputs.added
        width = state_width(self.lm) if self.reads else config.cf_dim
        self.head = nn.Linear(width, self.learned if config.head == "full" else self.lm.hidden_size, bias=False)
        self.register_buffer("title_rows", self._title_rows(), persistent=False)
        self.cf = self.cf_projector = None
        if config.cf == "joint":
            self.cf = JointSequence(
                self.learned, config.cf_dim, config.cf_history, config.cf_blocks, config.cf_heads, config.cf_dropout
            )
        layers = 0
        if self.reads:
            layers = self.lm.num_layers
            self.prompts = compile_template(
                config.template, self.lm, inputs.titles, inputs.domain, slots=self.slots(),
                max_title_tokens=config.max_title_tokens,
            )  # fmt: skip
            self.blocks = math.ceil(config.block_share * layers)
            check_blocks(self.lm, "ranker.block_share", self.blocks > 0)
            if self.cf is not None:
                self.cf_projector = Projector(config.cf_dim, self.lm.hidden_size, nn.Identity(), "linear")
                self.cf_projector.scale_to(torch.eye(config.cf_dim) * config.cf_dim**0.5, self.lm.embedding_norm)
        start = widest(config.lora, layers)
        self.register_buffer("expert_counts", torch.tensor(start.experts, dtype=torch.long))
        self.register_buffer("expert_ranks", torch.tensor(start.ranks, dtype=torch.long))

    def _learning(self, base: LanguageModel) -> Tuned | None:
        return with_experts(base, self.config.lora) if self.config.tune == "lora" else super()._learning(base)

    def _title_rows(self) -> Tensor:
        """(I, H) what ``head = "titles"`` compares with; items that came later move no mean."""
        if self.config.head != "titles":
            return torch.zeros(0, 0)
        embeddings = title_embeddings(self.lm, self.inputs.titles)
        return functional.normalize(embeddings - embeddings[: self.learned].mean(0), dim=-1)

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Needs a retriever, and no vectors."""
        return frozenset({"scores"})

    @classmethod
    def fingerprint(cls, config: MixrecConfig) -> dict[str, str]:
        """Without the language model where it is left out."""
        without = () if config.reads else ("model", "template")
        return {name: found for name, found in super().fingerprint(config).items() if name not in without}

    @classmethod
    def caveats(cls, config: Any) -> list[str]:
        """It is a reconstruction."""
        return ["mixrec is a reconstruction from the abstract of MixRec: its wording, losses and settings are ours"]

    def slots(self) -> dict[str, Slot]:
        """The token of the sequence model, where there is one."""
        return {"user": Slot("query")} if self.config.cf == "joint" else {}

    @property
    def read_length(self) -> int:
        """Events of a history that are read by either model."""
        config: MixrecConfig = self.config
        if not config.reads:
            return config.cf_history
        return max(config.history_length, config.cf_history if config.cf == "joint" else 0)

    @property
    def mixes(self) -> bool:
        """There are experts."""
        return self.reads and self.config.tune == "lora"

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Every event but a user's first, after those before it."""
        yield from last_position_batches(
            self.inputs.train, self.read_length, self.config.fit.batch_size, generator, num_negatives=0,
            all_positions=True,
        )  # fmt: skip

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses ``next`` and ``cf``, see the module's docstring."""
        assert batch.histories is not None
        self._place()
        if self.searching and self.training:
            self._use(drawn_in_training(self.config.lora, len(self.expert_counts)))
        read = None if self.cf is None else self.cf.states(batch.histories)
        users = None if self.cf is None or read is None else self.cf.users(read[0], read[2])
        states = self._read_prompts(batch.histories.cpu().numpy(), users)
        logits = self._queries(states) @ self._item_outputs()[: self.learned].T
        out = {"next": functional.cross_entropy(logits, batch.positives)}
        if self.cf is not None and read is not None:
            out["cf"] = self.config.cf_weight * self.cf.loss(*read, batch.positives)
        return out

    def states(self, queries: Queries) -> Tensor:
        """See :class:`StateRanker`: states at the last words of the cue; without a language model (B, D) users."""
        users, histories = None, queries.padded(self.read_length)
        if self.cf is not None:
            read, _, lengths = self.cf.states(torch.as_tensor(histories, device=self.device))
            users = self.cf.users(read, lengths)
        return self._read_prompts(histories, users)

    def _read_prompts(self, histories: IntArray, users: Tensor | None) -> Tensor:
        """(B, H') states behind the prompts of (B, L) histories, with (B, D) users of the sequence model."""
        if not self.reads:
            assert users is not None
            return users
        token = None if users is None or self.cf_projector is None else self.cf_projector(users)
        shown = histories[:, -self.config.history_length :]
        prompts = self.prompts.assemble(
            shown, has_user=token is not None, side="right", max_length=self.lm.max_positions
        )
        embeds = embed_prompts(self.lm, prompts, users=token)
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        starts, stops = (torch.as_tensor(each, device=embeds.device) for each in self.prompts.entry_spans(shown))
        with ExitStack() as inside:
            inside.enter_context(seeing_things(self.lm, self.blocks, things_of(starts, stops, embeds.shape[1])))
            if self.mixes:
                inside.enter_context(mixing(mask, self.shape))
            states = self.lm.forward(embeds).states  # padding lies behind: no token sees it
        return last_states(states, mask).float()

    def _queries(self, states: Tensor) -> Tensor:
        return states if self.config.head == "full" else self.head(states)

    def _item_outputs(self) -> Tensor:
        """(I - n, H') rows of the matrix, or (I, H) those of the titles."""
        return self.head.weight if self.config.head == "full" else self.title_rows

    @property
    def shape(self) -> Shape:
        """How much of each layer's experts is used now."""
        return Shape(tuple(self.expert_counts.tolist()), tuple(self.expert_ranks.tolist()))

    def _use(self, shape: Shape) -> None:
        """From now on the experts have this shape."""
        self.expert_counts.copy_(torch.tensor(shape.experts))
        self.expert_ranks.copy_(torch.tensor(shape.ranks))
        self._forget()

    @property
    def _searches(self) -> bool:
        return self.mixes and self.config.search == "random"

    @property
    def earlier_epochs(self) -> int:
        """Those before the search."""
        return self.config.first_epochs if self._searches else 0

    def fit(self, job: Fitting) -> FitLog:
        """Shared experts, the search, and the chosen shape; see the module's docstring."""
        if not self._searches:
            return super().fit(job)
        self.searching = True
        try:
            before = job.by_gradient(self.batches, self.config.first_fit, earlier=True)
        finally:
            self.searching = False
        self._choose(job)
        return super().fit(job).after(SEARCH, before)

    def _choose(self, job: Fitting) -> None:
        """The shape that validates best, the first of equals; where nothing is measured, the widest."""
        config, layers, name = self.config, len(self.expert_counts), self.config.fit.metric
        if job.validate is None:
            say("rank: search: there is no validation part, so all layers keep the most experts of the largest rank")
            self._use(widest(config.lora, layers))
            return
        self.eval()
        self.tried = []
        for shape in track(to_try(config.lora, layers, config.trials, job.seed), "search"):
            self._use(shape)
            found = job.validate(max_users=config.trial_users)
            value = found.get(name, found.get("ndcg@10", math.nan))
            self.tried.append((-math.inf if math.isnan(value) else value, shape))
        best = max(self.tried, key=lambda each: each[0])
        self._use(best[1])
        rest = ", ".join(f"{value:.4f}" for value, _ in self.tried[1:])
        say(f"rank: search: {name} {best[0]:.4f} is best (the widest {self.tried[0][0]:.4f}; others {rest})")

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """The card's entries: the model, and the shape and hash of its experts, whose weights are the run's own."""
        if not self.mixes:
            return super().write_extras(folder) if self.reads else {}
        assert self.tuned is not None
        values = [(value if math.isfinite(value) else None, shape) for value, shape in self.tried]
        tried = [{"value": value, "experts": shape.experts, "ranks": shape.ranks} for value, shape in values]
        used: dict[str, Any] = {"experts": self.shape.experts, "ranks": self.shape.ranks, SEARCH: tried}
        used |= {"kind": "experts", "base": self.tuned.base_name, "revision": self.lm.revision}
        used["sha256"] = digest(self.tuned)
        return {"language_model": {"name": self.lm.name, "revision": self.lm.revision}, "tuned": used}

    def writer(self) -> Any:
        """See :class:`Ranker`; without a language model nobody writes."""
        return super().writer() if self.reads else None
