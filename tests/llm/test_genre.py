from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.quality.genre import evaluate_genres, favourites, genre_counts, genre_matrix, report, score_genres

from interlingua.data.domain import Domain
from interlingua.data.queries import Queries
from interlingua.errors import DataError
from interlingua.lm.prompt import compile_template, embed_prompts
from interlingua.testing.tiny_models import TITLES

MOVIE = Domain("movie", "watch", "watched")
CATEGORIES = ["Action|Sci-Fi", "Animation", "Animation|Comedy", "Crime", "(no genres listed)", None, *["Drama"] * 6]


def test_genres_of_items_and_users():
    genres, has = genre_matrix(CATEGORIES)
    assert genres == ["Action", "Animation", "Comedy", "Crime", "Drama", "Sci-Fi"]
    assert has.sum(1).tolist() == [2, 1, 2, 1, 0, 0, *[1] * 6]
    counts = genre_counts(Queries.of([[1, 2, 0], [], [4]]), has)
    assert counts.tolist() == [[1, 2, 1, 0, 0, 1], [0] * 6, [0] * 6]
    with pytest.raises(DataError, match="has none"):
        genre_matrix([None, ""])


def test_favourites_take_ties_but_never_what_is_absent():
    counts = np.array([[3, 1, 1, 1, 0], [0, 0, 2, 0, 0]])
    assert favourites(counts, 1).tolist() == [[True, False, False, False, False], [False, False, True, False, False]]
    assert favourites(counts, 3).tolist() == [[True, True, True, True, False], [False, False, True, False, False]]


def test_report_by_hand():
    counts = np.array([[3, 1, 0], [2, 5, 1], [4, 0, 1], [0, 1, 2]])
    got = report(np.array([0, 0, 2, 2]), counts, ["a", "b", "c"])
    assert (got.top1, got.majority, got.majority_top1) == (0.5, "a", 0.5)
    assert got.top3 == 1.0
    assert got.majority_top3 == 0.75
    assert got.answers == {"a": 2, "c": 2}


@pytest.mark.parametrize("calibration", [0.5, 0.0])
def test_titles_and_vectors_both_work(llama, calibration):
    queries = Queries.of([[0, 1], [2], [4], [6, 7, 8], []])
    text = compile_template("genre", llama, TITLES, MOVIE, slots=())
    by_text = evaluate_genres(llama, text, queries, CATEGORIES, batch_size=2, calibration=calibration)
    assert by_text.users == 3  # those with a categorised item
    assert sum(by_text.answers.values()) == 3
    whole = evaluate_genres(llama, text, queries, CATEGORIES, calibration=calibration)
    assert whole == by_text
    table = torch.randn(len(TITLES), llama.hidden_size)
    vectors = compile_template("genre", llama, TITLES, MOVIE, slots={"item", "user"})

    def embed(prompts, queries):
        rows = torch.as_tensor(prompts.item_indices)
        return embed_prompts(llama, prompts, torch.ones(len(queries), llama.hidden_size), table[rows])

    soft = evaluate_genres(llama, vectors, queries, CATEGORIES, embed=embed, calibration=calibration)
    assert soft.users == 3


def test_a_score_is_the_log_probability_of_the_name(llama):
    ids = torch.tensor([[9, 10, 11]])
    got = score_genres(llama, llama.embed(ids), torch.ones_like(ids), ["Crime"])
    name = llama.tokenize(" crime")
    joined = torch.cat([ids, torch.tensor([name])], 1)
    log_probs = llama.model(input_ids=joined).logits[0].float().log_softmax(-1)
    expected = sum([float(log_probs[2 + i, t]) for i, t in enumerate(name)])
    assert got[0, 0] == pytest.approx(expected, abs=1e-4)
    assert score_genres(llama, llama.embed(ids), torch.ones_like(ids), ["Crime"], np.array([1.0]))[
        0, 0
    ] == pytest.approx(expected - 1, abs=1e-4)
