"""Codes of vectors: nearest codes, dead codes, equal tuples, and both quantisers against sums written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from interlingua.align.masked_vq import MaskedVqConfig
from interlingua.nn.masked_quantiser import MaskedQuantiser
from interlingua.nn.quantise import code_report, kmeans, nearest, numbered, restarted, retrieved
from interlingua.nn.residual_quantiser import ResidualQuantiser
from interlingua.training.quantise import FittedQuantiser, QuantiserOptions, expected_seconds

OPTIONS = QuantiserOptions(levels=2, size=16, code_dim=8, hidden=[16], epochs=100, batch_size=64)


def clumps(count: int = 300, width: int = 12) -> Tensor:
    """Vectors (count, width) around 20 centres."""
    torch.manual_seed(0)
    return 3 * torch.randn(20, width)[torch.randint(20, (count,))] + 0.3 * torch.randn(count, width)


def make_residual(width: int, code_dim: int = OPTIONS.code_dim) -> ResidualQuantiser:
    return ResidualQuantiser(width, OPTIONS.hidden, code_dim, OPTIONS.levels, OPTIONS.size)


def make_masked(width: int, code_dim: int = OPTIONS.code_dim) -> MaskedQuantiser:
    return MaskedQuantiser(width, OPTIONS.hidden, code_dim, OPTIONS.levels, OPTIONS.size, dropout=0.1)


def test_nearest_code_and_centres() -> None:
    codebook = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 0.0]])
    assert nearest(torch.tensor([[1.0, 1.0], [3.0, 0.0], [9.0, 9.0]]), codebook).tolist() == [0, 1, 1]
    torch.manual_seed(0)
    points = torch.tensor([[0.0], [0.2], [10.0], [10.4]])
    assert sorted(kmeans(points, 2).flatten().tolist()) == pytest.approx([0.1, 10.2])
    assert len(kmeans(points, 7).unique()) == 7  # more centres than points: the further ones lie near them
    assert bool(kmeans(torch.ones(1, 3), 4).isfinite().all())


def test_dead_codes_move_to_where_codes_are_far() -> None:
    torch.manual_seed(0)
    points = torch.cat([torch.zeros(50, 2), torch.full((10, 2), 8.0) + torch.randn(10, 2)])
    codebook = torch.tensor([[0.0, 0.0], [-50.0, -50.0], [-60.0, 0.0]])
    assert restarted(codebook, points) == 2
    assert set(nearest(points, codebook).tolist()) == {0, 1, 2}
    assert codebook[0].tolist() == [0.0, 0.0]
    assert restarted(codebook, points) == 0


def test_numbers_tell_equal_codes_apart_up_to_a_limit() -> None:
    codes = torch.tensor([[1, 2], [3, 4], [1, 2], [1, 2], [1, 2]])
    assert numbered(codes, 8).tolist() == [[1, 2, 0], [3, 4, 0], [1, 2, 1], [1, 2, 2], [1, 2, 3]]
    assert numbered(codes, 2)[:, 2].tolist() == [0, 0, 1, 1, 1]


def test_report_of_codes() -> None:
    codes = torch.tensor([[0, 0], [0, 1], [0, 1], [2, 3]])
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    decoded = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -5.0]])
    report = code_report(codes, 4, vectors, decoded)
    assert (report.used_codes, report.least_used, report.collisions) == (5 / 8, 0.5, 1)
    assert report.reconstruction == pytest.approx(3 / 4)
    assert report.entries()["collisions"] == 1
    assert "62% of the codes are used (50% in the least used codebook), 1 items share" in report.in_words()
    assert report.in_words().endswith("100% of the items are among the ten nearest to it")


def test_how_many_items_are_found_by_what_their_codes_say() -> None:
    angles = torch.linspace(0, math.pi, 21)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)  # the ten nearest to an end: itself and nine beside it
    assert retrieved(circle, circle) == 1.0
    assert retrieved(circle, circle[:1].expand(21, -1)) == pytest.approx(10 / 21)
    equal = torch.cat([torch.ones(11, 2), -torch.ones(10, 2)])  # none of eleven is before another
    assert retrieved(equal, 3 * torch.ones(21, 2)) == pytest.approx(11 / 21)
    many = torch.randn(5001, 3)
    assert retrieved(many, many) == 1.0
    assert retrieved(many, -many) == 0.0


def test_residual_codes_and_losses_by_hand() -> None:
    quantiser = ResidualQuantiser(1, [], 1, 2, 2, beta=0.25)
    quantiser.encoder, quantiser.decoder = nn.Sequential(), nn.Sequential()  # what goes in is what is quantised
    with torch.no_grad():
        quantiser.codebooks.copy_(torch.tensor([[[0.0], [10.0]], [[1.0], [-1.0]]]))
    vectors = torch.tensor([[8.5], [1.5]])
    assert quantiser.codes(vectors).tolist() == [[1, 1], [0, 0]]  # 10 - 1, and 0 + 1
    assert quantiser.decode(quantiser.codes(vectors)).flatten().tolist() == [9.0, 1.0]
    losses = {name: float(value) for name, value in quantiser.losses(vectors).items()}
    squares = (1.5**2 + 1.5**2) / 2 + (0.5**2 + 0.5**2) / 2  # what both levels leave, means over vectors
    assert losses == pytest.approx({"reconstruction": 0.25, "codebook": squares, "commitment": 0.25 * squares})


@pytest.mark.parametrize("as_released", [False, True])
def test_masked_quantiser_by_hand_and_what_reaches_the_encoders(as_released: bool) -> None:
    quantiser = MaskedQuantiser(2, [], 2, 2, 2, mask=0.0, as_released=as_released)
    quantiser.decoder = nn.Sequential()
    with torch.no_grad():
        for encoder in quantiser.encoders:
            encoder[0].weight.copy_(torch.eye(2))
            encoder[0].bias.zero_()
        quantiser.positions.zero_()
        quantiser.codebooks.copy_(torch.tensor([[[1.0, 0.0], [0.0, 9.0]], [[0.0, 0.0], [2.0, 0.0]]]))
    vectors = torch.tensor([[2.0, 0.0]])
    assert quantiser.codes(vectors).tolist() == [[0, 1]]
    read = [3.0, 0.0] if as_released else [1.5, 0.0]  # the sum of the codes, or their mean
    assert quantiser.decode(torch.tensor([[0, 1]])).tolist() == [read]
    losses = quantiser.losses(vectors)
    assert float(losses["codebook"]) == pytest.approx(0.5)
    assert float(losses["reconstruction"]) == pytest.approx((read[0] - 2) ** 2 / 2)
    assert float(losses.get("commitment", torch.zeros(()))) == pytest.approx(0.0 if as_released else 0.125)
    losses["reconstruction"].backward()
    assert (quantiser.encoders[0][0].weight.grad is None) == as_released
    assert (quantiser.codebooks.grad is not None) == as_released  # straight through: codes get only the codebook's loss


def test_dropout_is_one_rate_and_as_released_the_authors_two() -> None:
    def rates(**options: Any) -> list[float]:
        made = MaskedQuantiser(6, [8, 8, 8], 4, 2, 4, **options)
        networks = [*made.encoders, made.decoder]
        found = [[part.p for part in network.modules() if isinstance(part, nn.Dropout)] for network in networks]
        assert found == found[:1] * 3
        return found[0]

    assert rates(dropout=0.1) == [0.1, 0.1, 0.1]
    assert rates(dropout=0.1, as_released=True) == [0.5, 0.2, 0.2]
    with pytest.raises(ValidationError, match="dropout"):
        MaskedVqConfig.model_validate({"form": "as-released", "dropout": 0.1})


@pytest.mark.parametrize("make", [make_residual, make_masked])
def test_several_threads_give_the_same_codes_again(make: Any) -> None:
    """From 32,768 elements on, PyTorch sums the gradient of indexed rows in several threads."""
    wide = OPTIONS.model_copy(update={"code_dim": 64, "batch_size": 512, "epochs": 3})
    vectors, before = clumps(2000), torch.get_num_threads()

    def codebooks() -> Tensor:
        torch.manual_seed(1)
        made = FittedQuantiser(lambda width: make(width, 64))
        made.fit(vectors, wide, "codes")
        return made.state_dict()["held.codebooks"]

    torch.set_num_threads(8)
    try:
        first = codebooks()
        assert all(torch.equal(codebooks(), first) for _ in range(4))
    finally:
        torch.set_num_threads(before)


def test_an_estimate_counts_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass, one beginning and one restart are timed, by a clock that each of them moves."""
    now = [0.0]

    class Slow(ResidualQuantiser):
        def losses(self, vectors: Tensor) -> dict[str, Tensor]:
            now[0] += 2.0
            return super().losses(vectors)

        def begin(self, vectors: Tensor) -> None:
            now[0] += 100.0

        def restart(self, vectors: Tensor) -> int:
            now[0] += 30.0
            return 0

    monkeypatch.setattr("interlingua.training.quantise.time.perf_counter", lambda: now[0])
    for epochs, every, expected in ((100, 10, 100 + 100 * 10 + 10 * 30), (7, 0, 100 + 70), (0, 10, 100)):
        options = OPTIONS.model_copy(update={"epochs": epochs, "restart_every": every})
        assert expected_seconds(Slow(12, [], 8, 2, 16), clumps(300), options) == expected  # five batches a pass


def test_an_encoder_does_not_see_some_of_its_own_part() -> None:
    torch.manual_seed(0)
    quantiser = MaskedQuantiser(6, [], 6, 3, 4, mask=0.5)
    quantiser.encoders = nn.ModuleList(nn.Sequential() for _ in range(3))
    with torch.no_grad():
        quantiser.positions.zero_()
    seen = torch.stack(quantiser._encoded(torch.ones(400, 6)))  # (3, 400, 6)
    for number in range(3):
        own = torch.arange(6) // 2 == number
        assert bool((seen[number][:, ~own] == 1).all())
        assert float((seen[number][:, own] == 0).float().mean()) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("make", [make_residual, make_masked])
def test_codes_follow_from_the_seed_and_what_was_fitted_and_are_stored(make: object) -> None:
    vectors = clumps()

    def fitted(seed: int) -> FittedQuantiser:
        torch.manual_seed(seed)
        made = FittedQuantiser(make)  # type: ignore[arg-type]
        made.fit(vectors, OPTIONS, "codes")
        return made

    first, again = fitted(1), fitted(1)
    codes = first.codes(vectors)
    assert codes.shape == (300, 2)
    assert bool(((codes >= 0) & (codes < OPTIONS.size)).all())
    assert torch.equal(codes, again.codes(vectors))
    assert not torch.equal(codes, fitted(2).codes(vectors))
    assert torch.equal(first.codes(vectors[7:8]), codes[7:8])
    assert not list(first.parameters())
    stored = FittedQuantiser(make)  # type: ignore[arg-type]
    stored.load_state_dict(first.state_dict())
    assert torch.equal(stored.codes(vectors), codes)
    torch.testing.assert_close(stored.decode(codes), first.decode(codes))


@pytest.mark.parametrize("make", [make_residual, make_masked])
def test_most_codes_are_used_and_tell_what_was_quantised(make: object) -> None:
    vectors = clumps()
    torch.manual_seed(1)
    made = FittedQuantiser(make)  # type: ignore[arg-type]
    report = made.fit(vectors, OPTIONS, "codes")
    assert report.used_codes > 0.5
    assert report.reconstruction > 0.7
    decoded = made.decode(made.codes(vectors))
    assert float((decoded - vectors).square().mean()) < 0.5 * float((vectors - vectors.mean(0)).square().mean())
    assert math.isclose(report.collisions, 300 - len(made.codes(vectors).unique(dim=0)))
