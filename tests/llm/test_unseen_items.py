"""Which vector of an item is read: its own, or that of its text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import ITEMS, MODES, asked, inputs, make

from interlingua.data.queries import Queries
from interlingua.evaluate.slices import make_slices
from interlingua.injection.calibration import rarest
from interlingua.injection.id_vectors import IdVectors
from interlingua.injection.score_fusion import TextSimilarity


@pytest.mark.parametrize(("items", "expected"), [(180, 63), (100, 35), (101, 35), (660, 231)])
def test_the_share_of_cold_items_is_not_one_short(items, expected):
    counts = np.arange(items)
    assert int(rarest(torch.as_tensor(counts)).sum()) == expected
    slices = make_slices(counts, np.ones(items, np.int64), counts)
    assert [int(slices[part].targets.sum()) for part in ("cold items", "warm items")] == [expected, expected]


def test_unseen_items_are_read_from_their_text(folder):
    ranker = make(folder, **MODES["sequence"])
    cold = ITEMS - 1
    plain = ranker.score(asked())
    changed = inputs()
    changed.items_from_text[cold] += 1.0
    again = make(folder, given=changed, **MODES["sequence"]).score(asked())
    different = np.abs(again - plain).max(0)
    assert different.argmax() == cold
    assert different[cold] > 1e-3
    joint = inputs()
    joint.items[cold] += 0.0
    every = make(folder, inference_latent="text", **MODES["sequence"]).score(asked())
    assert not np.allclose(every, plain)


def test_the_closed_form_puts_soft_tokens_nearer_to_titles_than_chance(folder):
    assert make(folder, projector_init="titles").fit_r2 > 0.5
    assert make(folder, projector_init="xavier").fit_r2 is None


def test_the_mixture_reads_the_backbone_for_seen_items_only(folder):
    ranker = make(folder, **MODES["distilled"])
    before = ranker.score_fusion.numbers.clone()
    assert np.isfinite(ranker.calibrate(Queries.of([[k] for k in range(8)]), np.arange(1, 9)))
    assert not torch.equal(before, ranker.score_fusion.numbers)
    nothing, base = torch.zeros(1, 2), torch.tensor([[3.0, 3.0]])
    scores = ranker.score_fusion(nothing, base, nothing, torch.tensor([0.0, 1e6]))
    weight, constant = ranker.score_fusion.numbers[1].exp(), ranker.score_fusion.numbers[[4, 6]].sum()
    assert float(scores[0, 0]) == pytest.approx(float(constant), abs=1e-5)
    assert float(scores[0, 1]) == pytest.approx(float(weight * 3.0), abs=1e-3)


def test_likeness_of_texts_is_the_cosine_with_the_mean_of_the_last_items():
    texts = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [0.0, -2.0]])
    got = TextSimilarity(texts)(Queries.of([[0], [0, 1], []]))
    assert torch.allclose(got[0] / 10, torch.tensor([1.0, 0.0, -1.0, 0.0]), atol=1e-6)
    assert torch.allclose(got[1] / 10, torch.tensor([0.5, 0.5, -0.5, -0.5]), atol=1e-6)
    assert torch.equal(got[2], torch.zeros(4))


def test_what_counts_as_unread_is_what_the_backbone_has_not_learned(folder):
    """An item without events may bring its own vector, and one with events may have none."""
    given = inputs()
    brought, missing = ITEMS - 1, 0
    cold = np.zeros(ITEMS, bool)
    cold[missing] = True
    given = replace(given, cold_items=cold)
    ranker = make(folder, given=given, **MODES["sequence"])
    read = ranker.vectors_for_scoring()
    assert torch.equal(read[brought], ranker.vectors.joint[brought])
    assert torch.equal(read[missing], ranker.vectors.text[missing])
    own = IdVectors(replace(given, items_from_text=None)).items
    assert bool(own[brought].any())
    assert not bool(own[missing].any())
