from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import events

from interlingua.config import FitConfig
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.injection.yes_no import answer_logits, binary_loss, pair_batches, pair_scores, yes_no
from interlingua.testing.tiny_models import tiny


def test_the_two_answers_are_different_tokens_and_a_longer_word_is_said(capsys):
    lm = tiny("llama")
    found = yes_no(lm)
    assert found.yes != found.no
    assert not found.whole
    assert "no single tokens" in capsys.readouterr().err
    single = yes_no(lm, "a", "b")
    assert single.whole
    assert lm.tokenizer.decode([single.yes]).strip() == "a"
    with pytest.raises(ConfigError, match="same token"):
        yes_no(lm, "No", "Nothing")


def test_logits_are_those_of_the_whole_vocabulary_and_their_difference_is_a_softmax_over_two():
    lm = tiny("llama")
    states = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    answers = yes_no(lm)
    logits = answer_logits(lm, states, answers)
    whole = lm.logits(states)
    assert torch.equal(logits, torch.stack([whole[:, answers.yes], whole[:, answers.no]], 1))
    both = logits.exp()
    torch.testing.assert_close(torch.sigmoid(logits[:, 0] - logits[:, 1]), both[:, 0] / both.sum(1))


def test_the_loss_by_hand():
    got = binary_loss(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]))
    assert float(got) == pytest.approx((math.log(2) + math.log(1 + math.exp(2))) / 2, rel=1e-6)


def test_pairs_of_data_without_labels_are_events_and_items_without_one():
    train = events()
    seen = train.matrix().toarray() > 0
    labels = []
    for batch in pair_batches(train, FitConfig(batch_size=8), np.random.default_rng(0), 3):
        had = torch.as_tensor(seen[batch.users, batch.positives])
        assert torch.equal(had, batch.labels.bool())
        assert batch.histories.shape[1] <= 3
        labels.append(batch.labels)
    assert float(torch.cat(labels).mean()) == 0.5
    assert len(torch.cat(labels)) == 2 * (len(train) - train.num_users)


def test_pairs_of_labelled_data_are_all_labelled_events():
    users, items = np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4)
    plain = Interactions.of(np.arange(4).astype(str), np.arange(5).astype(str), users, items)
    labels = np.tile([True, False, True, True, False], 4)
    train = Interactions(plain.user_ids, plain.item_ids, plain.users, plain.items, plain.times, labels=labels).liked()
    batches = list(pair_batches(train, FitConfig(batch_size=7), np.random.default_rng(0), 2))
    found = sorted(
        (int(u), int(i), bool(y)) for b in batches for u, i, y in zip(b.users, b.positives, b.labels, strict=True)
    )
    assert found == sorted(zip(users.tolist(), items.tolist(), labels.tolist(), strict=True))


def test_candidates_are_asked_one_by_one_in_any_order_and_once_each():
    asked, parts = [], []

    def run(queries: Queries, owners: np.ndarray, items: np.ndarray) -> torch.Tensor:
        asked.extend(zip(queries.users[owners].tolist(), items.tolist(), strict=True))
        parts.append(sorted(zip(queries.users.tolist(), np.bincount(owners).tolist(), strict=True)))
        lengths = queries.lengths()
        return torch.as_tensor([100.0 * lengths[owner] + item for owner, item in zip(owners, items, strict=True)])

    queries = Queries.of([[1, 2, 3], [4], []], np.array([7, 8, 9]))
    items = np.array([[5, 1, 5], [2, 0, 2], [3, 3, 3]])
    expected = [[305, 301, 305], [102, 100, 102], [3, 3, 3]]
    assert pair_scores(queries, items, run, at_once=2).tolist() == expected
    assert len(asked) == len(set(asked)) == 5
    assert parts == [[(9, 1)], [(8, 2)], [(7, 2)]]
    parts.clear()
    assert pair_scores(queries, items, run, at_once=3).tolist() == expected
    assert parts == [[(8, 2), (9, 1)], [(7, 2)]], "a query's items together, histories of similar length side by side"
    parts.clear()
    many = np.arange(5)[None].repeat(2, 0)
    found = pair_scores(queries.slice(0, 2), many, run, at_once=3)
    assert found.tolist() == [[300, 301, 302, 303, 304], [100, 101, 102, 103, 104]]
    assert [sum(count for _, count in part) for part in parts] == [3, 2, 3, 2]
    assert pair_scores(queries.slice(0, 0), items[:0], run).shape == (0, 3)
