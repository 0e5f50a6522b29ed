"""Scores candidates by the exact log-probability of their titles after a prompt, for all candidates in one pass.

The prompt runs once and leaves a key/value cache. The candidates' answers form a tree of distinct prefixes, whose nodes
run as one sequence in which a token sees the prompt and its own ancestors only: nothing is padded to the longest title,
common beginnings are computed once, and the cache is never copied per candidate.
Shape key: B prompts, T prompt tokens, C candidates, K answer tokens, N tree nodes, H input width, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.data.queries import IntArray
from interlingua.lm.models import LanguageModel
from interlingua.lm.packed import states_at
from interlingua.lm.padding import last_states, to_front

LOGIT_ROWS = 256
"""rows of logits held at a time: 50 MB for a vocabulary of 49,152"""
CACHED_ROWS = 16
"""rows of logits whose exponentials are summed at a time: so few stay in a processor's cache"""
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Prefix:
    """A batch of prompts that has run once."""

    cache: Any
    mask: Tensor
    """(B, T)"""
    last: Tensor
    """(B, H') hidden state of each prompt's last token"""

    def fresh_cache(self) -> Any:
        """A cache that can be extended without changing this one (tensors are shared, never written)."""
        new = copy.copy(self.cache)
        new.layers = [copy.copy(layer) for layer in self.cache.layers]
        return new


@dataclass(frozen=True)
class Tree:
    """Distinct prefixes of the answers of a batch. Nodes are sorted by depth, so parents come before children."""

    tokens: Ids
    """(M,) token of each node"""
    parents: Ids
    """(M,) node number of the parent, or -1 - b for a first token of prompt b"""
    batch: Ids
    """(M,) prompt of each node"""
    depths: Ids
    """(M,) 0 for a first token"""
    ends: Ids
    """(B, C) last node of each answer, or -1 - b for an empty answer"""


@torch.no_grad()
def run_prefix(lm: LanguageModel, embeds: Tensor, mask: Tensor, room: int = 0) -> Prefix:
    """Runs prompts once and keeps their cache.

    Args:
        lm: the model.
        embeds: (B, T, H) input embeddings.
        mask: (B, T) 1 at tokens, 0 at padding, either side.
        room: tokens that will follow.
    """
    embeds, mask = to_front(embeds, mask)
    if embeds.shape[1] + room <= lm.abilities.gap:
        hidden = lm.forward(embeds, None, use_cache=True)
    else:  # padding between prompt and answer would count in a window
        order = torch.argsort(mask, dim=1, stable=True)
        embeds, mask = embeds[torch.arange(len(mask), device=embeds.device)[:, None], order], mask.gather(1, order)
        hidden = lm.forward(embeds, mask, use_cache=True)
    return Prefix(hidden.cache, mask, last_states(hidden.states, mask))


def build_tree(ids: IntArray, lengths: IntArray) -> Tree:
    """The tree of answers' prefixes.

    Args:
        ids: (B, C, K) answer tokens, right-padded.
        lengths: (B, C) number of tokens of each answer.
    """
    ids, lengths = np.asarray(ids, np.int64), np.asarray(lengths, np.int64)
    batch, count, depth = ids.shape
    at = np.repeat(-1 - np.arange(batch)[:, None], count, axis=1)  # the node that each answer stands at
    vocabulary = int(ids.max(initial=0)) + 1
    tokens, parents, owners, depths = [], [], [], []
    made = 0
    for level in range(depth):
        alive = lengths > level
        if not alive.any():
            break
        # a parent is a negative prompt number or a node: shifted by the batch size it is one non-negative number
        keys = (at[alive] + batch) * vocabulary + ids[..., level][alive]
        distinct, which = np.unique(keys, return_inverse=True)
        parent = distinct // vocabulary - batch
        first = np.zeros(len(distinct), np.int64)
        first[which] = np.nonzero(alive)[0]
        tokens.append(distinct % vocabulary)
        parents.append(parent)
        owners.append(first)
        depths.append(np.full(len(distinct), level))
        at = at.copy()
        at[alive] = made + which
        made += len(distinct)
    joined = [np.concatenate(part) if part else np.zeros(0, np.int64) for part in (tokens, parents, owners, depths)]
    return Tree(joined[0], joined[1], joined[2], joined[3], at)


@torch.no_grad()
def title_log_likelihood(
    lm: LanguageModel,
    embeds: Tensor,
    mask: Tensor,
    ids: IntArray,
    lengths: IntArray,
    *,
    normalize: bool = False,
    block: int = 64,
) -> Tensor:
    """Log-probability of each candidate's answer given its prompt.

    Args:
        lm: the model.
        embeds: (B, T, H) prompts.
        mask: (B, T) 1 at tokens, 0 at padding, either side.
        ids: (B, C, K) answer tokens, right-padded (see ``CompiledTemplate.target_ids``).
        lengths: (B, C) tokens of each answer.
        normalize: divide by the number of tokens, so that long titles are not at a disadvantage.
        block: candidates that run together.

    Returns:
        (B, C) float32 on the CPU.
    """
    ids, lengths = np.asarray(ids, np.int64), np.asarray(lengths, np.int64)
    longest = embeds.shape[1] + ids.shape[2]
    parts = []
    if longest > lm.abilities.cache:
        parts = [_plain_scores(lm, embeds, mask, ids[:, at], lengths[:, at])[:, None] for at in range(ids.shape[1])]
    else:
        prefix = run_prefix(lm, embeds, mask, ids.shape[2])
        first = torch.log_softmax(lm.logits(prefix.last), dim=-1)
        score = _tree_scores if longest <= min(lm.abilities.tree, lm.abilities.gap) else _row_scores
        for start in range(0, ids.shape[1], block):
            part, sizes = ids[:, start : start + block], lengths[:, start : start + block]
            parts.append(score(lm, prefix, first, part, sizes))
    out = torch.cat(parts, 1) if parts else torch.zeros(len(embeds), 0)
    return out / torch.as_tensor(np.maximum(lengths, 1)).float() if normalize else out


def _tree_scores(lm: LanguageModel, prefix: Prefix, first: Tensor, ids: IntArray, lengths: IntArray) -> Tensor:
    tree = build_tree(ids, lengths)
    log_probs = np.zeros(len(tree.tokens), np.float32)
    start = tree.depths == 0
    log_probs[start] = first[tree.batch[start], tree.tokens[start]].float().cpu().numpy()
    inner = np.unique(tree.parents[tree.parents >= 0])  # a leaf is predicted, but predicts nothing
    if len(inner):
        states = run_nodes(lm, prefix, tree, inner)
        where = np.full(len(tree.tokens), -1, np.int64)
        where[inner] = np.arange(len(inner))
        later = np.nonzero(~start)[0]
        for nodes in _chunks(later[np.argsort(where[tree.parents[later]], kind="stable")]):
            # children lie in the order of their parents: each parent's logits are made once
            parents, which = np.unique(where[tree.parents[nodes]], return_inverse=True)
            logits = lm.logits(states[torch.as_tensor(parents, device=states.device)])
            chosen = logits[torch.as_tensor(which), torch.as_tensor(tree.tokens[nodes])]
            whole = torch.cat([part.logsumexp(-1) for part in logits.split(CACHED_ROWS)])
            log_probs[nodes] = (chosen - whole[torch.as_tensor(which)]).float().cpu().numpy()
    total = log_probs.astype(np.float64)
    for depth in range(1, int(tree.depths.max(initial=0)) + 1):
        nodes = tree.depths == depth
        total[nodes] += total[tree.parents[nodes]]
    out = np.where(tree.ends >= 0, total[np.maximum(tree.ends, 0)] if len(total) else 0.0, 0.0)
    return torch.as_tensor(out, dtype=torch.float32)


def run_nodes(lm: LanguageModel, prefix: Prefix, tree: Tree, inner: Ids) -> Tensor:
    """(len(inner), H') states of the given nodes: one sequence per prompt, each node seeing its ancestors."""
    batch, length = prefix.mask.shape
    owners, tokens, depths = tree.batch[inner], tree.tokens[inner], tree.depths[inner]
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=batch)
    column = np.empty(len(inner), np.int64)
    column[order] = np.arange(len(inner)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = int(counts.max())
    sees = np.zeros((batch, width, width), bool)
    sees[:, np.arange(width), np.arange(width)] = True  # padding sees itself: an empty softmax would be NaN
    place = np.full(len(tree.tokens), -1, np.int64)
    place[inner] = column
    for depth in range(1, int(depths.max(initial=0)) + 1):
        at = np.nonzero(depths == depth)[0]
        sees[owners[at], column[at]] |= sees[owners[at], place[tree.parents[inner[at]]]]
    ids = np.full((batch, width), lm.pad_token_id, np.int64)
    ids[owners, column] = tokens
    lengths = prefix.mask.long().sum(1)
    positions = lengths[:, None].repeat(1, width)
    device = prefix.mask.device
    positions[torch.as_tensor(owners), torch.as_tensor(column)] += torch.as_tensor(depths, device=device)
    before = prefix.mask.bool()[:, None, :].expand(batch, width, length)
    mask = torch.cat([before, torch.as_tensor(sees, device=device)], dim=2)[:, None]
    embeds = lm.embed(torch.as_tensor(ids))
    states = lm.forward(embeds, mask, cache=prefix.fresh_cache(), positions=positions).states
    return states[torch.as_tensor(owners), torch.as_tensor(column)]


def _row_scores(lm: LanguageModel, prefix: Prefix, first: Tensor, ids: IntArray, lengths: IntArray) -> Tensor:
    """One row per candidate on a repeated cache: for attention windows shorter than the prompt, for biases by place."""
    batch, count, depth = ids.shape
    device = prefix.mask.device
    tokens = torch.as_tensor(ids, device=device).reshape(batch * count, depth)
    real = torch.arange(depth, device=device)[None, :] < torch.as_tensor(lengths, device=device).reshape(-1, 1)
    cache = prefix.fresh_cache()
    cache.batch_repeat_interleave(count)
    mask = torch.cat([prefix.mask.repeat_interleave(count, 0), real.long()], dim=1)
    states = lm.forward(lm.embed(tokens), mask, cache=cache).states[:, :-1]
    total = first.repeat_interleave(count, 0).gather(1, tokens[:, :1])[:, 0] * real[:, 0]
    for at in _chunks(np.arange(batch * count)[: batch * count], max(1, LOGIT_ROWS // max(depth, 1))):
        indices = torch.as_tensor(at)
        logits = torch.log_softmax(lm.logits(states[indices]), dim=-1)
        chosen = logits.gather(2, tokens[indices, 1:, None])[..., 0]
        total[indices] += (chosen * real[indices, 1:]).sum(1)
    return total.reshape(batch, count).float().cpu()


def _plain_scores(lm: LanguageModel, embeds: Tensor, mask: Tensor, ids: IntArray, lengths: IntArray) -> Tensor:
    """(B,) of one candidate per prompt, prompt and answer read as a whole: for whatever reads from left to right."""
    if not ids.shape[1]:
        return torch.zeros(len(embeds))
    return target_log_likelihood(lm, embeds, mask, ids, lengths).float().cpu()


def target_log_likelihood(lm: LanguageModel, embeds: Tensor, mask: Tensor, ids: IntArray, lengths: IntArray) -> Tensor:
    """(B,) log-probability of one answer per prompt, with gradients to ``embeds``: the loss of training.

    Logits exist only where an answer token is predicted.

    Args:
        lm: the model.
        embeds: (B, T, H) prompts, padded on either side.
        mask: (B, T).
        ids: (B, K) answer tokens, right-padded.
        lengths: (B,) tokens of each answer.
    """
    device = embeds.device
    tokens = torch.as_tensor(np.asarray(ids), device=device)
    width = tokens.shape[1]
    real = torch.arange(width, device=device)[None, :] < torch.as_tensor(np.asarray(lengths), device=device)[:, None]
    joined = torch.cat([embeds, lm.embed(tokens[:, :-1]).to(embeds.dtype)], dim=1)
    full = torch.cat([mask.to(device).long(), real[:, :-1].long()], dim=1)
    indices, answer = torch.nonzero(real, as_tuple=True)
    places = mask.to(device).sum(1)[indices] - 1 + answer
    logits = lm.logits(states_at(lm, joined, full, indices, places))
    chosen = logits.gather(1, tokens[real][:, None])[:, 0] - logits.logsumexp(-1)
    return torch.zeros(len(embeds), device=device).index_add(0, indices, chosen)


def _chunks(indices: Ids, size: int = LOGIT_ROWS) -> Iterator[Ids]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
