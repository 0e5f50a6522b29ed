"""A history read as vectors without words: one pass over all positions, a head over the items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import ITEMS, MODES, asked, inputs, make

from interlingua.config import FitConfig
from interlingua.config import build as options_of
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.injection.head import choices
from interlingua.rankers.sequence_head import SequenceHead
from interlingua.training.loop import fit_best


@pytest.mark.parametrize("user", ["backbone", "none"])
@pytest.mark.parametrize("mode", ["sequence", "none"])
def test_one_pass_over_all_positions_equals_a_pass_for_each_prefix(folder, mode, user):
    ranker = make(folder, slots={"user": user}, **MODES[mode]).eval()
    history = torch.tensor([[PAD, PAD, 3, 4, 5], [1, 2, 3, 4, 6]])
    states, where = ranker._sequence_states(ranker.vectors.joint, history)
    for row, items in enumerate(([3, 4, 5], [1, 2, 3, 4, 6])):
        assert int(where[row].sum()) == len(items)
        for stop in range(1, len(items) + 1):
            single, _ = ranker._sequence_states(ranker.vectors.joint, torch.tensor([items[:stop]]))
            assert torch.allclose(states[row, stop - 1], single[0, -1], atol=1e-4)


def test_a_user_without_history_is_answered_without_looking_at_any_item(folder):
    for mode in ("sequence", "none", "both"):
        scores = make(folder, slots={"user": "none"}, **MODES[mode]).score(Queries.of([[], [1, 2]]))
        assert np.isfinite(scores).all()
    changed = inputs()
    changed.items[0] += 5.0
    ranker = make(folder, slots={"user": "none"}, standardised=False, projector_init="xavier", **MODES["sequence"])
    other = make(
        folder, given=changed, slots={"user": "none"}, standardised=False, projector_init="xavier", **MODES["sequence"]
    )
    empty = torch.full((1, 3), PAD)
    states = [each.eval()._sequence_states(each.vectors.joint, empty)[0] for each in (ranker, other)]
    assert torch.allclose(*states)


def test_a_large_catalogue_is_trained_on_sampled_items_with_every_answer_among_them():
    targets = torch.tensor([7, 900, 7, 3])
    items, places = choices(1000, targets, 50)
    assert torch.equal(items[places], targets)
    assert len(items) <= 54
    everything, same = choices(10, targets.clamp_max(9), 50)
    assert torch.equal(everything[same], targets.clamp_max(9))


def test_the_same_seed_gives_the_same_trace_and_another_seed_another(folder):
    def trace(seed):
        ranker = make(folder, cold_dropout=0.3, dropout=0.1, **MODES["sequence"])
        log = fit_best(ranker, ranker.batches, FitConfig(batch_size=4, epochs=2), seed=seed, device="cpu")
        return [record["losses"] for record in log.epochs], ranker.score(asked())

    (a, scores), (b, again), (c, _) = trace(1), trace(1), trace(2)
    assert a == b
    assert np.array_equal(scores, again)
    assert a != c


def test_the_sequence_prompt_learns_the_next_item(folder):
    ranker = make(folder, **MODES["sequence"])
    fit_best(ranker, ranker.batches, FitConfig(learning_rate=5e-3, batch_size=8, epochs=40), seed=1, device="cpu")
    queries = Queries.of([[k, k + 1, k + 2] for k in range(6)])
    assert (ranker.score(queries).argmax(1) == np.arange(3, 9)).mean() >= 0.8


def test_batches_of_equally_many_targets_hold_every_answer_once(folder):
    sizes = np.array([2, 2, 2, 2, 3, 3, 12, 12])
    users, items = np.repeat(np.arange(8), sizes), np.arange(sizes.sum()) % (ITEMS - 1)
    ids = np.array([str(i) for i in range(ITEMS)])
    train = Interactions.of(np.array([str(u) for u in range(8)]), ids, users, items)
    counts = {}
    for batch_by in ("sequences", "events"):
        ranker = make(folder, given=inputs(train=train), history_length=12, batch_by=batch_by, **MODES["sequence"])
        parts = list(ranker.batches(0, np.random.default_rng(0)))
        counts[batch_by] = [int((part.positives != PAD).sum()) for part in parts]
        assert sum(counts[batch_by]) == len(train) - 8  # all but each user's first event
    assert np.ptp(counts["events"]) < np.ptp(counts["sequences"])


@pytest.mark.parametrize("options", [{"slots": {"item": "none"}}, {"head_weight": 0.0}, {"scoring": "likelihood"}])
def test_a_head_over_sequences_has_no_options_of_prompts(options):
    with pytest.raises(ConfigError):
        options_of(SequenceHead.Config, options, "here")
