"""LLM-SRec: a frozen language model reads users and items; the order of a history is distilled into the user's output.

Kim et al., "Lost in Sequence: Do Large Language Models Understand Sequential Recommendation?", KDD 2025, arXiv
2502.13909; the form of the losses is that of the authors' code. A user's text is the last events with number, date,
title and vector, an item's text its title and vector; each ends with an output token, two trained vectors. Their last
states h become ``u = f_U(h)`` and ``v_i = f_I(h_i)``; ``c' = f_CF(c)`` is made of the backbone's user vector c.

    L_rec  = -log softmax(u . v) of the next item among it and 3 negatives: raw products
    L_dist = mean over coordinates of (u / |u| - c' / |c'|)^2, so at most 4 / 128
    L_unif = mean over pairs of the batch of exp(-2 |x - y|^2), for unit u and for unit c'
    L = L_rec + L_dist + L_unif(u) + L_unif(c')

Items' outputs are made once for a set of weights (before each validation, and after training) and stored with the run.

Shape key: B texts, N negatives, I items, D ID vectors, H input width, H' width of a state, W width of outputs.

**Deviations:**
- Negatives are items without a training event of the user (the authors: outside the history, the target included).
- ID vectors are scaled and the items' are centred; an item that the backbone has not learned has its text's vector
  where the aligner makes one, else zero; a user without a history has zero.
- While training, c reads the last 50 events before the answer (the authors: 128).
- A too long text loses its oldest events (the authors cut its end, where the output token stands).
- Output vectors start like 4,096 of the model's token embeddings, with their mean and deviation (the authors: all).
- Early stopping reads the full ranking of the validation part; the authors 1 + 99 candidates, ties for the target.
- Maps are drawn as A-LLMRec draws them (Xavier); ``projector_init = "titles"`` is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from interlingua.config import Config, FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.injection.id_vectors import IdVectors
from interlingua.injection.loading import language_model, state_width, title_embeddings, whole_model
from interlingua.injection.output_prompts import OutputPrompts, Text, events_of
from interlingua.injection.projector import Projector
from interlingua.injection.two_tower import AT_ONCE, by_length
from interlingua.lm import packed
from interlingua.lm.here import missing
from interlingua.lm.history import USER_HISTORY, queries_of
from interlingua.lm.locate import identity
from interlingua.lm.models import LanguageModel, Precision
from interlingua.lm.prompt import embed_prompts
from interlingua.lm.template import FOLDER
from interlingua.nn.distillation import contrastive_distillation, spread, unit_mse
from interlingua.rankers._two_towers import TwoTowers
from interlingua.runtime.missing import Missing
from interlingua.training.batches import Negatives, last_position_batches

SAMPLED_EMBEDDINGS = 4096
"""token embeddings that say how an output vector starts"""


class LlmSrecConfig(Config):
    """Options of :class:`LlmSrec`."""

    named_models = {"model": identity}
    named_templates = {"user_template": FOLDER, "item_template": FOLDER}
    only_with = {"distill_temperature": ("distillation", ("infonce",))}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a causal language model (paper: meta-llama/Llama-3.2-3B-Instruct)"""
    revision: str | None = None
    """commit or tag of a hub model; None: what the hub calls main, by its commit in key and card"""
    precision: Precision = "fp32"
    """fp32, bf16 or 4bit (paper: 8 bit)"""
    num_layers: int | None = Field(default=None, ge=1)
    """only the first layers of the language model (None: all)"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """control: ``shuffled`` weights"""
    user_template: str = "llm-srec-user"
    """text of a user: a template's name or path"""
    item_template: str = "llm-srec-item"
    """text of an item"""
    date_format: str = "%Y-%m-%d"
    """how dates are written, as strftime has it (paper: ``%Y-%m-%d``); empty: no dates. Data without times have none"""
    history_length: int = Field(default=10, ge=1)
    """last events in a user's text (paper: 10)"""
    max_title_words: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    max_tokens: int = Field(default=1024, ge=16)
    """longest text (paper: 1024); a longer one loses its oldest events"""
    projector_init: Literal["xavier", "titles"] = "xavier"
    """``titles``: item vectors land on the model's own embeddings of the titles, by ridge regression"""
    hidden_dim: int = Field(default=2048, ge=1)
    """inner width of f_U and f_I (paper: 2048)"""
    output_dim: int = Field(default=128, ge=1)
    """W, the width in which users and items are compared (paper: 128)"""
    num_negatives: int = Field(default=3, ge=1)
    """N (paper: 3)"""
    distillation: Literal["mse", "infonce", "none"] = "mse"
    """how the user's output learns from the backbone's user: ``mse`` (paper); ``infonce`` (among the batch's users)
    and ``none`` are the paper's ablations"""
    distill_temperature: float = Field(default=0.1, gt=0)
    """``infonce``: cosines are divided by it (paper: not known)"""
    distill_weight: float = Field(default=1.0, gt=0)
    """weight of the distillation (paper: 1)"""
    uniformity_weight: float = Field(default=1.0, ge=0)
    """weight of both uniformity losses (paper: 1; 0 is its ablation)"""
    fit: FitConfig = FitConfig(learning_rate=1e-4, beta2=0.98, batch_size=20, epochs=10)
    """training (paper: with ten validations an epoch, a decay of 0.95 and a patience of 5 at each)"""

    @field_validator("date_format")
    @classmethod
    def _a_date(cls, value: str) -> str:
        if value and "%" not in value:
            raise ValueError(
                f"{value!r} writes no part of a date: give a format such as '%Y-%m-%d', or '' for no dates"
            )
        return value

    @property
    def needs(self) -> frozenset[str]:
        """User vectors to distil."""
        return frozenset({"users"} if self.distillation != "none" else ())

    def lacks(self) -> list[Missing]:
        """Packages and the language model."""
        return super().lacks() + missing(self.model, self.precision, self.lm_weights)

    def check_models(self) -> None:
        """Loads the model once: an unsupported family is refused here."""
        whole_model(self)


class LlmSrec(TwoTowers):
    """Two texts, two outputs, one product."""

    Config = LlmSrecConfig
    version = 1
    validation = "ranking"
    without_users = "distillation"
    lm: LanguageModel

    def __init__(self, config: LlmSrecConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        if config.distillation != "none" and inputs.user_embeddings is None:
            raise ConfigError(
                f"ranker.distillation = {config.distillation!r} learns from the backbone's user vectors, and this one "
                "has none: choose another backbone, or distillation = 'none'"
            )
        found = language_model(config)
        assert found is not None
        self.lm, self.tuned, self.injection = found, None, None
        self.score_fusion, self.text_similarity = None, None
        self.prompts = OutputPrompts(
            found, config.user_template, config.item_template, inputs.titles, inputs.domain,
            max_title_words=config.max_title_words, max_tokens=config.max_tokens,
        )  # fmt: skip
        self.dated = inputs.has_times and self.prompts.takes_dates and bool(config.date_format)
        self.register_buffer("counts", torch.as_tensor(inputs.train.item_counts).float(), persistent=False)
        self.register_buffer("item_state_table", torch.zeros(0, 0))
        self._forget()
        self.ids = IdVectors(inputs)
        self.item_projector = Projector(self.ids.item_dim, found.hidden_size, nn.LeakyReLU())
        self.outputs = nn.ParameterDict({side: _like_tokens(found) for side in ("user", "item")})
        width, inner, out = state_width(found), config.hidden_dim, config.output_dim
        self.readouts = nn.ModuleDict({side: _map(width, inner, out, nn.LeakyReLU()) for side in ("user", "item")})
        distils = config.distillation != "none"
        self.base_map = _map(self.ids.user_dim, out, out, nn.GELU()) if distils else None
        if config.projector_init == "titles":
            self.item_projector.fit_to(self.ids.items, title_embeddings(found, inputs.titles))
        self._negatives: Negatives | None = None

    @property
    def _compared(self) -> tuple[bool, float]:
        return False, 1.0

    def _place(self) -> None:
        self.lm.place(self.device)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Each user's last training event after those before it, with negatives."""
        config: LlmSrecConfig = self.config
        self._negatives = self._negatives or Negatives(self.inputs.train)
        yield from last_position_batches(
            self.inputs.train, max(config.history_length, USER_HISTORY), config.fit.batch_size, generator,
            negatives=self._negatives, num_negatives=config.num_negatives,
        )  # fmt: skip

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses: ``rec``, ``distill``, ``uniform_user`` and ``uniform_base``."""
        assert batch.histories is not None
        assert batch.negatives is not None
        assert batch.history_times is not None
        self._place()
        config: LlmSrecConfig = self.config
        histories, when = batch.histories.cpu().numpy(), batch.history_times.cpu().numpy()
        read = [(h[h != PAD], t[h != PAD]) for h, t in zip(histories, when, strict=True)]
        users = self._outputs("user", self._user_texts(read))
        items, back = torch.unique(
            torch.cat([batch.positives[:, None], batch.negatives.reshape(len(batch), -1)], 1), return_inverse=True
        )
        outputs = self._outputs("item", self.prompts.item_texts(items.tolist()))[back]
        logits = torch.einsum("bw,bnw->bn", users, outputs)
        out = {"rec": functional.cross_entropy(logits, back.new_zeros(len(logits)))}
        spreads = {"uniform_user": users}
        if self.base_map is not None:
            base = self.base_map(self.ids.users(queries_of(histories, batch.users.cpu().numpy())))
            out["distill"] = config.distill_weight * self._distance(users, base)
            spreads["uniform_base"] = base
        if config.uniformity_weight > 0:
            out |= {name: config.uniformity_weight * spread(vectors) for name, vectors in spreads.items()}
        return out

    def _distance(self, users: Tensor, base: Tensor) -> Tensor:
        if self.config.distillation == "infonce":
            return contrastive_distillation(users, base, self.config.distill_temperature)
        return unit_mse(users, base)

    def _user_texts(self, histories: Sequence[tuple[Any, Any]]) -> list[Text]:
        """Texts of histories: (items, times or None) each, oldest first."""
        config: LlmSrecConfig = self.config
        last, form = config.history_length, config.date_format if self.dated else ""
        return self.prompts.user_texts(
            [events_of(items[-last:], None if times is None else times[-last:], form) for items, times in histories]
        )

    def _outputs(self, side: str, texts: Sequence[Text], vectors: Tensor | None = None) -> Tensor:
        """(B, W) outputs of texts; ``vectors`` (I, D) stand for the items, by default their own."""
        prompts = self.prompts.batch(texts)
        distinct, back = np.unique(prompts.item_indices, return_inverse=True)  # each item is projected once
        table = self.ids.items if vectors is None else vectors
        items = self.item_projector(table[torch.as_tensor(distinct)])[torch.as_tensor(back)]
        out = self.outputs[side].expand(len(texts), -1)
        embeds = embed_prompts(self.lm, prompts, items=items, slot_vectors={"out": out})
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        return self._read_out(side, packed.prompt_states(self.lm, embeds, mask).float())

    @torch.no_grad()
    def _read_items(self, vectors: Tensor, start: int = 0) -> Tensor:
        self._place()
        texts = self.prompts.item_texts(range(start, self.num_items))
        return self._in_turn("item", texts, vectors)

    def _read_users(self, queries: Queries) -> Tensor:
        read = [(queries.history(row), queries.history_times(row)) for row in range(len(queries))]
        return self._in_turn("user", self._user_texts(read), None)

    def _in_turn(self, side: str, texts: Sequence[Text], vectors: Tensor | None) -> Tensor:
        def run(indices: np.ndarray, each: Tensor, mask: Tensor) -> Tensor:
            return self._outputs(side, [texts[row] for row in indices], vectors)

        return by_length([text.ids for text in texts], self.lm.pad_token_id, run, AT_ONCE, f"read {side}s")

    def _key(self, queries: Queries, row: int) -> tuple[int, bytes, bytes]:
        times = queries.history_times(row) if self.dated else None
        return int(queries.users[row]), queries.history(row).tobytes(), b"" if times is None else times.tobytes()

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Makes the items' outputs (stored with the weights); the card says how dates are written and shows a text."""
        self.item_states()
        train = self.inputs.train
        some = train.queries(np.array([int(train.user_counts.argmax())]))
        text = self._user_texts([(some.history(0), some.history_times(0))])[0]
        dates = self.config.date_format if self.dated else "none" if self.inputs.has_times else "none: no times"
        return {"dates": dates, "example": self.prompts.in_words(text), "language_model": {"name": self.lm.name}}

    def writer(self) -> Any:
        """See :class:`interlingua.contracts.ranker.Ranker`."""
        whole = self.config.num_layers is None and self.config.lm_weights == "pretrained"
        return self.lm if whole else whole_model(self.config)


def _map(dim: int, inner: int, out: int, activation: nn.Module) -> nn.Sequential:
    """Linear, LayerNorm, activation, Linear."""
    first, last = nn.Linear(dim, inner), nn.Linear(inner, out)
    for layer in (first, last):
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.LayerNorm(inner), activation, last)


@torch.no_grad()
def _like_tokens(lm: LanguageModel) -> nn.Parameter:
    """(H,) drawn with mean and deviation of the model's token embeddings."""
    vocabulary = len(lm.tokenizer)
    indices = torch.linspace(0, vocabulary - 1, min(SAMPLED_EMBEDDINGS, vocabulary)).long()
    some = lm.embed(indices).float().cpu()
    return nn.Parameter(some.mean() + some.std() * torch.randn(lm.hidden_size))
