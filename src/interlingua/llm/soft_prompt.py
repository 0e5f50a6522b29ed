"""A-LLMRec's stage 2: a frozen language model reads a user and items as soft tokens and names the next item.

Two projectors turn user and item vectors into input embeddings; only they learn (Kim et al., KDD 2024, arXiv
2404.11343, section 3.3). Beside the paper's prompt (titles with vectors, likelihood of the answer's title) there is a
short one: the template ``sequence`` is the history's vectors alone, where every position predicts the next item, so one
pass over 50 items trains 50 answers, and a head scores the whole catalogue.

Shape key: B rows, L history, C candidates, I items, D item vectors, U user vectors, H input width, T prompt tokens.

**Deviations:**
- Candidates are drawn from the items without a training event of the user (the authors: not in the input sequence).
- A model that puts a begin token first has it before the user vector (the authors: after it).
- Item vectors are standardised by one mean and one scale (``standardised = false``: as they are).
- Scoring by free generation is ``paper``; ``likelihood``, ``generate`` and ``head`` are exact rankings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.core import PAD, Batch, FloatArray, IntArray, Queries, Reader, ReaderInputs
from interlingua.data.sample import Negatives, last_position_batches, sequence_batches
from interlingua.errors import ConfigError
from interlingua.llm import calibration, causal, packed, rank, sequence, titles
from interlingua.llm.frozen import compiled, language_model, state_width, title_embeddings
from interlingua.llm.head import Head, choices
from interlingua.llm.mixture import Features, Mixture, TextLikeness, features
from interlingua.llm.projector import Projector
from interlingua.llm.prompt import Assembled, CompiledTemplate, embed_prompts
from interlingua.llm.reader_config import SEQUENCE, SoftPromptConfig, check
from interlingua.llm.vectors import ItemVectors, unlearned
from interlingua.progress import track

ROWS = 16
"""queries that the language model reads at once when scoring"""
BLOCK = 256
"""queries whose scores of the whole catalogue are held at once"""
REMEMBERED = 20000
"""states of queries that are kept: 46 MB at a width of 576"""
WIDTH_WITHOUT_MODEL = 576
"""H of the control without a language model: SmolLM2-135M's"""


class SoftPrompt(Reader):
    """Projectors (and a head) around a frozen language model."""

    Config = SoftPromptConfig
    version = 2

    @classmethod
    def fingerprint(cls, config: SoftPromptConfig) -> dict[str, str]:
        """The control without a language model depends on none."""
        without = ("model", "template") if config.lm_weights == "none" else ()
        return {name: found for name, found in super().fingerprint(config).items() if name not in without}

    def __init__(self, config: SoftPromptConfig, inputs: ReaderInputs) -> None:
        super().__init__(config, inputs)
        check(config, inputs)
        self.lm = language_model(config)
        width = WIDTH_WITHOUT_MODEL if self.lm is None else self.lm.hidden_size
        self.vectors = ItemVectors(inputs, config.slots.item, config.standardised)
        self.item_projector: Projector | None = None
        self.user_projector: Projector | None = None
        if config.slots.item != "none":
            self.item_projector = Projector(self.vectors.dim, width, nn.GELU(), config.projector)
        if config.slots.user != "none":
            self.user_projector = Projector(inputs.user_dim, width, nn.LeakyReLU(), config.projector)
        self.prompts: CompiledTemplate | None = None
        if not self.sequential:
            assert self.lm is not None
            self.prompts = compiled(config, self.lm, inputs)
        self.head: Head | None = None
        if config.head_weight > 0 or config.distill_weight > 0 or config.scoring == "head":
            self.head = Head(width if self.lm is None else state_width(self.lm), self.vectors.dim, width)
        self.mixture = Mixture() if config.residual else None
        texts = inputs.text_items if inputs.texts is None else inputs.texts
        self.likeness = TextLikeness(texts) if config.residual and texts is not None else None
        self.register_buffer("counts", torch.as_tensor(inputs.train.item_counts).float(), persistent=False)
        self.register_buffer("cold", unlearned(inputs), persistent=False)
        self.fit_r2 = self._initialise()
        self._negatives: Negatives | None = None
        self._known: dict[tuple[int, bytes], Tensor] = {}

    counts: Tensor
    cold: Tensor

    def train(self, mode: bool = True) -> SoftPrompt:
        """Training makes remembered states stale."""
        if mode:
            self._known.clear()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Other weights make remembered states stale."""
        self._known.clear()
        return super().load_state_dict(*args, **kwargs)

    @property
    def scores_catalogue(self) -> bool:
        """The head ranks every item at once: no other method need retrieve candidates first."""
        return self.config.scoring == "head"

    @property
    def sequential(self) -> bool:
        """The prompt is the history's vectors alone."""
        return self.config.template == SEQUENCE or self.config.lm_weights == "none"

    @property
    def device(self) -> torch.device:
        """Where the projectors live; the language model follows."""
        return self.counts.device

    @torch.no_grad()
    def _initialise(self) -> float | None:
        """Projector scales; returns R² of the closed form, where it is used."""
        config: SoftPromptConfig = self.config
        if self.head is not None:
            self.head.items.scale_to(self.vectors.joint, self.head.width**0.5)
        if self.lm is None or config.projector_init == "xavier":
            return None
        if self.user_projector is not None and self.inputs.represent is not None:
            some = self.inputs.train.queries(np.arange(min(512, self.inputs.train.num_users)))
            self.user_projector.scale_to(self.inputs.represent(some).detach().float().cpu(), self.lm.embedding_norm)
        if self.item_projector is None:
            return None
        if config.projector_init == "scaled":
            self.item_projector.scale_to(self.vectors.joint, self.lm.embedding_norm)
            return None
        return self.item_projector.fit_to(self.vectors.joint, title_embeddings(self.lm, self.inputs.titles))

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Windows with an answer at every position (``sequence``), or prompts with one answer and its negatives."""
        config: SoftPromptConfig = self.config
        train, rows = self.inputs.train, config.fit.batch_size
        if self.sequential:
            return sequence_batches(train, config.history_length, rows, generator, 0, long="window", equal=config.equal)
        self._negatives = self._negatives or Negatives(train)
        return last_position_batches(
            train, max(config.history_length, sequence.USER_HISTORY), rows, generator,
            negatives=self._negatives, num_negatives=config.num_candidates - 1, all_positions=config.all_positions,
        )  # fmt: skip

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses: ``lm`` (title of the answer), ``head`` and ``distill``."""
        assert batch.histories is not None
        self._place()
        vectors = self.vectors.dropped(self.config.cold_dropout)
        if self.sequential:
            states, where = self._sequence_states(vectors, batch.histories)
            targets = sequence.shifted(batch.positives, batch.histories)[0]
            keep = where & (targets != PAD)
            return self._head_losses(states[keep], targets[keep], vectors, batch.histories, keep)
        return self._prompt_losses(batch, vectors)

    def _prompt_losses(self, batch: Batch, vectors: Tensor) -> dict[str, Tensor]:
        assert self.prompts is not None
        assert self.lm is not None
        assert batch.histories is not None
        config: SoftPromptConfig = self.config
        histories = batch.histories.cpu().numpy()
        targets = batch.positives
        candidates = None
        if "candidates" in self.prompts.needs:
            assert batch.negatives is not None
            candidates = sequence.shuffled(targets, batch.negatives)
        queries = sequence.queries_of(histories, batch.users.cpu().numpy())
        prompts, embeds = self._prompts(histories[:, -config.history_length :], candidates, queries, vectors)
        mask = torch.as_tensor(prompts.mask, device=embeds.device)
        out: dict[str, Tensor] = {}
        if config.lm_weight > 0:
            ids, lengths = self.prompts.target_ids(targets.cpu().numpy())
            log_likelihood = rank.target_log_likelihood(self.lm, embeds, mask, ids, lengths)
            # the authors average over answer tokens of the whole batch, as the causal language-model loss does
            out["lm"] = -config.lm_weight * log_likelihood.sum() / float(lengths.sum())
        if self.head is not None:
            states = packed.prompt_states(self.lm, embeds, mask)
            out |= self._head_losses(states, targets, vectors, batch.histories, None)
        return out

    def _head_losses(
        self, states: Tensor, targets: Tensor, vectors: Tensor, histories: Tensor, keep: Tensor | None
    ) -> dict[str, Tensor]:
        """``states`` (N, H'), ``targets`` (N,); ``keep``: their places in the histories, None: the last."""
        assert self.head is not None
        config: SoftPromptConfig = self.config
        queries = self.head.queries(functional.dropout(states.float(), config.dropout, self.training))
        items, goals = choices(self.num_items, targets, config.head_items)
        logits = queries @ self.head.table(vectors[items]).T
        out = {"head": config.head_weight * functional.cross_entropy(logits, goals)}
        if config.distill_weight > 0 and self.inputs.base_score is not None:
            asked = sequence.queries_of(histories) if keep is None else sequence.prefix_queries(histories, keep)
            teacher = torch.as_tensor(self.inputs.base_score(asked, None), device=logits.device)[:, items]
            soft = torch.softmax(teacher / config.distill_temperature, dim=-1)
            out["distill"] = config.distill_weight * functional.cross_entropy(logits, soft)
        return out

    def _place(self) -> None:
        """The language model is no child module: it follows the projectors to their device here."""
        if self.lm is not None and self.lm.device != self.device and self.lm.precision != "4bit":
            self.lm.to(self.device)

    def _users(self, queries: Queries) -> Tensor | None:
        """(B, H) soft tokens of users, or None without that slot."""
        if self.user_projector is None:
            return None
        assert self.inputs.represent is not None
        with torch.no_grad():
            users = self.inputs.represent(queries).detach().float().to(self.device)
        return self.user_projector(users)

    def _prompts(
        self, histories: IntArray, candidates: IntArray | None, queries: Queries, vectors: Tensor
    ) -> tuple[Assembled, Tensor]:
        """Left-padded prompts and their (B, T, H) input embeddings."""
        assert self.prompts is not None
        assert self.lm is not None
        prompts = self.prompts.assemble(histories, candidates, max_length=self.lm.max_positions)
        items = None
        if self.item_projector is not None:
            rows, back = np.unique(prompts.item_rows, return_inverse=True)  # each item is projected once
            items = self.item_projector(vectors[torch.as_tensor(rows)])[torch.as_tensor(back)]
            items = functional.dropout(items, self.config.dropout, self.training)
        return prompts, embed_prompts(self.lm, prompts, self._users(queries), items)

    def _sequence_states(self, vectors: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, L, H') of right-padded histories and which places (B, L) hold an item."""
        assert self.item_projector is not None
        rows, where = sequence.shifted(histories, histories)
        distinct, back = torch.unique(rows.clamp_min(0), return_inverse=True)
        soft = self.item_projector(vectors[distinct])[back]
        if self.user_projector is not None:
            users = self._users(sequence.prefix_queries(histories, where))  # the user as of each place
            soft = soft.index_put(torch.nonzero(where, as_tuple=True), users, accumulate=True)
        soft = soft * where[..., None]
        soft = functional.dropout(soft, self.config.dropout, self.training)
        if self.lm is None:
            count = torch.arange(1, soft.shape[1] + 1, device=soft.device)[None, :, None]
            return soft + soft.cumsum(1) / count, where
        return self.lm.forward(soft).states, where  # causal, padding behind: no mask is needed

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of candidates (see :class:`interlingua.core.Ranker`).

        The head scores the whole catalogue at once; the other ways need candidates (see ``Cascade`` for full ranking).

        Raises:
            ConfigError: ``items`` is None and titles are scored.
        """
        self.eval()
        self._place()
        if self.config.scoring == "head":
            out = [self._head_scores(queries.slice(at, at + BLOCK)) for at in range(0, len(queries), BLOCK)]
            scores = torch.cat(out).cpu().numpy() if out else np.zeros((0, self.num_items), np.float32)
            return scores if items is None else np.take_along_axis(scores, np.asarray(items, np.int64), axis=1)
        if items is None:
            raise ConfigError(
                f"llm.scoring = {self.config.scoring!r} ranks given candidates only; retrieve some first "
                "(evaluate.retrieve) or use scoring = 'head', which scores the whole catalogue"
            )
        rows = np.asarray(items, np.int64)
        steps = range(0, len(queries), ROWS)
        return np.concatenate([self._title_scores(queries.slice(a, a + ROWS), rows[a : a + ROWS]) for a in steps])

    def vectors_for_scoring(self, hidden: Tensor | None = None) -> Tensor:
        """(I, D): rarely seen items by their text; all of them with ``inference_latent = "text"``.

        ``hidden`` (I,) items are read as if they had no events.
        """
        vectors = self.vectors.joint
        if self.vectors.has_text and self.config.inference_latent == "text":
            vectors = self.vectors.text
        elif self.vectors.has_text:
            vectors = self.vectors.mixed(self.cold | ((self.counts > 0) & (self.counts < self.config.text_below)))
        return vectors if hidden is None else self.vectors.unseen(vectors, hidden)

    def _head_log_probs(self, queries: Queries, hidden: Tensor | None = None) -> Tensor:
        """(B, I) log-probabilities by the head alone."""
        assert self.head is not None
        vectors = self.vectors_for_scoring(hidden)
        joined = self._remembered(queries, vectors)
        return torch.log_softmax(self.head.queries(joined) @ self.head.table(vectors).T, dim=-1)

    def _remembered(self, queries: Queries, vectors: Tensor) -> Tensor:
        """(B, H') states of the queries; what was asked before with the same weights is not computed again."""
        keys = [(int(user), queries.history(row).tobytes()) for row, user in enumerate(queries.users)]
        fresh = [row for row, key in enumerate(keys) if key not in self._known]
        if len(self._known) + len(fresh) > REMEMBERED:
            self._known.clear()
            fresh = list(range(len(keys)))
        order = np.asarray(fresh, np.int64)[np.argsort(queries.lengths()[fresh], kind="stable")]
        states = self._last_states if self.sequential else self._prompt_states
        parts = [order[at : at + ROWS] for at in range(0, len(order), ROWS)]  # rows of similar length run together
        for rows in track(parts, "read histories"):
            for row, state in zip(rows.tolist(), states(queries.take(rows), vectors), strict=True):
                self._known[keys[row]] = state
        return torch.stack([self._known[key] for key in keys])

    def _last_states(self, queries: Queries, vectors: Tensor) -> Tensor:
        width = int(np.clip(queries.lengths().max(initial=1), 1, self.config.history_length))
        histories = torch.as_tensor(queries.padded(width), device=self.device)
        states, where = self._sequence_states(vectors, histories)
        return causal.last_states(states, where)

    def _prompt_states(self, queries: Queries, vectors: Tensor) -> Tensor:
        prompts, embeds = self._prompts(queries.padded(self.config.history_length), None, queries, vectors)
        assert self.lm is not None
        mask = torch.as_tensor(prompts.mask, device=embeds.device)
        return causal.prompt_states(self.lm, embeds, mask)

    def _head_scores(self, queries: Queries) -> Tensor:
        if self.mixture is None:
            return self._head_log_probs(queries)
        return self.mixture(*self.features(queries), self.counts)

    @torch.no_grad()
    def features(self, queries: Queries, hidden: Tensor | None = None) -> Features:
        """What :class:`Mixture` joins; ``hidden`` (I,) items are read as if they had no events."""
        assert self.inputs.base_score is not None
        self._place()
        parts = [queries.slice(at, at + BLOCK) for at in range(0, len(queries), BLOCK)]
        own = torch.cat([self._head_log_probs(part, hidden) for part in parts])
        return features(own, self.inputs.base_score(queries, None), self.likeness, queries)

    @torch.no_grad()
    def calibrate(self, queries: Queries, targets: IntArray) -> float | None:
        """Learns the mixture from validation users: see :func:`calibration.calibrate`. None: there is none."""
        if self.mixture is None or not len(queries):
            return None
        self.eval()
        return calibration.calibrate(
            self.mixture, self.features, self.counts, queries, targets,
            cold_weight=self.config.cold_weight, floor=self.config.unseen_floor,
        )  # fmt: skip

    def _title_scores(self, queries: Queries, items: IntArray) -> FloatArray:
        """(B, C) how well each candidate's title answers."""
        assert self.prompts is not None
        assert self.lm is not None
        shown = titles.presented(items, queries) if "candidates" in self.prompts.needs else None
        histories = queries.padded(self.config.history_length)
        prompts, embeds = self._prompts(histories, shown, queries, self.vectors_for_scoring())
        mask = torch.as_tensor(prompts.mask, device=embeds.device)
        return titles.score_titles(self.lm, self.prompts, embeds, mask, items, self.inputs.titles, self.config)
