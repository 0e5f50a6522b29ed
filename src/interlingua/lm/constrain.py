"""Generation that can only name an item: greedy or beam search along a trie of the candidates' titles.

Shape key: B prompts, T prompt tokens, C candidates, K answer tokens, W beams, H input width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.data.queries import PAD, IntArray
from interlingua.errors import ConfigError
from interlingua.lm.continuation import Continuation
from interlingua.lm.models import LanguageModel

Ids = npt.NDArray[np.int64]


class Trie:
    """The candidates' answers as a token trie. Node 0 is the root.

    Answers may be equal (both candidates sit at one node), prefixes of each other, or empty.
    """

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.candidates: list[list[int]] = [[]]
        """candidates whose answer ends at a node, in their given order"""
        for number, answer in enumerate(answers):
            node = 0
            for token in answer:
                found = self.children[node].get(int(token))
                if found is None:
                    found = len(self.children)
                    self.children[node][int(token)] = found
                    self.children.append({})
                    self.candidates.append([])
                node = found
            self.candidates[node].append(number)

    @property
    def collisions(self) -> int:
        """Candidates that share their answer with an earlier one: no generation can tell them apart."""
        return sum(len(here) - 1 for here in self.candidates if len(here) > 1)


@dataclass(frozen=True)
class Generated:
    """Rankings from generation."""

    candidates: Ids
    """(B, W) columns of the candidates, best first; PAD if there are fewer than W"""
    log_probs: npt.NDArray[np.float32]
    """(B, W) log-probability of the answer; -inf at PAD"""
    collisions: Ids
    """(B,) candidates whose title equals another one's; such a tie is broken by the candidates' order"""

    def items(self, indices: IntArray) -> Ids:
        """(B, W) item indices, from the (B, C) indices of the candidates."""
        indices = np.asarray(indices, np.int64)
        found = np.take_along_axis(indices, np.maximum(self.candidates, 0), axis=1)
        return np.where(self.candidates == PAD, PAD, found)


@dataclass(frozen=True)
class _Beam:
    score: float
    node: int
    row: int
    """the cache row that it continues, in the last step's batch"""


@torch.no_grad()
def constrained_search(
    lm: LanguageModel, embeds: Tensor, mask: Tensor, ids: IntArray, lengths: IntArray, *, beams: int = 1
) -> Generated:
    """Greedy (``beams=1``) or beam search for each prompt over its own candidates.

    Scores are the model's plain log-probabilities, so ``beams`` >= C gives the ranking of
    :func:`interlingua.lm.likelihood.title_log_likelihood`.

    Args:
        lm: the model.
        embeds: (B, T, H) prompts.
        mask: (B, T) 1 at tokens, either padding side.
        ids: (B, C, K) answer tokens, right-padded.
        lengths: (B, C) tokens of each answer; 0 is allowed.
        beams: W, hypotheses kept and candidates returned.

    Raises:
        ConfigError: ``beams`` < 1, or no candidates.
    """
    ids, lengths = np.asarray(ids, np.int64), np.asarray(lengths, np.int64)
    if beams < 1:
        raise ConfigError(f"beams must be at least 1, got {beams}")
    if ids.shape[1] == 0:
        raise ConfigError("constrained generation needs at least one candidate for each prompt")
    tries = [Trie([row[:n] for row, n in zip(a, s, strict=True)]) for a, s in zip(ids.tolist(), lengths, strict=True)]
    reading = Continuation(lm, embeds, mask, ids.shape[2])
    live = [[_Beam(0.0, 0, b)] for b in range(len(tries))]
    done: list[list[tuple[float, int]]] = [[] for _ in tries]
    for b, trie in enumerate(tries):
        _finish(done[b], trie, live[b][0])
    while any(live):
        log_probs = torch.log_softmax(lm.logits(reading.state), dim=-1)
        grown = _grow(tries, live, log_probs, beams)
        for b, trie in enumerate(tries):
            for beam, _ in grown[b]:
                _finish(done[b], trie, beam)
            done[b] = sorted(done[b], key=lambda pair: (-pair[0], pair[1]))[:beams]
            # log-probabilities only fall: what is below the worst kept answer cannot come back
            worst = done[b][-1][0] if len(done[b]) == beams else -np.inf
            grown[b] = [(beam, t) for beam, t in grown[b] if trie.children[beam.node] and beam.score > worst]
        flat = [(beam, token) for part in grown for beam, token in part]
        if not flat:
            break
        reading.add(torch.tensor([token for _, token in flat]), torch.tensor([beam.row for beam, _ in flat]))
        numbers = iter(range(len(flat)))
        live = [[_Beam(beam.score, beam.node, next(numbers)) for beam, _ in part] for part in grown]
    return _collect(tries, done, beams)


def _finish(done: list[tuple[float, int]], trie: Trie, beam: _Beam) -> None:
    done.extend((beam.score, candidate) for candidate in trie.candidates[beam.node])


def _grow(
    tries: Sequence[Trie], live: Sequence[Sequence[_Beam]], log_probs: Tensor, beams: int
) -> list[list[tuple[_Beam, int]]]:
    """The best continuations of each prompt with the token that each adds; equal scores keep the trie's order."""
    out: list[list[tuple[_Beam, int]]] = []
    for trie, mine in zip(tries, live, strict=True):
        steps = [(beam, token, child) for beam in mine for token, child in trie.children[beam.node].items()]
        if not steps:
            out.append([])
            continue
        indices, tokens = [beam.row for beam, _, _ in steps], [token for _, token, _ in steps]
        gains = log_probs[indices, tokens].double().tolist()
        grown = [(_Beam(b.score + g, child, b.row), t) for (b, t, child), g in zip(steps, gains, strict=True)]
        # leaves cost no forward pass, so only those that go on compete for the beams
        ranked = sorted(grown, key=lambda pair: -pair[0].score)
        going = [pair for pair in ranked if trie.children[pair[0].node]][:beams]
        leaves = [pair for pair in ranked if not trie.children[pair[0].node]]
        out.append(going + leaves if beams > 1 else ranked[:1])
    return out


def _collect(tries: Sequence[Trie], done: Sequence[Sequence[tuple[float, int]]], beams: int) -> Generated:
    candidates = np.full((len(tries), beams), PAD, np.int64)
    log_probs = np.full((len(tries), beams), -np.inf, np.float32)
    for b, found in enumerate(done):
        for place, (score, candidate) in enumerate(sorted(found, key=lambda pair: (-pair[0], pair[1]))[:beams]):
            candidates[b, place], log_probs[b, place] = candidate, score
    return Generated(candidates, log_probs, np.array([trie.collisions for trie in tries], np.int64))
