"""Which candidate a freely written answer names: the exact rule, and LLaRA's; the A-LLMRec authors' is in ``generate``.

Only the first line counts, and case does not. A title is compared as the prompt prints it (cut, in its quotes).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from interlingua.lm.generate import generate
from interlingua.lm.models import LanguageModel


def write_line(lm: LanguageModel, embeds: Tensor, mask: Tensor, max_new_tokens: int) -> list[str]:
    """The line that the model writes after each of B prompts (B, T, H) with mask (B, T): greedy, without penalty."""

    def ended(tokens: list[int]) -> bool:
        return "\n" in lm.tokenizer.decode(tokens).lstrip()

    with torch.no_grad():
        answers = generate(lm, embeds, mask, max_new_tokens=max_new_tokens, stop=ended)
    return [first_line(lm.tokenizer.decode(answer, skip_special_tokens=True)) for answer in answers]


def first_line(text: str) -> str:
    """The first line with something in it, without surrounding space."""
    return text.strip().split("\n", 1)[0].strip()


def is_answer(written: str, printed: str) -> bool:
    """The exact rule: the line is the title as it is printed, or its outermost quotes hold the same as the title's.

    Args:
        written: what the model wrote.
        printed: the answer that names the item, quotes included where the template has some.
    """
    line, answer = first_line(written).casefold(), first_line(printed).casefold()
    whole_in_quotes = len(answer) > 1 and answer[0] == answer[-1] == '"'
    return line == answer or (whole_in_quotes and _in_quotes(line) == answer[1:-1])


def _in_quotes(line: str) -> str | None:
    """What stands between the first and the last quote; None: there are no two."""
    first, last = line.find('"'), line.rfind('"')
    return line[first + 1 : last] if 0 <= first < last else None


def one_contained(written: str, printed: Sequence[str]) -> int | None:
    """LLaRA's rule: place of the one candidate whose title the line contains; None: it contains none or several.

    A title inside another candidate's title therefore makes the longer one's answer invalid, as with the authors.
    """
    line = first_line(written).casefold()
    found = [place for place, title in enumerate(printed) if first_line(title).strip('"').casefold() in line]
    return found[0] if len(found) == 1 else None
