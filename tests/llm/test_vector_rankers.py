"""What holds of every ranker that reads vectors, whatever it reads them with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import MODES, asked, inputs, make

from interlingua.config import FitConfig
from interlingua.errors import ConfigError
from interlingua.training.loop import fit_best, trainable_state


@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_every_trainable_parameter_and_the_model_stays_bitwise_equal(folder, mode):
    ranker = make(folder, **MODES[mode])
    before = {} if ranker.lm is None else {k: v.clone() for k, v in ranker.lm.model.state_dict().items()}
    start = {k: v.clone() for k, v in ranker.named_parameters()}
    fit_best(ranker, ranker.batches, FitConfig(learning_rate=1e-2, batch_size=4, epochs=2), seed=3, device="cpu")
    for name, value in ranker.named_parameters():
        assert value.grad is not None, name
        assert not torch.equal(start[name], value), name
    if ranker.lm is not None:
        after = ranker.lm.model.state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before)
        assert all(p.grad is None for p in ranker.lm.model.parameters())
        names = set(trainable_state(ranker))
        assert not any(name.startswith("lm") for name in names)  # the frozen model is named, never copied


@pytest.mark.parametrize("mode", MODES)
def test_saved_state_gives_the_same_scores(folder, mode):
    ranker, other = make(folder, **MODES[mode]), make(folder, seed=2, **MODES[mode])
    items = np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    state = {k: v.clone() for k, v in trainable_state(ranker).items()}
    assert not np.allclose(ranker.score(asked(), items), other.score(asked(), items))
    other.load_state_dict(state, strict=False)
    assert np.array_equal(ranker.score(asked(), items), other.score(asked(), items))
    assert np.array_equal(ranker.score(asked(), items), ranker.score(asked(), items))


def test_scores_do_not_depend_on_who_is_asked_together_or_on_where_the_answer_stands(folder):
    for mode in ("likelihood", "sequence"):
        ranker = make(folder, **MODES[mode])
        items = np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
        whole = ranker.score(asked(), items)
        one = np.concatenate([ranker.score(asked().slice(b, b + 1), items[b : b + 1]) for b in range(3)])
        assert np.allclose(whole, one, atol=1e-4)
        turned = ranker.score(asked(), items[:, [2, 0, 1]])
        assert np.allclose(whole[:, [2, 0, 1]], turned, atol=1e-4)


def test_a_backbone_without_user_vectors_needs_the_slot_off(folder):
    with pytest.raises(ConfigError, match=r"slots\.user"):
        make(folder, given=inputs(user_embeddings=None, user_dim=0))
    assert make(folder, given=inputs(user_embeddings=None, user_dim=0), slots={"user": "none"}).user_projector is None
