"""Items by what a language model writes of their codes: along the trie of the catalogue, hence never anything else.

An item is K tokens, equally many for all. Its score is the sum of their log-probabilities among all of the model's
tokens. :func:`code_scores` searches a catalogue level by level; :func:`answer_scores` reads given items whole.

Shape key: B prompts, T prompt tokens, H input width, I items, K tokens of an item, N nodes of a level, W beams, R rows
that are read, C candidates.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.data.queries import IntArray
from interlingua.lm.code_trie import Levels, reached
from interlingua.lm.continuation import Continuation
from interlingua.lm.likelihood import LOGIT_ROWS, title_log_likelihood
from interlingua.lm.models import LanguageModel


@torch.no_grad()
def code_scores(lm: LanguageModel, embeds: Tensor, mask: Tensor, levels: Levels, beams: int) -> Tensor:
    """(B, I) log-probabilities of items' tokens, by a beam search over the nodes of the trie.

    Items that the search leaves stand behind all that it finds (:func:`interlingua.lm.code_trie.reached`).

    Args:
        lm: the model.
        embeds: (B, T, H) prompts.
        mask: (B, T) 1 at tokens, either padding side.
        levels: the trie of all items' token ids.
        beams: W, nodes of each level that are continued.
    """
    reading = Continuation(lm, embeds, mask, len(levels.levels))
    batch, device = len(embeds), reading.state.device
    before = torch.zeros(batch, 1, device=device)  # of the root
    slots = torch.zeros(batch, 1, dtype=torch.int64, device=device)  # row of each node that is continued, or -1
    found = list[Tensor]()
    for number, level in enumerate(levels.levels):
        parents = level.parents.to(device)
        steps = _log_probs(lm, reading.state, level.codes.to(device)).view(batch, -1, len(parents))  # (B, rows, N)
        origins = slots[:, parents]
        step = steps.gather(1, origins.clamp(min=0)[:, None])[:, 0]
        total = (before[:, parents] + step).masked_fill(origins < 0, -torch.inf)
        found.append(total)
        if number + 1 == len(levels.levels):
            break
        chosen = total.topk(min(beams, len(parents)), dim=1).indices  # (B, W) nodes
        first = torch.arange(batch, device=device)[:, None] * steps.shape[1]
        came = (first + origins.gather(1, chosen).clamp(min=0)).flatten()
        reading.add(level.codes.to(device)[chosen].flatten(), came)
        places = torch.arange(chosen.shape[1], device=device).expand_as(chosen)
        places = places.masked_fill(total.gather(1, chosen).isinf(), -1)  # fewer nodes were reached than may go on
        slots, before = slots.new_full(total.shape, -1).scatter(1, chosen, places), total
    return reached(levels, found)


def _log_probs(lm: LanguageModel, states: Tensor, tokens: Tensor) -> Tensor:
    """(R, N) log-probabilities of tokens (N,) after states (R, H'), among all tokens."""
    parts = []
    for some in states.split(LOGIT_ROWS):
        logits = lm.logits(some)
        parts.append(logits[:, tokens] - logits.logsumexp(-1, keepdim=True))
    return torch.cat(parts)


def answer_scores(lm: LanguageModel, embeds: Tensor, mask: Tensor, tokens: IntArray) -> FloatArray:
    """(B, C) log-probabilities of candidates' tokens (B, C, K), each read whole."""
    lengths = np.full(tokens.shape[:2], tokens.shape[2], np.int64)
    out: FloatArray = title_log_likelihood(lm, embeds, mask, tokens, lengths).numpy()
    return out
