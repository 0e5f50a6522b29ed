"""Top-k by blocks equals a full stable sort, whatever the block sizes, ties and masks, within bounded memory."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, DataError
from interlingua.retrieval import topk
from interlingua.retrieval.topk import GROUP, recall, top_k


def slow(queries, items, k, bias=None, seen=None, hidden=None):
    """The definition: every score, a stable sort, masked ones last."""
    scores = queries.double() @ items.double().T
    if bias is not None:
        scores = scores + bias
    scores = scores.float().numpy()
    if hidden is not None:
        scores[:, hidden.numpy()] = -np.inf
    if seen is not None:
        for row in range(len(seen)):
            scores[row, seen.history(row)] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    return np.where(np.isfinite(best), order, -1), best


def whole_numbers(rows, dim, spread, seed):
    """Vectors whose dot products are exact in float32, so that equal means equal; a small spread makes many ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-spread, spread + 1, (rows, dim), generator=generator).float()


def histories(rows, items, seed):
    rng = np.random.default_rng(seed)
    return Queries.of([rng.integers(0, items, rng.integers(0, 30)) for _ in range(rows)])


SCREENS = pytest.mark.parametrize("screen", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


@SCREENS
@pytest.mark.parametrize("spread", [1, 50, 1500])
@pytest.mark.parametrize("k", [1, 7, 300])
@pytest.mark.parametrize(("query_block", "item_block"), [(1024, 2048), (5, 128), (64, 200)])
def test_equals_a_stable_sort_of_all_scores(spread, k, query_block, item_block, screen):
    queries, items = whole_numbers(23, 6, spread, 1), whole_numbers(1111, 6, spread, 2)
    found = top_k(queries, items, k, query_block=query_block, item_block=item_block, screen=screen)
    rows, scores = slow(queries, items, k)
    np.testing.assert_array_equal(found.indices, rows)
    np.testing.assert_array_equal(found.scores, scores)
    assert found.indices.dtype == np.int64
    assert found.scores.dtype == np.float32


@SCREENS
def test_scores_that_screening_cannot_tell_apart_are_still_ordered(screen):
    """Items that differ by less than bfloat16 resolves, most of them worse than the best by one part in a thousand."""
    generator = torch.Generator().manual_seed(0)
    items = 256 + torch.randint(0, 3, (4000, 4), generator=generator).float()
    queries = torch.tensor([[1.0, 2.0, 3.0, 5.0], [-1.0, -2.0, 3.0, -7.0], [-1.0, -1.0, -1.0, -1.0]])
    found = top_k(queries, items, 40, item_block=512, screen=screen)
    rows, scores = slow(queries, items, 40)
    np.testing.assert_array_equal(found.indices, rows)
    np.testing.assert_array_equal(found.scores, scores)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_results_depend_neither_on_blocks_nor_on_screening(scale):
    generator = torch.Generator().manual_seed(4)
    queries = torch.randn(37, 48, generator=generator) * scale
    items = torch.randn(5000, 48, generator=generator) * torch.exp(torch.randn(5000, 1, generator=generator))
    items[4000:] = items[:1000]  # equal vectors get equal scores, and the lower row stays first
    expected = top_k(queries, items, 30, screen=torch.float32)
    assert not (expected.indices >= 4000).all(1).any()
    for options in ({"screen": torch.bfloat16}, {"query_block": 8, "item_block": 300}, {"item_block": 128}):
        found = top_k(queries, items, 30, **options)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("items", [1, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP, 3 * GROUP + 1])
def test_block_boundaries_lose_and_invent_nothing(items):
    queries, table = -whole_numbers(4, 3, 9, 3).abs(), whole_numbers(items, 3, 9, 4).abs() + 1
    found = top_k(queries, table, 5, item_block=GROUP)  # all scores are negative: padding of a block must not come out
    rows, scores = slow(queries, table, 5)
    np.testing.assert_array_equal(found.indices, rows)
    np.testing.assert_array_equal(found.scores, scores)


@SCREENS
def test_masks_and_bias(screen):
    queries, items = whole_numbers(40, 5, 3, 5), whole_numbers(700, 5, 3, 6)
    bias = whole_numbers(700, 1, 4, 7)[:, 0]
    hidden = torch.rand(700, generator=torch.Generator().manual_seed(8)) < 0.2
    seen = histories(40, 700, 9)
    for options in ({"bias": bias}, {"seen": seen}, {"hidden": hidden}, {"bias": bias, "seen": seen, "hidden": hidden}):
        found = top_k(queries, items, 12, query_block=16, item_block=256, screen=screen, **options)
        rows, scores = slow(queries, items, 12, **options)
        np.testing.assert_array_equal(found.indices, rows)
        np.testing.assert_array_equal(found.scores, scores)


def test_fewer_items_than_asked_for():
    queries, items = whole_numbers(3, 4, 9, 1), whole_numbers(6, 4, 9, 2)
    assert top_k(queries, items, 100).indices.shape == (3, 6)
    found = top_k(queries, items, 100, seen=Queries.of([[0, 1, 2, 3, 4, 5], [5, 5], []]))
    assert found.indices[0].tolist() == [-1] * 6
    assert np.isneginf(found.scores[0]).all()
    assert sorted(found.indices[1].tolist()) == [-1, 0, 1, 2, 3, 4]
    assert sorted(found.indices[2].tolist()) == list(range(6))


def test_all_scores_equal_gives_the_lowest_rows():
    found = top_k(torch.zeros(2, 4), torch.randn(900, 4), 5, item_block=128, seen=Queries.of([[0, 3], []]))
    assert found.indices.tolist() == [[1, 2, 4, 5, 6], [0, 1, 2, 3, 4]]


def test_rising_scores_where_every_item_is_a_new_best():
    items = torch.arange(5000.0)[:, None]
    found = top_k(torch.tensor([[1.0], [-1.0]]), items, 3, item_block=128)
    assert found.indices.tolist() == [[4999, 4998, 4997], [0, 1, 2]]


def test_real_numbers_agree_with_torch():
    generator = torch.Generator().manual_seed(0)
    queries, items = torch.randn(50, 32, generator=generator), torch.randn(9000, 32, generator=generator)
    found = top_k(queries, items, 20)
    expected = (queries @ items.T).topk(20)
    np.testing.assert_allclose(found.scores, expected.values.numpy(), rtol=1e-5, atol=1e-5)
    assert (found.indices == expected.indices.numpy()).mean() > 0.999


def test_half_precision_items_and_no_queries():
    items = whole_numbers(300, 4, 5, 1)
    queries = whole_numbers(2, 4, 5, 2)
    np.testing.assert_array_equal(top_k(queries, items.half(), 9).indices, slow(queries, items, 9)[0])
    assert top_k(torch.zeros(0, 4), items, 9).indices.shape == (0, 9)
    assert top_k(queries, torch.zeros(0, 4), 9).indices.shape == (2, 0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"k": 0}, ConfigError, "k must be at least 1"),
        ({"item_block": 0}, ConfigError, "item_block"),
        ({"items": torch.zeros(9, 3)}, ConfigError, "same width"),
        ({"seen": Queries.of([[1]])}, ConfigError, "1 histories for 2"),
        ({"hidden": torch.zeros(4, dtype=torch.bool)}, ConfigError, "hidden"),
        ({"bias": torch.zeros(9, 1)}, ConfigError, "bias"),
        ({"items": torch.full((9, 4), torch.nan)}, DataError, "items has values that are not finite"),
        ({"queries": torch.full((2, 4), torch.inf)}, DataError, "queries has values"),
        ({"items": torch.full((9, 4), -1e16)}, DataError, "above 1e"),
    ],
)
def test_wrong_arguments_are_named(change, error, words):
    arguments = {"queries": torch.zeros(2, 4), "items": torch.zeros(9, 4), "k": 3} | change
    with pytest.raises(error, match=words):
        top_k(arguments.pop("queries"), arguments.pop("items"), arguments.pop("k"), **arguments)


def test_recall_by_hand():
    exact = np.array([[1, 2], [3, -1], [-1, -1]])
    assert recall(np.array([[2, 9], [3, 4], [5, 6]]), exact) == pytest.approx((0.5 + 1.0) / 2)


MEASURE = """
import torch
from interlingua.retrieval.topk import top_k

def peak():  # of this process; getrusage would give the parent's where that is larger
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])

torch.set_num_threads(1)
queries, items = torch.randn(512, 8), torch.randn(200_000, 8)
rising, positive = items[:40_000].abs().cumsum(0), queries[:256].abs()
top_k(queries[:256], items[:40_000], 5)  # libraries take their own share once
before = peak()
top_k(queries, items, 20, query_block=256)
top_k(positive, rising, 20, query_block=256)
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_catalogue():
    """All scores at once are 390 MiB. Also in the worst order, each item better than the one before."""
    answer = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert 0 < int(answer.stdout) < 80


@pytest.mark.parametrize(("order", "passes"), [("random", 3), ("falling", 4)])
def test_thresholds_are_guessed_where_that_is_safe(order: str, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items in falling order belie the guess: one block is done twice, the others without guessing, exactly."""
    generator = torch.Generator().manual_seed(5)
    items = torch.randn(6000, 8, generator=generator)
    if order == "falling":
        items = items[items[:, 0].argsort(descending=True)]
    queries = torch.randn(96, 8, generator=generator) * 0.1
    queries[:, 0] = 1.0
    guesses: list[bool] = []
    inner = topk._block

    def counted(*args: Any) -> Any:
        guesses.append(args[-1])
        return inner(*args)

    monkeypatch.setattr(topk, "_block", counted)
    found = topk.top_k(queries, items, 40, query_block=32, item_block=128)
    scores, rows = (queries.double() @ items.double().T).sort(dim=1, descending=True, stable=True)
    np.testing.assert_array_equal(found.indices, rows[:, :40].numpy())
    np.testing.assert_allclose(found.scores, scores[:, :40].numpy(), rtol=1e-5)
    assert len(guesses) == passes
    assert guesses.count(True) == (3 if order == "random" else 1)
