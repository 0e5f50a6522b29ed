"""A language model that is asked whether a user would like an item, trained in two stages: by words, then by more.

Stage 1 trains the adapters on titles alone. Stage 2 adds what a subclass adds to the prompt, and trains what it names.
Whatever stage 2 makes worse on the validation part is taken back: the model then goes on as stage 1 left it.

Shape key: Q queries, B pairs, T tokens, H input width, H' width of a state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import DivergedError
from interlingua.injection.yes_no import answer_logits, binary_loss, pair_batches, pair_scores, yes_no
from interlingua.lm import packed
from interlingua.lm.adapters import check_learned
from interlingua.lm.history import USER_HISTORY, queries_of
from interlingua.lm.shared_prefix import grouped_states
from interlingua.lm.template import FOLDER
from interlingua.progress import say
from interlingua.rankers._given import given
from interlingua.rankers._tuned_ranker import TunedOptions, TunedRanker
from interlingua.training.batches import Negatives

Stage = Literal["words", "more", "all"]


class YesNoOptions(TunedOptions):
    """Options that both such rankers share."""

    named_templates = {"template": FOLDER}
    only_with = {
        **TunedOptions.only_with, **dict.fromkeys(("first_epochs", "first_learning_rate"), ("stages", ("two",)))
    }  # fmt: skip

    history_length: int = Field(default=10, ge=1)
    """last liked items in the prompt (paper: 10)"""
    stages: Literal["two", "one"] = "two"
    """``two``: words first (paper); ``one``: everything learns at once (the paper's ablation)"""
    first_epochs: int | None = Field(default=None, ge=1)
    """epochs (rounds) of stage 1; None: as many as ``fit.epochs``"""
    first_learning_rate: float | None = Field(default=None, gt=0)
    """Adam's step size in stage 1; None: ``fit.learning_rate``"""

    def first_fit(self, fit: FitConfig) -> FitConfig:
        """How stage 1 is trained."""
        own = {"epochs": self.first_epochs, "learning_rate": self.first_learning_rate}
        return fit.model_copy(update={name: value for name, value in own.items() if value is not None})


class YesNoRanker(TunedRanker):
    """Scores a pair by the logit of Yes; a subclass writes :meth:`embedded` and names what stage 2 trains."""

    ranks_catalogue = False
    validation = "pairs"
    says_more: Tensor
    """() whether the prompt says more than words: False before stage 2, and after one that made it worse"""

    def __init__(self, config: Any, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.answers = yes_no(self.lm)
        self.register_buffer("says_more", torch.ones((), dtype=torch.bool))
        self._negatives: Negatives | None = None

    def embedded(self, queries: Queries, owners: IntArray, items: IntArray) -> tuple[Tensor, Tensor]:
        """(B, T, H) prompts of B pairs, with the answer behind each, and their (B, T) mask, padded on either side.

        Args:
            queries: Q queries.
            owners: (B,) which of them each pair is of.
            items: (B,) the item of each pair.
        """
        raise NotImplementedError

    def states(self, queries: Queries, items: IntArray, owners: IntArray | None = None) -> Tensor:
        """(B, H') states at the last tokens of the prompts of B pairs: where the answer is read.

        Args:
            queries: Q queries.
            items: (B,) the item of each pair.
            owners: (B,) which query each pair is of; None: each is of its own.
        """
        owners = np.arange(len(items)) if owners is None else owners
        embeds, mask = self.embedded(queries, owners, items)
        mask = mask.to(embeds.device)
        if not torch.is_grad_enabled():
            return grouped_states(self.lm, embeds, mask, owners)
        if not embeds.requires_grad:
            embeds.requires_grad_(True)  # so that prompts are packed: adapters learn, whatever they read
        return packed.prompt_states(self.lm, embeds, mask)

    def second(self) -> list[Tensor]:
        """The parameters that stage 2 trains."""
        raise NotImplementedError

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Pairs with labels: those of the data, or events and as many drawn items."""
        yield from self._batches(self.config.fit, epoch, generator)

    def _batches(self, fit: FitConfig, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        if self.inputs.train.labelled is None:
            self._negatives = self._negatives or Negatives(self.inputs.train)
        length = max(self.config.history_length, USER_HISTORY)
        yield from pair_batches(self.inputs.train, fit, generator, length, self._negatives)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss ``yes``: cross-entropy of the logit of Yes alone with the label."""
        assert batch.histories is not None
        assert batch.labels is not None
        self._place()
        queries = queries_of(batch.histories, batch.users.cpu().numpy())
        return {"yes": binary_loss(self._yes(queries, batch.positives.cpu().numpy()), batch.labels)}

    def _yes(self, queries: Queries, items: IntArray, owners: IntArray | None = None) -> Tensor:
        """(B,) logits of Yes (see :meth:`states`)."""
        return answer_logits(self.lm, self.states(queries, items, owners), self.answers)[:, 0]

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) the logit of Yes for each candidate (see :class:`interlingua.contracts.scorer.Scorer`).

        Raises:
            ConfigError: ``items`` is None.
        """
        candidates = given(items, type(self).__name__)
        self.eval()
        self._place()
        return pair_scores(queries, candidates, lambda some, owners, targets: self._yes(some, targets, owners))

    @property
    def earlier_epochs(self) -> int:
        """Those of stage 1."""
        first: FitConfig = self.config.first_fit(self.config.fit)
        return 0 if self.config.stages == "one" or self.tuned is None else first.epochs

    def fit(self, job: Fitting) -> FitLog:
        """Both stages; see the module's docstring."""
        config: Any = self.config
        if config.stages == "one" or self.tuned is None:
            return super().fit(job)
        first = config.first_fit(config.fit)
        self._train_only("words")
        log = job.by_gradient(partial(self._batches, first), first, earlier=True)
        check_learned(self.tuned, f"this {type(self).__name__}")
        before = _measured(job, config.fit.metric)
        first_state = {name: value.detach().clone() for name, value in self.state_dict().items()}
        self._train_only("more")
        try:
            then = job.by_gradient(self.batches, config.fit)
            after = _measured(job, config.fit.metric)
        except DivergedError as error:
            then, after = FitLog(), -math.inf
            say(f"rank: stage 2: {error}")
        self._train_only("all")
        if after == -math.inf:
            self._take_back(first_state, "its loss is no longer a number")
        elif before is not None and (after is None or after < before):
            now = math.nan if after is None else after
            self._take_back(first_state, f"the validation part's metric fell from {before:.4f} to {now:.4f}")
        return _joined(log, then)

    def _take_back(self, first_state: Mapping[str, Tensor], why: str) -> None:
        say(f"rank: stage 2 is taken back, for {why}: the prompt stays words alone, as stage 1 left the model")
        self.load_state_dict(dict(first_state), strict=False)
        self.says_more.fill_(False)

    def _train_only(self, stage: Stage) -> None:
        """Which parameters learn, and what the prompt says."""
        second = {id(parameter) for parameter in self.second()}
        for parameter in self.parameters():
            parameter.requires_grad_(stage == "all" or (id(parameter) in second) == (stage == "more"))
        if stage == "words" and self.tuned is not None:
            self.tuned.requires_grad_(True)
        self.says_more.fill_(stage != "words")

    def train(self, mode: bool = True) -> YesNoRanker:
        """Adapters that do not learn have no dropout."""
        super().train(mode)
        if self.tuned is not None and not any(p.requires_grad for p in self.tuned.parameters()):
            self.tuned.train(False)
        return self


def _measured(job: Fitting, metric: str) -> float | None:
    """The metric on the validation part (``ndcg@10`` where there are no labels); None: it is not measured here."""
    if job.validate is None:
        return None
    found = job.validate()
    value = found.get(metric, found.get("ndcg@10", math.nan))
    return None if math.isnan(value) else value


def _joined(first: FitLog, second: FitLog) -> FitLog:
    """One log, the epochs of stage 2 counted on."""
    ahead = len(first.epochs)
    later = [record | {"epoch": record["epoch"] + ahead} for record in second.epochs]
    best = second.best_epoch + ahead if second.best_epoch else 0
    return replace(second, epochs=[*first.epochs, *later], best_epoch=best)
