"""Titles with vectors in a prompt, and candidates by the likelihood of their titles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import asked, first_batch, make

from interlingua.data.queries import PAD
from interlingua.errors import ConfigError
from interlingua.injection.title_scoring import presented
from interlingua.lm import history as sequence


def test_the_loss_is_the_causal_loss_of_the_plain_model_on_the_same_sequence(folder):
    ranker = make(folder)
    batch = first_batch(ranker)
    torch.manual_seed(11)
    got = float(ranker(batch)["lm"])
    torch.manual_seed(11)
    shown = torch.cat([batch.positives[:, None], batch.negatives], 1)
    shown = shown.gather(1, torch.rand(shown.shape).argsort(1)).numpy()
    histories = batch.histories.numpy()
    sums, count = 0.0, 0
    for row in range(len(batch)):
        alone, embeds = ranker._prompts(
            histories[row : row + 1, -5:], shown[row : row + 1],
            sequence.queries_of(histories[row : row + 1]), ranker.vectors.joint,
        )  # fmt: skip
        ids, lengths = ranker.prompts.target_ids(batch.positives[row : row + 1].numpy())
        answer = torch.as_tensor(ids[:, : lengths[0]])
        joined = torch.cat([embeds, ranker.lm.embed(answer)], 1)
        labels = torch.cat([torch.full(embeds.shape[:2], -100), answer], 1)
        plain = ranker.lm.model(inputs_embeds=joined, labels=labels).loss
        sums, count = sums + float(plain) * int(lengths[0]), count + int(lengths[0])
        assert alone.attention_mask.all()
    assert got == pytest.approx(sums / count, rel=1e-4)


def test_a_prompt_with_several_answers_has_the_loss_of_each_alone_after_the_same_prompt(folder):
    ranker = make(folder, answers_per_prompt=2, num_candidates=5, all_positions=True)
    batch = first_batch(ranker)
    assert batch.positives.shape[1] == 2
    torch.manual_seed(11)
    got = float(ranker(batch)["lm"])
    torch.manual_seed(11)
    shown = sequence.shuffled(batch.positives, batch.negatives)
    assert all((row != PAD).sum() == 5 for row in shown)
    histories = batch.histories.numpy()
    sums, count = 0.0, 0
    for row in range(len(batch)):
        one = sequence.queries_of(histories[row : row + 1])
        _, embeds = ranker._prompts(histories[row : row + 1, -5:], shown[row : row + 1], one, ranker.vectors.joint)
        for item in batch.positives[row][batch.positives[row] != PAD].tolist():
            assert item in shown[row]
            ids, lengths = ranker.prompts.target_ids(np.array([item]))
            joined = torch.cat([embeds, ranker.lm.embed(torch.as_tensor(ids))], 1)
            labels = torch.cat([torch.full(embeds.shape[:2], -100), torch.as_tensor(ids)], 1)
            sums += float(ranker.lm.model(inputs_embeds=joined, labels=labels).loss) * int(lengths[0])
            count += int(lengths[0])
    assert got == pytest.approx(sums / count, rel=1e-4)


def test_several_answers_need_room_for_a_wrong_candidate(folder):
    with pytest.raises(ConfigError, match="answers_per_prompt = 4 leaves no wrong candidate"):
        make(folder, answers_per_prompt=4)


def test_likelihood_scores_equal_the_sum_over_the_tokens_of_each_title(folder):
    ranker = make(folder)
    queries, items = asked(), np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    got = ranker.score(queries, items)
    vectors = ranker.vectors_for_scoring()
    for row in range(len(items)):
        one = queries.slice(row, row + 1)
        shown = presented(items[row : row + 1], one)
        _, embeds = ranker._prompts(one.padded(5), shown, one, vectors)
        for column, item in enumerate(items[row]):
            ids, lengths = ranker.prompts.target_ids(np.array([item]))
            answer = torch.as_tensor(ids[0, : lengths[0]])
            with torch.no_grad():
                joined = torch.cat([embeds, ranker.lm.embed(answer)[None]], 1)
                logits = ranker.lm.model(inputs_embeds=joined).logits.log_softmax(-1)[0]
            slow = sum(float(logits[embeds.shape[1] - 1 + k, token]) for k, token in enumerate(answer))
            assert got[row, column] == pytest.approx(slow, abs=2e-3)


def test_generation_with_a_beam_for_each_candidate_is_the_likelihood(folder):
    items = np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    exact = make(folder).score(asked(), items)
    beams = make(folder, scoring="generate", beams=3).score(asked(), items)
    assert np.allclose(exact, beams, atol=2e-3)
    greedy = make(folder, scoring="generate").score(asked(), items)
    assert ((greedy > -1e4).sum(1) == 1).all()  # one item comes out, and it is always a candidate


def test_the_authors_rule_gives_hits_only(folder):
    items = np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    assert set(np.unique(make(folder, scoring="paper").score(asked(), items))) <= {0.0, 1.0}


def test_titles_alone_need_no_vectors(folder):
    ranker = make(folder, slots={"user": "none", "item": "none"}, head_weight=0.0)
    assert not list(ranker.parameters())  # nothing to train: what the model can do by itself
    assert ranker.score(asked(), np.array([[3, 0], [5, 6], [1, 2]])).shape == (3, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scoring": "head"}, "head_weight > 0"),
        ({"scoring": "head", "head_weight": 1.0, "slots": {"item": "none"}}, "cannot be 'none'"),
        ({"lm_weight": 0.0}, "nothing to train"),
    ],
)
def test_settings_that_cannot_work_are_explained(folder, options, words):
    with pytest.raises(ConfigError, match=words):
        make(folder, **options)


def test_titles_cannot_rank_the_whole_catalogue(folder):
    with pytest.raises(ConfigError, match="candidates only"):
        make(folder).score(asked())
