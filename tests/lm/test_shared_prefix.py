"""Prompts that begin alike: states as if each were read alone, and the common beginning is read once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from interlingua.lm.abilities import Abilities
from interlingua.lm.models import LanguageModel
from interlingua.lm.shared_prefix import grouped_states
from interlingua.testing.tiny_models import FAMILIES, tiny

GROUPS = np.array([7, 2, 7, 2, 7, 2, 5, 7])
COMMON = {7: list(range(20, 41)), 2: list(range(60, 75)), 5: [3, 4, 5]}
ENDS = [[90, 91, 92], [80], [90, 93], [80, 81, 82], [95], [80, 84], [10, 11], [90, 91, 92]]
"""what stands behind the common tokens: two equal prompts, one that is another's beginning, a group of one"""


def prompts() -> list[list[int]]:
    return [[*COMMON[int(group)], *end] for group, end in zip(GROUPS, ENDS, strict=True)]


def padded(lm: LanguageModel, texts: list[list[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, texts))
    ids, mask = torch.full((len(texts), width), 7), torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        at = slice(0, len(text)) if side == "right" else slice(width - len(text), width)
        ids[row, at], mask[row, at] = torch.tensor(text), 1
    return lm.embed(ids), mask


def alone(lm: LanguageModel, texts: list[list[int]]) -> torch.Tensor:
    """By the model's own call, one by one."""
    with torch.no_grad():
        found = [lm.decoder(inputs_embeds=lm.embed(torch.tensor([text]))).last_hidden_state[0, -1] for text in texts]
    return torch.stack(found)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_states_are_those_of_plain_passes(family: str, side: str) -> None:
    lm = tiny(family)
    got = grouped_states(lm, *padded(lm, prompts(), side), GROUPS)
    torch.testing.assert_close(got, alone(lm, prompts()), atol=1e-4, rtol=1e-5)


def read(monkeypatch: pytest.MonkeyPatch, lm: LanguageModel, texts: list[list[int]], groups: np.ndarray) -> list[int]:
    """Places (padding included) of each pass of the language model."""
    sizes: list[int] = []
    forward = LanguageModel.forward

    def noted(self: LanguageModel, embeds: torch.Tensor, *more: object, **options: object) -> object:
        sizes.append(embeds.shape[0] * embeds.shape[1])
        return forward(self, embeds, *more, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as inside:
        inside.setattr(LanguageModel, "forward", noted)
        got = grouped_states(lm, *padded(lm, texts, "right"), groups)
    torch.testing.assert_close(got, alone(lm, texts), atol=1e-4, rtol=1e-5)
    return sizes


def test_what_is_common_is_read_once_and_whatever_is_not_exact_is_read_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    seven, two = [row for row in range(8) if GROUPS[row] == 7], [row for row in range(8) if GROUPS[row] == 2]
    texts = prompts()
    both = [texts[row] for row in seven + two]
    groups = np.repeat([7, 2], [4, 3])
    # the common 21; then 3 + 2 + 1 + 3 tokens: another group's 15, of which one prompt is a beginning, fit beside it
    assert read(monkeypatch, lm, both, groups) == [2 * 21, 2 * 9]
    plain = [len(both) * 24]
    assert read(monkeypatch, lm, both, np.arange(7)) == plain
    assert read(monkeypatch, replace(lm, abilities=Abilities(tree=23)), both, groups) == plain
    assert read(monkeypatch, replace(lm, abilities=Abilities(tree=24)), both, groups) != plain
    other = [[100 + row, *text] for row, text in enumerate(both)]
    assert read(monkeypatch, lm, other, groups) == [7 * 25], "nothing is common"
    later = [[*text[:2], 100 + row, *text[2:]] for row, text in enumerate(both)]
    assert read(monkeypatch, lm, later, groups) == [7 * 25], "too little is common"
