"""A sum of the members' scores whose weights depend on what is known of the item and of the user. Ours, not a paper's.

``sum_m (a_m + b_m r_i + e_m [no events] + d_m h_u) z_m(u, i) + c r_i + c' [no events]``: z are standardised scores, r
and h logs of the item's events and of the history's length. It is a conditional logit (McFadden 1974) fitted on
validation answers, drawn to the plain sum.

- **Simulated coldness**: in copies of the questions random items count as without events: their scores give way to what
  a member knows of them without any (texts), else to that of an average item. So the weights learn what to do with new
  items where validation has none.
- **Newcomers**: a question without a history has nothing for weights to depend on: the members that tell items apart
  even then (popularity) are summed, without constants, by one weight each, learned from such questions where there are
  some; the other weights are learned without them.
- **Bends**: what a member puts far above all else (a text's nearest neighbours) is worth more than in proportion, so
  what its score has above two spreads counts once more, as if it were another member.
- **Balance**: what is most likely puts rare items behind all others. Constants for unseen, rare and middling items are
  chosen so that answers of no kind are placed worse than by the best single member, as far as that can be had. Fewer
  than 50 users say too little of that.

Shape key: M members, B or N questions, I items, C rivals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from interlingua.config import Config
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fusion import Fusion
from interlingua.contracts.scorer import Scorer, Towers
from interlingua.data.queries import IntArray, Queries
from interlingua.fuse._vectors import either_towers, joined_towers
from interlingua.injection.score_fusion import seen_mask
from interlingua.nn import conditional_logit as logit
from interlingua.nn.conditional_logit import Block
from interlingua.nn.histories import pick
from interlingua.nn.kind_constants import LEAST, balanced
from interlingua.nn.logit_weights import ItemWeights
from interlingua.progress import task

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions

BLOCK = 128
"""questions whose scores are made at once"""
FEW, MANY = 50, 500
"""users from which on there is balance, and from which on the pull is the option's"""
CELLS = 120_000_000
"""scores (of questions and rivals, over all copies) that are learned from at most: 480 MB, at the peak twice that"""


class LogitConfig(Config):
    """Options of ``logit``."""

    max_questions: int = Field(default=2000, ge=1)
    """validation questions that it is learned from, drawn evenly from all"""
    hidden: list[float] = Field(default_factory=lambda: [0.2, 0.25, 0.3, 0.35])
    """share of the items that count as without events in a copy of the questions, one copy each; empty: no copies"""
    by_item: bool = True
    """weights depend on the item's events"""
    by_user: bool = False
    """weights depend on the history's length"""
    bend: float = Field(default=2.0, ge=0)
    """what a member's score has above so many spreads counts once more, with weights of its own; 0: nothing does, and
    the fusion scores by products of vectors where all members do"""
    pull: float = Field(default=0.01, ge=0)
    """towards the plain sum, per question; in proportion stronger below 500 users"""
    balance: bool = True
    """constants for kinds of items, see the module"""

    @field_validator("hidden")
    @classmethod
    def _shares(cls, fractions: list[float]) -> list[float]:
        if any(not 0 < fraction < 1 for fraction in fractions):
            raise ValueError("shares of hidden items are above 0 and below 1; [] hides none")
        return fractions


class Logit(Fusion):
    """A weighted sum whose weights depend on the item's events and on the user's; new items are not left behind."""

    Config = LogitConfig
    version: ClassVar[int] = 6
    """2: questions without a history are answered by what the members say of them; 3: bends, and constants that are
    looked for together; 4: questions with and without a history are learned from apart; 5: from
    more questions, where there are many; 6: from more of newcomers, and balance where no answer was among ten"""
    config: LogitConfig
    numbers: Tensor
    offsets: Tensor
    scale: Tensor
    welcome: Tensor
    """(M,) weights for questions without a history"""

    def __init__(self, config: LogitConfig, members: Sequence[Scorer], train: Interactions) -> None:
        super().__init__(config, members, train)
        self.register_buffer("numbers", self._plain())
        self.register_buffer("offsets", torch.zeros(4))
        lengths = np.log1p(train.queries().lengths())
        self.register_buffer("scale", torch.tensor([lengths.mean(), lengths.std() or 1.0], dtype=torch.float32))
        self.counts = torch.as_tensor(train.item_counts, dtype=torch.float32)
        self.known = logit.known_of(self.counts)
        nothing: list[list[int]] = [[]]
        self.says = torch.tensor([member.score_unseen(Queries.of(nothing)) is not None for member in self.members])
        """(M,) bool: members that know something of items without events"""
        self.silent = ~self.says[:, None] & (self.counts == 0)[None, :]
        """(M, I) items without events of which a member knows nothing; all others have the member's own score"""
        apart = [np.ptp(np.asarray(member.score(Queries.of(nothing)), np.float32)) > 0 for member in self.members]
        self.welcoming = torch.tensor(apart)
        """(M,) bool: members that tell items apart for somebody without a history"""
        self.welcomes_newcomers = bool(self.welcoming.any())
        self._weights: ItemWeights | None = None
        self.register_buffer("welcome", self.welcoming.float() / max(int(self.welcoming.sum()), 1))

    def extended(self, members: Sequence[Scorer], train: Interactions) -> Self:
        """Items that came later have no events; a member that knew nothing of such items is silent on them too."""
        other = super().extended(members, train)
        added = train.num_items - self.num_items
        other.counts = torch.cat([self.counts, self.counts.new_zeros(added)])
        other.known = logit.with_new(self.counts, added)
        other.silent = torch.cat([self.silent, ~self.says[:, None].expand(-1, added)], dim=1)
        return other

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """See :class:`Scorer`."""
        new = _new(queries)
        joined = self.item_weights.utilities(self._each(queries), self._users(queries))
        if self.welcomes_newcomers and bool(new.any()):
            nobody = queries.take(np.flatnonzero(new.numpy()))
            pairs = zip(self._each(nobody), self.silent, strict=True)
            scores = torch.stack([logit.standardised(own, None, silent) for own, silent in pairs])
            joined[new] = torch.einsum("m,mbi->bi", self.welcome, scores)
        return pick(joined.numpy(), items)

    @property
    def item_weights(self) -> ItemWeights:
        """What the members' scores are multiplied with, made anew when the numbers have changed."""
        made = self._weights
        if made is None or not made.fits(self.numbers, self.offsets, self.known):
            made = self._weights = ItemWeights.of(self.numbers, self.offsets, self.known, self.silent, self.config.bend)
        return made

    def _each(self, queries: Queries) -> Iterator[Tensor]:
        """Each member's scores (B, I), in memory of their own."""
        for member in self.members:
            yield torch.from_numpy(np.array(member.score(queries, None), np.float32))

    def towers(self) -> Towers | None:
        """The members' vectors side by side, times what is known of the items; twice where users count too.

        None with bends: those are no products.
        """
        if self.config.bend:
            return None
        known, members = self.known, len(self.members)
        a, b, e, d = (self.numbers[at * members : (at + 1) * members, None] for at in range(4))
        unseen = (known.kinds == logit.UNSEEN).float()
        constants = self.numbers[-2] * known.record + self.numbers[-1] * unseen + self.offsets[known.kinds]
        factors = a + b * known.record + e * unseen
        found = joined_towers(self.members, factors, d[:, 0], self._users, constants, self.silent)
        welcome = joined_towers(self.members, self.welcome[:, None].expand_as(factors), neutral=self.silent)
        if found is None or welcome is None or not self.welcomes_newcomers:
            return found
        return either_towers(found, welcome, _new)

    def calibrate(self, queries: Queries, targets: IntArray) -> None:
        """Learns weights and constants; without a question it stays the plain sum."""
        answers, lengths = np.asarray(targets, np.int64), queries.lengths()
        new = (lengths == 0) & self.welcomes_newcomers
        self._learn_welcome(queries, answers, np.flatnonzero(new))
        self._learn(queries, answers, np.flatnonzero(~new))

    def _learn(self, queries: Queries, answers: IntArray, which: IntArray) -> None:
        """Weights and constants, from some of the questions."""
        config = self.config
        chosen = self._drawn(which, self._parts * (1 + len(config.hidden)))
        if not len(chosen):
            return
        hidden = logit.hidden_items(self.counts, config.hidden)
        blocks = self._blocks(queries.take(chosen), torch.as_tensor(answers[chosen]), hidden)
        self.numbers = _learned(blocks, self._free(), self._plain(), self._pull(queries, chosen))
        if config.balance and len(np.unique(queries.users[chosen])) >= FEW:
            utility = [logit.utilities(self.numbers, each.scores, each.known, each.users) for each in blocks]
            alone = [[block.scores[number] for block in blocks] for number in range(len(self.members))]
            self.offsets = balanced(utility, alone, blocks)

    def _learn_welcome(self, queries: Queries, answers: IntArray, which: IntArray) -> None:
        """Weights for questions without a history, where there are enough of them."""
        members = len(self.members)
        chosen = self._drawn(which, members)
        if len(chosen) < LEAST:
            return
        nobody = [torch.zeros_like(self.counts, dtype=torch.bool)]
        blocks = self._blocks(queries.take(chosen), torch.as_tensor(answers[chosen]), nobody, bend=0)
        start = logit.plain(members)
        start[:members] = self.welcome
        free = torch.zeros(len(start), dtype=torch.bool)
        free[:members] = self.welcoming
        self.welcome = _learned(blocks, free, start, self._pull(queries, chosen))[:members]

    def _pull(self, queries: Queries, chosen: IntArray) -> float:
        """The pull, the stronger the fewer users are asked: questions of one user say little more than one of them."""
        return self.config.pull * max(1.0, MANY / len(np.unique(queries.users[chosen])))

    def _drawn(self, which: IntArray, scores: int) -> IntArray:
        """As many of these questions as memory (so many scores of each rival) and options allow, evenly drawn."""
        width = min(self.num_items, logit.UNIFORM + logit.HARD * len(self.members))
        most = min(self.config.max_questions, max(50, CELLS // (width * scores)))
        return which[np.unique(np.linspace(0, len(which) - 1, most).astype(np.int64))] if len(which) else which

    @property
    def _parts(self) -> int:
        """Scores that have weights: of each member one, and with bends two."""
        return len(self.members) * (2 if self.config.bend else 1)

    def _plain(self) -> Tensor:
        """(4 P + 2,) the numbers of the plain sum of the members."""
        return logit.plain(len(self.members), self._parts - len(self.members))

    def _free(self) -> Tensor:
        """(4 P + 2,) bool: the numbers that are learned."""
        config = self.config
        free = torch.tensor([True, config.by_item, config.by_item, config.by_user]).repeat_interleave(self._parts)
        return torch.cat([free, torch.tensor([config.by_item, config.by_item])])

    def _users(self, queries: Queries) -> Tensor:
        mean, spread = self.scale
        return (torch.log1p(torch.as_tensor(queries.lengths(), dtype=torch.float32)) - mean) / spread

    def _scores(self, queries: Queries, hidden: Sequence[Tensor]) -> list[Tensor]:
        """For each set of hidden items (I,) the members' standardised scores (M, B, I)."""
        own = torch.as_tensor(self.member_scores(queries))
        found = [member.score_unseen(queries) for member in self.members]
        unseen = [None if each is None else torch.as_tensor(np.asarray(each, np.float32)) for each in found]
        pairs = list(zip(own, unseen, strict=True))
        empty = self.counts == 0
        return [torch.stack([logit.standardised(*pair, each | empty) for pair in pairs]) for each in hidden]

    def _blocks(
        self, queries: Queries, targets: Tensor, hidden: Sequence[Tensor], bend: float | None = None
    ) -> list[Block]:
        """The questions as they are, and once more with each set of hidden items; ``bend``: None is the option's."""
        bend = self.config.bend if bend is None else bend
        generator = torch.Generator().manual_seed(0)
        parts: list[list[Block]] = [[] for _ in hidden]
        with task("calibrate: questions", len(queries)) as shown:
            for at in range(0, len(queries), BLOCK):
                block, answers = queries.slice(at, at + BLOCK), targets[at : at + BLOCK]
                seen = seen_mask(block, self.num_items)
                for number, scores in enumerate(self._scores(block, hidden)):
                    rivals = logit.choose_rivals(scores, answers, seen, generator)
                    known = logit.known_of(self.counts, hidden[number])
                    gathered = torch.stack([member.gather(1, rivals.items) for member in scores])
                    gathered = logit.bent(gathered, bend)
                    weight = len(answers) * (1.0 if number == 0 else 1.0 / (len(hidden) - 1))
                    parts[number].append(
                        Block(gathered, known.at(rivals.items), self._users(block), rivals, weight, number == 0)
                    )
                shown.advance(len(answers))
        return [each for part in parts for each in part]


def _new(queries: Queries) -> Tensor:
    """(B,) bool: questions without a history."""
    return torch.as_tensor(queries.lengths() == 0)


def _learned(blocks: Sequence[Block], free: Tensor, start: Tensor, pull: float) -> Tensor:
    """:func:`interlingua.nn.conditional_logit.learn`, with progress."""
    with task("calibrate: weights, at most", logit.STEPS * 5 // 4 + 1) as shown:
        return logit.learn(blocks, free, start, pull, lambda: shown.advance(0 if shown.done == shown.total else 1))
