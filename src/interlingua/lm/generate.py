"""Greedy free text after prompts given as embeddings, and the A-LLMRec authors' way of judging it.

Shape key: B prompts, T prompt tokens, N new tokens, H input width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from interlingua.lm.continuation import Continuation
from interlingua.lm.models import LanguageModel

Stop = Callable[[list[int]], bool]


@torch.no_grad()
def generate(
    lm: LanguageModel,
    embeds: Tensor,
    mask: Tensor,
    *,
    max_new_tokens: int = 60,
    repetition_penalty: float = 1.0,
    stop: Stop | None = None,
) -> list[list[int]]:
    """Continues each prompt with the most probable token until the end-of-text token. Deterministic.

    Args:
        lm: the model.
        embeds: (B, T, H) prompts.
        mask: (B, T) 1 at tokens, either padding side.
        max_new_tokens: at most N.
        repetition_penalty: logits of tokens generated before are divided by it where positive, multiplied where
            negative (Keskar et al. 2019, CTRL); the prompt's tokens are not penalised, as it is given by vectors.
        stop: asked with each answer so far; True ends it.

    Returns:
        B lists of token ids, without the end-of-text token.
    """
    reading = Continuation(lm, embeds, mask, max_new_tokens)
    answers: list[list[int]] = [[] for _ in range(len(embeds))]
    alive = [True] * len(answers)
    seen: Tensor | None = None
    for _ in range(max_new_tokens):
        logits = lm.logits(reading.state)
        if repetition_penalty != 1.0:
            seen = torch.zeros_like(logits, dtype=torch.bool) if seen is None else seen
            less = torch.where(logits > 0, logits / repetition_penalty, logits * repetition_penalty)
            logits = torch.where(seen, less, logits)
        chosen = logits.argmax(-1)
        for row, token in enumerate(chosen.tolist()):
            if alive[row] and token == lm.eos_token_id:
                alive[row] = False
            elif alive[row]:
                answers[row].append(token)
                alive[row] = stop is None or not stop(answers[row])
        if not any(alive):
            break
        if seen is not None:
            seen.scatter_(1, chosen[:, None], True)
        reading.add(chosen)
    return answers


def paper_generate(lm: LanguageModel, embeds: Tensor, mask: Tensor, *, max_length: int = 512) -> list[str]:
    """Free generation as the A-LLMRec authors run it: greedy, penalty 1.5, at most 512 tokens.

    ``max_length`` counts new tokens only, as it did for embedded prompts in the authors' version of transformers; no
    more are made than the model has positions for.
    """
    room = max(min(max_length, lm.max_positions - embeds.shape[1]), 1)
    answers = generate(lm, embeds, mask, max_new_tokens=room, repetition_penalty=1.5)
    return [lm.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]


def paper_hit(output: str, title: str) -> bool:
    """The authors' verdict: the true title is a *substring* of what stands between the first and the last quote.

    Quirks kept: only the first line counts, case is ignored, a longer title that contains the true one is a hit, and so
    is a list of titles with the true one among them. A title with a line break is judged by its first line.
    """
    line = output.split("\n", 1)[0]
    first, last = line.find('"'), line.rfind('"')
    if first < 0 or last <= first:
        return False
    answer = title.split("\n", 1)[0].strip().strip('"').lower()
    return answer in line[first + 1 : last].lower()
