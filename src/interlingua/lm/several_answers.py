"""The likelihood of several answers to one prompt, for training: the prompt is read once, forward and backward.

The answers see the prompt and themselves, never each other: each has exactly the likelihood, and sends back exactly the
gradient, that it would alone. Of a prompt of 480 tokens with five answers of ten each, a pass has 525 tokens instead of
five times 489.

Shape key: B prompts, T prompt tokens, M answers, K answer tokens, A answers of all prompts, H input width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interlingua.data.queries import IntArray
from interlingua.lm.likelihood import target_log_likelihood
from interlingua.lm.models import LanguageModel
from interlingua.lm.packed import Stretch, can_pack, in_a_row, stretched_states
from interlingua.lm.padding import to_front
from interlingua.lm.token_loss import token_log_likelihood


@dataclass(frozen=True)
class _Answers:
    """The answers of all prompts that there are, one after the other."""

    prompts: Tensor
    """(A,) prompt of each"""
    tokens: Tensor
    """(A, K) ids, right-padded"""
    real: Tensor
    """(A, K) True at tokens"""

    @property
    def inner(self) -> Tensor:
        """(A, K - 1) True at tokens that are read: all but each answer's last, which nothing follows."""
        return self.real[:, 1:]

    def predicting(self, last: Tensor, starts: Tensor) -> Tensor:
        """(A, K) where the state before each token lies: at the prompt's last token, then inside the answer.

        Args:
            last: (A,) place of the prompt's last token.
            starts: (A,) place of the answer's first token.
        """
        steps = torch.arange(self.tokens.shape[1] - 1, device=last.device)
        return torch.cat([last[:, None], starts[:, None] + steps], 1)


def answers_log_likelihood(
    lm: LanguageModel, embeds: Tensor, mask: Tensor, ids: IntArray, lengths: IntArray
) -> Tensor:  # fmt: skip
    """(B, M) float32 log-probability of each answer, with gradients to ``embeds``; 0 where there is none.

    Args:
        lm: the model.
        embeds: (B, T, H) prompts, padded on either side.
        mask: (B, T) 1 at tokens.
        ids: (B, M, K) answer tokens, right-padded.
        lengths: (B, M) tokens of each answer, 0 for none.
    """
    device, sizes = embeds.device, np.asarray(lengths)
    owners, which = np.nonzero(sizes)
    tokens, counts = np.asarray(ids)[owners, which], sizes[owners, which]
    real = torch.as_tensor(np.arange(tokens.shape[1]) < counts[:, None], device=device)
    answers = _Answers(torch.as_tensor(owners, device=device), torch.as_tensor(tokens, device=device), real)
    longest = embeds.shape[1] + int(sizes.sum(1).max(initial=0))
    if can_pack(lm, embeds):
        found = _summed(lm, *_packed(lm, embeds, mask, answers), answers)
    elif longest <= min(lm.abilities.tree, lm.abilities.gap):
        found = _summed(lm, *_masked(lm, embeds, mask, answers), answers)
    else:  # a row for each answer
        found = target_log_likelihood(lm, embeds[answers.prompts], mask.to(device)[answers.prompts], tokens, counts)
    out = found.new_zeros(sizes.shape)
    return out.index_put((answers.prompts, torch.as_tensor(which, device=device)), found)


def _summed(lm: LanguageModel, states: Tensor, places: Tensor, answers: _Answers) -> Tensor:
    """(A,) sums over the tokens of each answer; ``places`` (A, K) of the state before each in (N, H') states."""
    scores = token_log_likelihood(lm, states[places[answers.real]], answers.tokens[answers.real])
    owners = torch.nonzero(answers.real)[:, 0]
    return scores.new_zeros(len(answers.prompts)).index_add(0, owners, scores)


def _packed(lm: LanguageModel, embeds: Tensor, mask: Tensor, answers: _Answers) -> tuple[Tensor, Tensor]:
    """States of one sequence of all prompts and, behind them, all answers; (A, K) places in it."""
    tokens = mask.to(embeds.device).bool()
    sizes, tails = tokens.sum(1), answers.inner.sum(1)
    stops, ends = sizes.cumsum(0), tails.cumsum(0) + sizes.sum()
    read = lm.embed(answers.tokens[:, :-1][answers.inner]).to(embeds.dtype)
    steps = torch.arange(answers.inner.shape[1], device=embeds.device).expand(answers.inner.shape)[answers.inner]
    first = torch.arange(int(stops[-1]), device=embeds.device) - (stops - sizes).repeat_interleave(sizes)
    positions = torch.cat([first, sizes[answers.prompts].repeat_interleave(tails) + steps])
    stretches = list(in_a_row(sizes.tolist()))
    read_first = list(stretches)
    for row, end, tail in zip(answers.prompts.tolist(), ends.tolist(), tails.tolist(), strict=True):
        stretches.append(Stretch(end - tail, end, (read_first[row].start, read_first[row].stop)))
    states = stretched_states(lm, torch.cat([embeds[tokens], read]), positions, stretches)
    return states, answers.predicting(stops[answers.prompts] - 1, ends - tails)


def _masked(lm: LanguageModel, embeds: Tensor, mask: Tensor, answers: _Answers) -> tuple[Tensor, Tensor]:
    """States of a padded row for each prompt with its answers behind it, by a mask; (A, K) places in them."""
    embeds, mask = to_front(embeds, mask)
    batch, width = mask.shape
    tails = answers.inner.sum(1)
    sums = tails.cumsum(0) - tails
    begins = torch.searchsorted(answers.prompts, torch.arange(batch, device=mask.device))
    offsets = sums - torch.cat([sums, sums.new_zeros(1)])[begins][answers.prompts]  # of each answer in its row's tail
    room = int((offsets + tails).max()) if len(tails) else 0
    where, steps = torch.nonzero(answers.inner, as_tuple=True)
    indices, columns = answers.prompts[where], offsets[where] + steps
    ids = torch.full((batch, room), lm.pad_token_id, device=mask.device)
    ids[indices, columns] = answers.tokens[:, :-1][answers.inner]
    owner = torch.full((batch, room), -1, device=mask.device)
    owner[indices, columns] = where
    positions = torch.arange(width, device=mask.device).repeat(batch, 1)
    after = torch.zeros_like(ids)
    after[indices, columns] = mask.sum(1)[indices] + steps
    total = width + room
    sees = torch.ones(total, total, dtype=torch.bool, device=mask.device).tril().repeat(batch, 1, 1)
    sees[:, width:, width:] &= owner[:, :, None] == owner[:, None, :]
    sees[:, width:, :width] = mask.bool()[:, None, :]
    read = torch.cat([embeds, lm.embed(ids).to(embeds.dtype)], 1)
    states = lm.forward(read, sees[:, None], positions=torch.cat([positions, after], 1)).states
    flat = states.reshape(batch * total, -1)
    at = answers.prompts * total
    return flat, answers.predicting(at + mask.sum(1)[answers.prompts] - 1, at + width + offsets)
