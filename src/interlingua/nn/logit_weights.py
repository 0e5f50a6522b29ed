"""The weights of a conditional logit item by item, made once, and its utilities in a few passes over the scores.

The numbers of :func:`interlingua.nn.conditional_logit.utilities` for standardised and bent scores, but for the order of
a sum: a question costs some passes over (I) for each member in place of products of (2 M, I).

Shape key: M members, P parts (M, or 2 M with bends), B questions, I items.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from interlingua.nn.conditional_logit import UNSEEN, Known

FLAT = 1e-5
"""a spread that is so small beside the mean may be that of rounding alone"""


def standardise(scores: Tensor) -> Tensor:
    """Scores (B, I) with mean 0 and spread 1 over the items, in place; a row whose scores are all the same becomes 0.

    By a norm: PyTorch's ``std`` and ``var_mean`` of several rows take twenty times as long.
    """
    mean = scores.mean(1, keepdim=True)
    scores.sub_(mean)
    spread = torch.linalg.vector_norm(scores, dim=1, keepdim=True) / scores.shape[1] ** 0.5
    if bool((spread <= FLAT * mean.abs()).any()):
        scores[(scores == scores[:, :1]).all(1)] = 0.0
    return scores.div_(torch.where(spread > 0, spread, 1.0))


@dataclass(frozen=True)
class ItemWeights:
    """See the module."""

    parts: Tensor
    """(P, I) of each part at each item; 0 where a member says nothing of the item"""
    users: Tensor
    """(P, I) more of them for each unit of what is known of the user; (0, I): none"""
    constants: Tensor
    """(I,) added"""
    bend: float
    """above which a member's standardised score counts once more; 0: it does not"""
    made_of: tuple[Tensor, Tensor, Known]
    """numbers, offsets and items of which it was made"""

    @classmethod
    def of(cls, numbers: Tensor, offsets: Tensor, known: Known, silent: Tensor, bend: float) -> Self:
        """From the numbers of a logit.

        Args:
            numbers: (4 P + 2,) as :func:`~interlingua.nn.conditional_logit.utilities` takes them.
            offsets: (4,) constants of the kinds of items.
            known: (I,) of the items.
            silent: (M, I) bool: items of which a member says nothing.
            bend: see above.
        """
        count, unseen = (len(numbers) - 2) // 4, (known.kinds == UNSEEN).float()
        a, b, e, d = (numbers[at * count : (at + 1) * count, None] for at in range(4))
        says = (~silent).float().repeat(count // max(len(silent), 1), 1)
        parts = (a + b * known.record + e * unseen) * says
        users = d * says if bool(d.any()) else parts.new_zeros(0, parts.shape[1])
        constants = numbers[-2] * known.record + numbers[-1] * unseen + offsets[known.kinds]
        return cls(parts, users, constants, bend, (numbers.clone(), offsets.clone(), known))

    def fits(self, numbers: Tensor, offsets: Tensor, known: Known) -> bool:
        """Whether it was made of these."""
        own = self.made_of
        return own[2] is known and torch.equal(own[0], numbers) and torch.equal(own[1], offsets)

    def utilities(self, scores: Iterable[Tensor], users: Tensor) -> Tensor:
        """(B, I) sums of the members' standardised scores, their bends and constants.

        Args:
            scores: of each member (B, I), as it gives them; they are changed.
            users: (B,) what is known of the users.
        """
        out = self.constants.expand(len(users), -1).clone()
        count = len(self.parts) // (2 if self.bend else 1)
        for number, own in enumerate(scores):
            standardise(own)
            self._add(out, own, number, users)
            if self.bend:
                self._add(out, own.sub_(self.bend).clamp_(min=0), count + number, users)
        return out

    def _add(self, out: Tensor, part: Tensor, number: int, users: Tensor) -> None:
        out.addcmul_(part, self.parts[number])
        if len(self.users):
            out.addcmul_(part, self.users[number] * users[:, None])
