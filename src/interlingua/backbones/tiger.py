"""TIGER: an item is a few integer codes of its text, and a decoder writes the next item's codes after the history's.

Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023, arXiv 2305.05065. RQ-VAE makes the codes
(:mod:`interlingua.nn.residual_quantiser`); one further code tells items of equal codes apart. Each code is predicted
after the codes of the history and those before it; an item's score is the sum of its codes' log-probabilities. Codes
that no item has cannot come out: the search walks the trie of the catalogue's codes and nothing else. An item that came
after training has codes by its text, with the same codebooks.

Shape key: B rows, L events, I items, K codes of an item, T tokens, D width.

**Deviations:**
- One causal decoder over the history's codes, trained with every event of a row as a target (each after those before
  it); the paper's is T5's encoder and decoder with one target per row. No user token (hashed ids).
- The score of an item is exact: every node of the trie is visited. With ``beams`` the search is the paper's, and items
  that it leaves stand behind those that it finds, in the order of the part that it reached.
- The last code's probability is among the numbers that items of the same codes have, not among all numbers.
- Codebooks are trained at the start of the fit: AdamW, fewer epochs than the paper's 20,000, and dead codes are moved.
- Positions are learned per event, counted from the end; which code of an item a token is, is told by its own vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._code_decoder import CodeDecoder, Read
from interlingua.backbones._heads import WithHeads
from interlingua.backbones._shifted import by_length, rows_of, shift
from interlingua.config import FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded, FloatArray
from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError, DataError
from interlingua.lm.code_trie import Levels, among_siblings, levels_of, reached
from interlingua.nn.histories import pick
from interlingua.nn.quantise import CodeReport, numbered
from interlingua.nn.residual_quantiser import ResidualQuantiser
from interlingua.progress import say
from interlingua.training.batches import sequence_batches
from interlingua.training.quantise import FittedQuantiser, QuantiserOptions

CALL_NUMBERS = 1 << 22
"""numbers of the widest tensor of a level's nodes: so many rows are scored together. A call holds a few such tensors,
and the keys and values of all nodes above"""


class TigerConfig(WithHeads):
    """Options of :class:`Tiger`."""

    embedding_dim: int = Field(default=64, ge=1)
    """D (paper: 128)"""
    num_blocks: int = Field(default=2, ge=1)
    """transformer blocks (paper: 4 of the encoder, 4 of the decoder)"""
    num_heads: int = Field(default=2, ge=1)
    """attention heads (paper: 6 of width 64)"""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """on embeddings, attention's output and feed-forward (paper: .1)"""
    max_history: int = Field(default=20, ge=1)
    """L (paper: 20)"""
    long_histories: Literal["last", "windows"] = "windows"
    """histories longer than ``max_history``: train their last part, or all of it in stretches"""
    quantiser: QuantiserOptions = QuantiserOptions(size=64)
    """codebooks and their training (paper: size 256)"""
    same_codes: int = Field(default=64, ge=1)
    """items of equal codes that the further code tells apart; those beyond share the last number, and their scores"""
    normalised: Literal["codes", "trie"] = "codes"
    """a code's probability is one among all codes of its level (paper), or among those that an item has behind the same
    codes: then all items' probabilities sum to 1"""
    beams: int | None = Field(default=None, ge=1)
    """partial codes that a search follows on each level; None: all of them (paper: a beam search)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=64, epochs=100, patience=8)
    """training of the decoder (paper: 200,000 steps of 256 rows, .01, inverse square root decay)"""


class Tiger(Backbone):
    """Codes of a history in, log-probabilities of items' codes out."""

    Config = TigerConfig
    version = 2
    sampling = "sequences"
    draws_negatives = False
    needs_text = True
    dot_product = False

    codes: Tensor
    starts: Tensor

    def __init__(self, config: TigerConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim, levels = config.embedding_dim, config.quantiser.levels
        self.sizes = [config.quantiser.size] * levels + [config.same_codes]
        starts = torch.tensor([0, *self.sizes]).cumsum(0)
        self.register_buffer("starts", starts[:-1], persistent=False)
        self.register_buffer("codes", torch.zeros(train.num_items, levels + 1, dtype=torch.int64))
        self.tokens = nn.Parameter(torch.empty(int(starts[-1]) + 1, dim))  # the last one begins every row
        self.positions = nn.Parameter(torch.empty(config.max_history + 1, dim))
        self.decoder = CodeDecoder(dim, config.num_heads, config.num_blocks, config.dropout)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=dim**-0.5 if parameter is self.tokens else 0.02)
        self.quantiser = FittedQuantiser(self._quantiser)
        self.report: CodeReport | None = None
        self._levels: tuple[Tensor, Levels] | None = None

    def _quantiser(self, width: int) -> ResidualQuantiser:
        o = self.config.quantiser
        return ResidualQuantiser(width, o.hidden, o.code_dim, o.levels, o.size, o.beta)

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """Scores alone: nothing that an aligner may change."""
        return super().makes(config) - {"inputs"}

    @classmethod
    def width(cls, config: Any) -> int:
        """0: there are no tables of vectors."""
        return 0

    def learned_items(self, train: Interactions) -> Tensor:
        """(I,) all: an item without an event has codes too."""
        return torch.ones(self.num_items, dtype=torch.bool)

    def start(self, train: Interactions, text: Text | None) -> None:
        """Trains the codebooks on all items' texts, and gives every item its codes.

        Raises:
            ConfigError: no texts.
            DataError: all items' texts have one vector.
        """
        if text is None:
            raise ConfigError(
                "backbone 'tiger' makes codes of item texts, but the recipe has no [text] section; add one, e.g. "
                "name = 'lsa'"
            )
        vectors = text.rows("items").detach()
        if self.num_items > 1 and bool((vectors == vectors[0]).all()):
            raise DataError(
                f"tiger makes codes of item texts, and all {self.num_items:,} items' texts have one vector, so that a "
                "code would be an item's number and say nothing; give the catalogue titles or descriptions, or train "
                "sasrec, which reads ids"
            )
        self.report = self.quantiser.fit(vectors, self.config.quantiser, "tiger: codebooks")
        say(f"tiger: {self.report.in_words()}")
        self.codes = numbered(self.quantiser.codes(vectors), self.config.same_codes).to(self.codes.device)

    def start_for_estimate(self, train: Interactions, text: Text | None) -> None:
        """Random codes: the codebooks are not trained for an estimate, and their time is not in it."""
        options = self.config.quantiser
        drawn = torch.randint(options.size, (self.num_items, options.levels), device=self.codes.device)
        self.codes = numbered(drawn, self.config.same_codes)

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Used codes, collisions and reconstruction, for the card."""
        return {} if self.report is None else {"codes": self.report.entries()}

    @property
    def levels(self) -> Levels:
        """The trie of all items' codes; made once for a set of codes."""
        if self._levels is None or self._levels[0] is not self.codes:
            self._levels = self.codes, levels_of(self.codes)
        return self._levels[1]

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Rows of all users with a target at every position."""
        length, long = self.config.max_history, self.config.long_histories

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            return sequence_batches(train, length, fit.batch_size, generator, 0, long_histories=long)

        return make

    def input_embeddings(self) -> Embeddings:
        """No vectors: an item is its codes."""
        return Embeddings(None, self.tokens.new_zeros(self.num_items, 0))

    def _read(self, items: Tensor, room: int) -> tuple[Tensor, Tensor, Tensor]:
        """Token vectors (B, 1 + L K, D) of left-padded rows (B, L), which of them hold a code, and tokens (B, L, K).

        ``room``: further events that will come behind them.
        """
        shifted, most = shift(items, self.config.max_history + 1 - room), self.config.max_history
        tokens = self.codes[shifted.indices] + self.starts
        place = (shifted.columns + most + 1 - room - shifted.columns.shape[1]).clamp(max=most)
        x = functional.embedding(tokens, self.tokens) + functional.embedding(place, self.positions)[:, :, None]
        begin = self.tokens[-1].expand(len(items), 1, -1)
        x = torch.cat([begin, x.flatten(1, 2)], dim=1)
        mask = shifted.real.repeat_interleave(tokens.shape[2], dim=1)
        dropped = functional.dropout(x, self.config.dropout, self.training)
        return dropped, functional.pad(mask, (1, 0), value=True), tokens

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """States before every code of the histories and their last targets; (states, tokens, mask) in ``private``."""
        if batch.histories is None:
            raise ConfigError("tiger needs batches with histories: use sequence_batches or last_position_batches")
        last = batch.positives if batch.positives.dim() == 1 else batch.positives[:, -1]
        x, mask, tokens = self._read(torch.cat([batch.histories, last[:, None]], dim=1), 0)
        states, _ = self.decoder(x[:, :-1])
        return Encoded(inputs, states[:, 0], (states, tokens, mask[:, 1:]))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """``codes``: cross-entropy of every code among those of its level, a mean over codes."""
        states, tokens, mask = encoded.private
        states = states.view(*tokens.shape, -1)
        real = mask.view(tokens.shape)[..., 0]
        total = states.new_zeros(())
        for level, start in enumerate(self.starts.tolist()):
            logits = self._logits(states[:, :, level][real], level)
            total = total + functional.cross_entropy(logits, tokens[:, :, level][real] - start)
        return {"codes": total / len(self.sizes)}

    def _logits(self, states: Tensor, level: int) -> Tensor:
        """(..., size) of states (..., D): the codes of a level."""
        start = int(self.starts[level])
        return states @ self.tokens[start : start + self.sizes[level]].T

    def _constrained(self, level: int) -> bool:
        """Whether a code's probability on a level is one among its siblings'."""
        return self.config.normalised == "trie" or level == len(self.sizes) - 1

    def _log_probs(self, states: Tensor, level: int, parents: Tensor) -> Tensor:
        """(B, N) of the nodes on a level, after states (B, n, D) of those nodes above that were followed.

        ``parents`` (B, N): the place of the node above among these n, or -1.
        """
        node = self.levels.levels[level]
        logits = self._logits(states, level)
        if not self._constrained(level):
            logits = logits.log_softmax(-1)
        places = parents.clamp(min=0) * logits.shape[2] + node.codes
        known = parents >= 0
        found = logits.flatten(1).gather(1, places) if logits.shape[1] else logits.new_zeros(parents.shape)
        if self._constrained(level):
            above = len(self.levels.levels[level - 1].codes) if level else 1
            found = among_siblings(found, node.parents, above)
            known = known | (node.alone & ~node.branches)  # nothing else may come: its logarithm is 0
        return found.masked_fill(~known, -torch.inf)

    def _searched(self, histories: Tensor) -> Tensor:
        """(B, I) scores after left-padded histories (B, L)."""
        x, mask, _ = self._read(histories, 1)
        states, history = self.decoder(x)
        state = states[torch.arange(len(states), device=states.device), mask.sum(1) - 1][:, None]
        levels = self.levels.levels
        log_probs = [self._log_probs(state, 0, levels[0].parents.expand(len(state), -1))]
        before, slots = list[list[Read]](), list[Tensor]()
        for number, level in enumerate(levels[:-1]):
            chosen = self._followed(log_probs[-1], number)  # (B, n) nodes
            slot = chosen.new_full(log_probs[-1].shape, -1)
            slots.append(slot.scatter(1, chosen, torch.arange(chosen.shape[1], device=slot.device).expand_as(chosen)))
            way = level.path[chosen]  # (B, n, number + 1)
            earlier = [
                [read.of_branches(slots[step].gather(1, way[:, :, step]).clamp(min=0)) for read in reads]
                for step, reads in enumerate(before)
            ]
            tokens = self.tokens[level.codes[chosen] + self.starts[number]] + self.positions[-1]
            states, reads = self.decoder.branch(tokens, history, mask, earlier)
            before.append(reads)
            parents = levels[number + 1].parents
            found = self._log_probs(states, number + 1, slots[-1][:, parents])
            log_probs.append(log_probs[-1][:, parents] + found)
        return reached(self.levels, log_probs)

    def _followed(self, log_probs: Tensor, number: int) -> Tensor:
        """(B, n) the nodes of a level that a search follows: all that have a choice, or the ``beams`` best of them."""
        level, beams = self.levels.levels[number], self.config.beams
        follow = level.branches if self._constrained(number + 1) else torch.ones_like(level.branches)
        count = int(follow.sum())
        if beams is None or beams >= count:
            return follow.nonzero()[:, 0].expand(len(log_probs), -1)
        return log_probs.masked_fill(~follow, -torch.inf).topk(beams, dim=1).indices

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Sums of codes' log-probabilities (see :class:`interlingua.contracts.scorer.Scorer`)."""
        self.at_rest()
        nodes = max(len(level.codes) for level in self.levels.levels)
        attention = self.config.num_heads * (1 + self.config.max_history * len(self.sizes))
        widest = max(4 * self.config.embedding_dim, *self.sizes, attention)
        step = max(1, CALL_NUMBERS // (widest * min(nodes, self.config.beams or nodes)))
        scores = torch.empty(len(queries), self.num_items, device=self.codes.device)
        found = by_length(queries, self.config.max_history, scores, self._searched, rows_of(step))
        return pick(found.cpu().numpy(), items)

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """The same scores: no item is more than its codes."""
        return self.score(queries, items)

    def extended(self, added: AddedItems) -> Self | None:
        """An item that comes later has the codes of its text, and the next number behind its equals."""
        if added.text is None:
            return None
        new = self.quantiser.codes(added.text).to(self.codes.device)
        codes = numbered(torch.cat([self.codes[:, :-1], new]), self.config.same_codes)
        return self.longer(added, codes=codes)
