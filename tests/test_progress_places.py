"""Every loop that may take longer than two seconds says how far it is, with the time that remains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from interlingua import progress
from interlingua.align.ridge import ridge
from interlingua.backbones import itemknn, textknn
from interlingua.contracts.batch import Embeddings
from interlingua.contracts.scorer import Scorer
from interlingua.data.interactions import Interactions
from interlingua.data.sources.planted import generate
from interlingua.evaluate.compare import compare
from interlingua.evaluate.intervals import bootstrap_means
from interlingua.evaluate.protocol import evaluate
from interlingua.injection import calibration
from interlingua.injection.score_fusion import ScoreFusion
from interlingua.injection.two_tower import by_length
from interlingua.nn import decompose
from interlingua.text import lsa
from interlingua.training import sample_choice
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.rows import finish_rows

DRAWN = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything takes long, and is told at each step."""
    monkeypatch.setattr(progress, "FIRST_AFTER_S", 0.0)
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "BEAT_S", 0.001)
    monkeypatch.setattr(decompose, "LONG", 4)
    monkeypatch.setattr(decompose, "TRIED", 64)
    monkeypatch.setattr(itemknn, "BLOCK", 8)


class Fixed(Scorer):
    """The same scores for everyone."""

    num_items = 40

    def __init__(self, seed: int) -> None:
        self.row = np.random.default_rng(seed).standard_normal(40).astype(np.float32)

    def score(self, queries: object, items: np.ndarray | None = None) -> np.ndarray:
        table = np.tile(self.row, (len(queries), 1))  # type: ignore[arg-type]
        return table if items is None else np.take_along_axis(table, items, axis=1)


def world() -> Interactions:
    return generate(num_users=50, num_items=40, seed=1).split.train


def texts() -> None:
    words = [f"w{n}" for n in range(500)]
    lsa.Lsa(lsa.LsaConfig(dim=8), [" ".join(DRAWN.choice(words, 12)) for _ in range(400)])


def dense_texts() -> None:
    lsa.top_directions(sp.csr_matrix(DRAWN.standard_normal((200, 150))), 20)


def reduced_texts() -> None:
    finish_rows(Embeddings(None, torch.randn(40, 300)), world(), TextConfig(reduce=4, users="items"), 0)


def penalised() -> None:
    ridge(torch.randn(500, 300).double(), torch.randn(500, 4).double(), torch.ones(500).double(), None)


def calibrated() -> None:
    generator = np.random.default_rng(0)
    train = world()
    queries = train.queries(np.arange(50))

    def features(asked: object, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        drawn = torch.from_numpy(generator.standard_normal((3, len(asked), 40)).astype(np.float32))  # type: ignore[arg-type]
        return drawn[0], drawn[1], drawn[2]

    counts = torch.as_tensor(train.item_counts).float()
    calibration.calibrate(ScoreFusion(), features, counts, queries, generator.integers(0, 40, 50))


def compared() -> None:
    split = generate(num_users=50, num_items=40, seed=1).split
    reports = {name: evaluate(Fixed(seed), split, "test", resamples=0) for name, seed in (("a", 1), ("b", 2))}
    compare(reports, resamples=10)


def chosen() -> None:
    train = world()
    sample_choice.shares_a_word(train, sample_choice.answers(train), ["one two"] * train.num_items, 3)


PLACES: dict[str, Callable[[], object]] = {
    "item neighbours": lambda: itemknn.neighbours(world().matrix(), 5),
    "item neighbours ": lambda: textknn.nearest(torch.randn(40, 4), 5, block=8),
    "lsa: words": texts,
    "lsa: texts": texts,
    "lsa: directions": texts,
    "lsa: directions ": dense_texts,
    "text.reduce: directions of the texts": reduced_texts,
    "ridge: directions of the texts": penalised,
    "ridge: penalties": penalised,
    "calibrate: questions": calibrated,
    "calibrate: weights, at most": calibrated,
    "calibrate: items without events": calibrated,
    "bootstrap": lambda: bootstrap_means(DRAWN.standard_normal((40_000, 1)), resamples=150),
    "paired tests": compared,
    "choose samples": chosen,
    "read texts": lambda: by_length([[1, 2]] * 80, 0, lambda rows, ids, mask: torch.zeros(len(rows), 1)),
}


@pytest.mark.parametrize("label", PLACES)
def test_long_work_says_how_long_it_still_takes(label: str, capsys: pytest.CaptureFixture[str]) -> None:
    seen = ""
    for _ in range(20):  # a single call of LAPACK is told by another thread, which a quick one may outrun
        PLACES[label]()
        out, err = capsys.readouterr()
        assert out == ""
        seen += err
        told = [line for line in err.splitlines() if line.startswith(f"{label.strip()}: ")]
        if any("left" in line for line in told):
            return
    raise AssertionError(seen)


def test_counting_the_products_of_a_decomposition_leaves_its_numbers() -> None:
    from scipy.sparse.linalg import svds

    matrix = sp.random(400, 350, density=0.05, format="csr", random_state=0)
    start = np.random.default_rng(0).standard_normal(350)
    plain = svds(matrix, k=20, v0=start)
    with lsa.counted_products(matrix, 20) as told:
        counted = svds(told, k=20, v0=start)
    assert all(np.array_equal(one, other) for one, other in zip(plain, counted, strict=True))


def test_announced_decompositions_are_the_libraries_own() -> None:
    matrix = torch.randn(50, 50, generator=torch.Generator().manual_seed(1)).double()
    both = matrix + matrix.T
    assert all(map(torch.equal, decompose.eigh(both, "x"), torch.linalg.eigh(both)))
    rows = DRAWN.standard_normal((90, 80))
    assert all(map(np.array_equal, decompose.svd(rows, "x"), np.linalg.svd(rows, full_matrices=False)))
