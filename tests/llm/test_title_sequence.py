"""A history as text: every title but the first is an answer, read as the model itself would read the same text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import inputs

from interlingua.config import FitConfig
from interlingua.config import build as options_of
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.lm import packed
from interlingua.rankers.title_sequence import TitleSequence
from interlingua.testing.tiny_models import TITLES
from interlingua.training.loop import fit_best

USERS = {"backbone": {"user": "backbone"}, "none": {"user": "none"}, "alone": {"user": "backbone", "item": "none"}}


def make(folder, **options):
    torch.manual_seed(1)
    common = {"history_length": 4, "fit": FitConfig(learning_rate=1e-2, batch_size=3)}
    return TitleSequence(TitleSequence.Config(model=folder, **common | options), inputs())


def plain_log_likelihood(ranker, embeds, start, tokens):
    """Sum over tokens from a place on, by the model's own logits."""
    with torch.no_grad():
        logits = ranker.lm.model(inputs_embeds=embeds[None]).logits.log_softmax(-1)[0]
    return sum(float(logits[start - 1 + k, token]) for k, token in enumerate(tokens))


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("user", USERS)
def test_the_loss_is_the_mean_over_the_tokens_of_all_titles_but_the_first(folder, user, packs, monkeypatch):
    if not packs:
        monkeypatch.setattr(packed, "can_pack", lambda *_: False)
    ranker = make(folder, slots=USERS[user])
    batch = next(iter(ranker.batches(0, np.random.default_rng(0))))
    windows = torch.cat([batch.histories, batch.positives[:, -1:]], 1).numpy()
    total, count = 0.0, 0
    for row in windows:
        items = row[row != PAD]
        for stop in range(1, len(items)):  # each title after what stood before it, as when candidates are scored
            prompts, embeds = ranker._prompts(items[None, :stop], ranker.vectors.joint)
            ids, lengths = ranker.prompts.target_ids(items[stop : stop + 1], eos=False)
            answer = ids[0, : lengths[0]]
            joined = torch.cat([embeds[0], ranker.lm.embed(torch.as_tensor(answer))])
            total += plain_log_likelihood(ranker, joined, int(prompts.lengths[0]), answer)
            count += len(answer)
    assert float(ranker(batch)["lm"]) == pytest.approx(-total / count, rel=1e-4)


def test_every_event_but_a_users_first_is_an_answer_once(folder):
    ranker, seen = make(folder), []
    train = ranker.inputs.train
    for batch in ranker.batches(0, np.random.default_rng(0)):
        windows = torch.cat([batch.histories, batch.positives[:, -1:]], 1).numpy()
        rows, places = ranker._answers(windows)
        prompts, _ = ranker._prompts(windows, ranker.vectors.joint)
        for row in range(len(windows)):
            ids = prompts.input_ids[row][prompts.attention_mask[row] == 1][places[rows == row]]
            items = windows[row][windows[row] != PAD][1:]
            expected, lengths = ranker.prompts.target_ids(items, eos=False)
            assert ids.tolist() == [t for e, n in zip(expected, lengths, strict=True) for t in e[:n]]
            seen += [(int(batch.users[row]), int(item)) for item in items]
    first = set(train.offsets[:-1].tolist())
    events = [(int(train.users[e]), int(train.items[e])) for e in range(len(train)) if e not in first]
    assert sorted(seen) == sorted(events)


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_a_score_is_the_likelihood_of_the_title_after_the_text_less_what_it_has_anyway(folder, weight):
    ranker = make(folder, prior_weight=weight, slots=USERS["backbone"]).eval()
    queries, items = Queries.of([[0, 1, 2], [], [3, 4, 5, 6, 7, 8]]), np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    got = ranker.score(queries, items)
    vectors = ranker.vectors_for_scoring()
    empty = np.full((1, 4), PAD)
    for row in range(3):
        for column, item in enumerate(items[row]):
            ids, lengths = ranker.prompts.target_ids(np.array([item]), eos=False)
            answer = torch.as_tensor(ids[0, : lengths[0]])
            parts = []
            for history in (queries.slice(row, row + 1).padded(4), empty):
                prompts, embeds = ranker._prompts(history, vectors)
                joined = torch.cat([embeds[0], ranker.lm.embed(answer)])
                parts.append(plain_log_likelihood(ranker, joined, int(prompts.lengths[0]), answer.tolist()))
            assert got[row, column] == pytest.approx(parts[0] - weight * parts[1], abs=2e-3)


def test_likelihoods_without_a_history_are_forgotten_when_weights_change(folder):
    ranker = make(folder, prior_weight=1.0, slots=USERS["backbone"])
    queries, items = Queries.of([[0, 1, 2]]), np.array([[3, 0, 11]])
    before = ranker.score(queries, items)
    fit_best(ranker, ranker.batches, FitConfig(learning_rate=1e-2, batch_size=4, epochs=1), seed=3, device="cpu")
    ranker.lm.model.get_output_embeddings().weight.data.mul_(0.5)
    after = ranker.score(queries, items)
    fresh = make(folder, prior_weight=1.0, slots=USERS["backbone"])
    fresh.lm.model.get_output_embeddings().weight.data.copy_(ranker.lm.model.get_output_embeddings().weight)
    fresh.load_state_dict(ranker.state_dict())
    assert not np.allclose(before, after)
    np.testing.assert_allclose(fresh.score(queries, items), after, atol=1e-5)


def test_training_lowers_the_loss_and_leaves_the_model_alone(folder):
    ranker = make(folder, slots=USERS["backbone"])
    frozen = {k: v.clone() for k, v in ranker.lm.model.state_dict().items()}
    log = fit_best(ranker, ranker.batches, FitConfig(learning_rate=1e-2, batch_size=4, epochs=6), seed=3, device="cpu")
    losses = [epoch["losses"]["lm"] for epoch in log.epochs]
    assert losses[-1] < losses[0]
    assert all(torch.equal(frozen[k], v) for k, v in ranker.lm.model.state_dict().items())


def test_without_vectors_adapters_can_learn_from_the_text_alone(folder):
    pytest.importorskip("peft")
    ranker = make(folder, slots={"user": "none", "item": "none"}, tune="lora")
    fit_best(ranker, ranker.batches, FitConfig(learning_rate=1e-2, batch_size=4, epochs=1), seed=3, device="cpu")
    scores = ranker.score(Queries.of([[0, 1], [2]]), np.array([[3, 4], [5, 6]]))
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fuse_scores": True}, "fuse_scores.*leave them"),
        ({"head_weight": 1.0}, "head_weight.*leave them"),
        ({"slots": {"user": "none", "item": "none"}}, "nothing to train"),
    ],
)
def test_options_that_cannot_work_are_refused_in_words(values, message):
    with pytest.raises(ConfigError, match=message):
        options_of(TitleSequence.Config, values)


def test_a_template_with_candidates_is_refused(folder):
    with pytest.raises(ConfigError, match="no other list"):
        make(folder, template="next-item")


def test_catalogue_needs_candidates(folder):
    with pytest.raises(ConfigError, match="retrieve"):
        make(folder).score(Queries.of([[0, 1]]))
    assert len(TITLES) == make(folder).num_items
