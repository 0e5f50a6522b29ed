"""Text that a model writes: equal to transformers, stopped when told, and the verdict on it in A-LLMRec's code."""

from __future__ import annotations

import pytest
import torch

from interlingua.lm.generate import generate, paper_generate, paper_hit


def test_generation_equals_transformers(llama):
    """One prompt at a time there: in a padded batch transformers 5.23 penalises other tokens than alone."""
    ids = torch.tensor([[9, 10, 11, 12, 13], [0, 0, 20, 21, 22]])
    mask = (ids > 0).long()
    for penalty in (1.0, 1.5):
        expected = []
        for row in range(2):
            alone = llama.embed(ids[row][mask[row].bool()])[None]
            out = llama.model.generate(
                inputs_embeds=alone, max_new_tokens=12, do_sample=False, repetition_penalty=penalty,
                attention_mask=torch.ones(alone.shape[:2]), pad_token_id=0, eos_token_id=2,
            )[0].tolist()  # fmt: skip
            expected.append(out[: out.index(2)] if 2 in out else out)
        assert generate(llama, llama.embed(ids), mask, max_new_tokens=12, repetition_penalty=penalty) == expected


def test_generation_stops_when_told(llama):
    ids = torch.tensor([[9, 10, 11]])
    out = generate(llama, llama.embed(ids), torch.ones_like(ids), max_new_tokens=9, stop=lambda t: len(t) == 4)
    assert len(out[0]) == 4
    assert isinstance(paper_generate(llama, llama.embed(ids), torch.ones_like(ids), max_length=8)[0], str)


@pytest.mark.parametrize(
    ("output", "title", "hit"),
    [
        (' "Heat"', "Heat", True),
        (' "heat wave"', "Heat", True),
        (' "Alien", "Heat"', "Heat", True),
        (" Heat", "Heat", False),
        (' "Heat', "Heat", False),
        (' "Alien"\n"Heat"', "Heat", False),
        (' "Heat"', "Heat wave", False),
        (' "Line one and"', "Line one\nand two", True),
    ],
)
def test_the_authors_verdict_with_its_quirks(output, title, hit):
    assert paper_hit(output, title) is hit
