"""Parts of the rankers that read vectors with a language model: projectors into it, and a head over the items.

The model is frozen or is trained too (``tune``): then :attr:`VectorRanker.tuned` holds its trained part.

Shape key: B rows, L history, I items, D item vectors, H input width of the language model, H' width of its states.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.data.queries import IntArray, Queries
from interlingua.injection import calibration
from interlingua.injection.head import Head, choices
from interlingua.injection.item_vectors import ItemVectors, unlearned
from interlingua.injection.loading import language_model, state_width, title_embeddings, whole_model
from interlingua.injection.projector import Projector
from interlingua.injection.remembered import Remembered
from interlingua.injection.score_fusion import BLOCK, Features, ScoreFusion, TextSimilarity, features_in_blocks
from interlingua.lm import history as sequence
from interlingua.lm.adapter_checks import store_checked
from interlingua.lm.adapters import Tuned, check_learned, tuned
from interlingua.nn.histories import pick
from interlingua.progress import track
from interlingua.rankers._vector_options import VectorRankerConfig, check
from interlingua.training.batches import sequence_batches

AT_ONCE = 16
"""queries per forward pass of the language model when scoring"""
WIDTH_WITHOUT_MODEL = 576
"""H of the control without a language model: SmolLM2-135M's"""


class VectorRanker(Ranker):
    """Projectors (and a head) around a language model; :meth:`states` of a subclass defines what it reads."""

    without_users = "slots.user"
    words: ClassVar[bool] = True
    """the language model reads or writes words; False: vectors alone"""

    def __init__(self, config: Any, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        check(config, inputs)
        self.lm = language_model(config)
        self.tuned = self._tuned(config)
        if self.tuned is not None:
            self.lm = self.tuned.lm
        width = WIDTH_WITHOUT_MODEL if self.lm is None else self.lm.hidden_size
        self.vectors = ItemVectors(inputs, config.slots.item, config.standardised)
        self.item_projector: Projector | None = None
        self.user_projector: Projector | None = None
        if config.slots.item != "none":
            self.item_projector = Projector(self.vectors.dim, width, nn.GELU(), config.projector)
        if config.slots.user != "none":
            self.user_projector = Projector(inputs.user_dim, width, nn.LeakyReLU(), config.projector)
        self.head: Head | None = None
        if config.has_head:
            self.head = Head(width if self.lm is None else state_width(self.lm), self.vectors.dim, width)
        self.score_fusion = ScoreFusion() if config.fuse_scores else None
        texts = inputs.items_from_text if inputs.texts is None else inputs.texts
        self.text_similarity = TextSimilarity(texts, inputs.added) if config.fuse_scores and texts is not None else None
        self.register_buffer("counts", torch.as_tensor(inputs.train.item_counts).float(), persistent=False)
        self.register_buffer("cold", unlearned(inputs), persistent=False)
        self.fit_r2 = self._initialise()
        self._known = Remembered()

    counts: Tensor
    cold: Tensor

    def train(self, mode: bool = True) -> VectorRanker:
        """Training makes remembered states stale."""
        if mode:
            self._known.forget()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Other weights make remembered states stale; adapters that change nothing are refused."""
        self._known.forget()
        found = super().load_state_dict(*args, **kwargs)
        check_learned(self.tuned, f"this {type(self).__name__}")
        return found

    def _tuned(self, config: VectorRankerConfig) -> Tuned | None:
        if self.lm is None:
            return None
        return tuned(self.lm, config.tune, config.lora, words=self.words)

    def fit(self, job: Fitting) -> FitLog:
        """See :class:`Ranker`. Adapters to begin with are only read here: the trained ones are stored with the run.

        Raises an error if a language model that should learn did not change.
        """
        if self.tuned is not None and self.config.adapters is not None:
            self.tuned.load(Path(self.config.adapters).expanduser())
        log = super().fit(job)
        check_learned(self.tuned, f"this {type(self).__name__}")
        return log

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Writes the LoRA adapters in peft's layout, besides the run's own weights, and checks what was written."""
        return store_checked(self.tuned, self.config.lora, folder / "adapters")

    @property
    def device(self) -> torch.device:
        """Where the projectors live; the language model follows."""
        return self.counts.device

    def window_batches(self, generator: np.random.Generator) -> Iterator[Batch]:
        """Windows of histories with a target at every position, for a ranker with an option ``batch_by``."""
        config, train = self.config, self.inputs.train
        return sequence_batches(
            train, config.history_length, config.fit.batch_size, generator, 0, long_histories="windows",
            batch_by=config.batch_by,
        )  # fmt: skip

    @torch.no_grad()
    def _initialise(self) -> float | None:
        """Sets the scales of the projectors; returns R² of the closed form, if that is used."""
        config: VectorRankerConfig = self.config
        if self.head is not None:
            self.head.items.scale_to(self.vectors.joint, self.head.width**0.5)
        if self.lm is None or config.projector_init == "xavier":
            return None
        if self.user_projector is not None and self.inputs.user_embeddings is not None:
            some = self.inputs.train.queries(np.arange(min(512, self.inputs.train.num_users)))
            self.user_projector.scale_to(
                self.inputs.user_embeddings(some).detach().float().cpu(), self.lm.embedding_norm
            )
        if self.item_projector is None:
            return None
        if config.projector_init == "scaled":
            self.item_projector.scale_to(self.vectors.joint, self.lm.embedding_norm)
            return None
        return self.item_projector.fit_to(self.vectors.joint, title_embeddings(self.lm, self.inputs.titles))

    def writer(self) -> Any:
        """See :class:`Ranker`: the original model, without cuts, controls or training."""
        config: VectorRankerConfig = self.config
        whole = config.num_layers is None and config.lm_weights == "pretrained" and config.tune == "none"
        return self.lm if whole else whole_model(self.config)

    def states(self, queries: Queries, vectors: Tensor) -> Tensor:
        """(B, H') states of the language model for queries, with item vectors (I, D)."""
        raise NotImplementedError

    def _head_losses(
        self, states: Tensor, targets: Tensor, vectors: Tensor, histories: Tensor, keep: Tensor | None
    ) -> dict[str, Tensor]:
        """``states`` (N, H'), ``targets`` (N,); ``keep``: their places in the histories, None: the last."""
        assert self.head is not None
        config: VectorRankerConfig = self.config
        queries = self.head.queries(functional.dropout(states.float(), config.dropout, self.training))
        items, labels = choices(self.num_items, targets, config.head_items)
        logits = queries @ self.head.table(vectors[items]).T
        out = {"head": config.head_weight * functional.cross_entropy(logits, labels)}
        if config.distill_weight > 0 and self.inputs.base_score is not None:
            teacher_queries = (
                sequence.queries_of(histories) if keep is None else sequence.prefix_queries(histories, keep)
            )
            teacher = torch.as_tensor(self.inputs.base_score(teacher_queries, None), device=logits.device)[:, items]
            soft = torch.softmax(teacher / config.distill_temperature, dim=-1)
            out["distill"] = config.distill_weight * functional.cross_entropy(logits, soft)
        return out

    def _place(self) -> None:
        """The language model is no child module: it follows the projectors to their device here."""
        if self.lm is not None:
            self.lm.place(self.device)

    def _users(self, queries: Queries) -> Tensor | None:
        """(B, H) soft tokens of users, or None without that slot."""
        if self.user_projector is None:
            return None
        assert self.inputs.user_embeddings is not None
        with torch.no_grad():
            users = self.inputs.user_embeddings(queries).detach().float().to(self.device)
        return self.user_projector(users)

    def catalogue_scores(self, queries: Queries, items: IntArray | None) -> FloatArray:
        """(B, I) by the head, or (B, C) of candidates; the whole catalogue is scored either way."""
        out = [self._head_scores(queries.slice(at, at + BLOCK)) for at in range(0, len(queries), BLOCK)]
        scores = torch.cat(out).cpu().numpy() if out else np.zeros((0, self.num_items), np.float32)
        return pick(scores, items)

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
        """(B, H') states of the queries; those computed before with the same weights are reused."""
        keys = [(int(user), queries.history(row).tobytes()) for row, user in enumerate(queries.users)]

        def make(fresh: IntArray) -> Tensor:
            order = np.argsort(queries.lengths()[fresh], kind="stable")  # rows of similar length run together
            parts = [fresh[order[at : at + AT_ONCE]] for at in range(0, len(order), AT_ONCE)]
            found = [self.states(queries.take(indices), vectors) for indices in track(parts, "read histories")]
            made = torch.cat(found)
            return made[torch.as_tensor(np.argsort(order), device=made.device)]

        return self._known.of(keys, make)

    def _head_scores(self, queries: Queries) -> Tensor:
        if self.score_fusion is None:
            return self._head_log_probs(queries)
        return self.score_fusion(*self.features(queries), self.counts)

    @torch.no_grad()
    def features(self, queries: Queries, hidden: Tensor | None = None) -> Features:
        """What :class:`ScoreFusion` joins; ``hidden`` (I,) items are read as if they had no events."""
        self._place()
        return features_in_blocks(
            lambda part: self._head_log_probs(part, hidden), self.inputs.base_score, self.text_similarity, queries
        )

    @torch.no_grad()
    def calibrate(self, queries: Queries, targets: IntArray) -> float | None:
        """Learns the score fusion on validation users, see :func:`calibration.calibrate`. None: there is no fusion."""
        self.eval()
        return calibration.learned(self.score_fusion, self.features, self.counts, queries, targets, self.config)
