"""LLMEmb's second stage: the contrast with soft targets by hand, and a teacher from a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.align.planted import Planted

from interlingua.align.llmemb import LlmEmb, LlmEmbConfig
from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError
from interlingua.nn.soft_targets import soft_target_contrast
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all
from interlingua.vectors.frozen import FrozenRows

WIDTH = 8


def by_hand(left: np.ndarray, right: np.ndarray, temperature: float) -> float:
    """Row by row in plain numpy."""

    def softmax(row: np.ndarray) -> np.ndarray:
        return np.exp(row - row.max()) / np.exp(row - row.max()).sum()

    logits = left @ right.T / temperature
    alike = (left @ left.T + right @ right.T) / 2 * temperature
    targets = np.array([softmax(row) for row in alike])
    count, total = len(left), 0.0
    for i in range(count):
        total -= targets[i] @ np.log(softmax(logits[i])) + targets[:, i] @ np.log(softmax(logits[:, i]))
    return total / 2 / count


def test_the_contrast_is_the_authors() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    found = soft_target_contrast(torch.as_tensor(left), torch.as_tensor(right), 2.0)
    assert float(found) == pytest.approx(by_hand(left, right, 2.0))


def pair(planted: Planted, **options: Any) -> tuple[Joint, Any]:
    seed_all(1)
    fitting = FitConfig(epochs=8, batch_size=64, learning_rate=3e-3)
    backbone = SasRec(
        SasRecConfig(embedding_dim=WIDTH, max_history=8, num_blocks=1, fit=fitting), planted.data.split.train
    )
    text = planted.text()
    return Joint(backbone, LlmEmb(LlmEmbConfig(**options), WIDTH, text.dim), text), fitting


def learn(planted: Planted, joint: Joint, teacher: torch.Tensor) -> Any:
    records: list[Any] = []

    def loop(batches: Any, config: FitConfig) -> Any:
        records.extend(fit(joint, batches, config, seed=1, device="cpu"))

    texts = {"teacher": FrozenRows(teacher)}
    joint.aligner.fit(Fitting(planted.data.split.train, joint.text, joint.backbone, loop=loop, texts=texts))
    return records


def test_the_adapter_is_linear_and_the_ids_are_frozen(planted: Planted) -> None:
    joint, _ = pair(planted)
    joint.aligner.start(joint.backbone, joint.text)
    zero, one, other = (torch.zeros(1, 24), *torch.randn(2, 1, 24))
    mapped = [joint.aligner.adapter(x) for x in (zero, one, other, one + other)]  # type: ignore[operator]
    assert torch.allclose(mapped[1] + mapped[2] - mapped[0], mapped[3], atol=1e-5)
    joint(Batch(torch.tensor([0]), torch.tensor([1]), histories=torch.tensor([[2, 3]])))["ce"].backward()
    assert joint.backbone.items.grad is None  # type: ignore[union-attr]


def test_every_target_of_a_batch_is_contrasted_once_with_its_own_teacher(planted: Planted) -> None:
    joint, _ = pair(planted, teacher="teacher", weight=0.5, temperature=1.5)
    teacher = torch.randn(planted.data.split.train.num_items, WIDTH)
    joint.aligner.teacher = teacher
    batch = Batch(torch.tensor([0, 1]), torch.tensor([[-1, 7], [5, 7]]), histories=torch.tensor([[-1, 2], [3, 4]]))
    loss = joint(batch)["teacher"]
    own = joint.aligner.adapter(joint.text.rows("items")).detach()  # type: ignore[operator, union-attr]
    expected = by_hand(teacher[[5, 7]].double().numpy(), own[[5, 7]].double().numpy(), 1.5)
    assert float(loss) == pytest.approx(0.5 * expected, rel=1e-5)


def test_items_come_to_resemble_the_teachers(planted: Planted) -> None:
    """Of two teachers, the adapted items lie among the items of the one that taught as its own do."""
    torch.manual_seed(4)
    text = planted.text().items
    teachers = [text @ torch.randn(24, WIDTH) for _ in range(2)]
    found = []
    for teacher in teachers:
        joint, _ = pair(planted, teacher="teacher", weight=2.0)
        records = learn(planted, joint, teacher)
        assert records[-1].losses["teacher"] < records[0].losses["teacher"]
        own = joint.aligner.adapter(text).detach()  # type: ignore[operator]
        found.append([np.corrcoef((own @ t.T).flatten(), (t @ t.T).flatten())[0, 1] for t in teachers])
    assert min(found[0][0], found[1][1]) > 0.3, found
    assert max(found[0][1], found[1][0]) < 0.15, found


def test_a_teacher_of_another_width_is_refused(planted: Planted) -> None:
    joint, _ = pair(planted, teacher="teacher")
    with pytest.raises(ConfigError, match=r"\[texts\.teacher\] has vectors of width 5, the backbone's inputs have 8"):
        learn(planted, joint, torch.randn(planted.data.split.train.num_items, 5))


def test_options_of_a_teacher_without_one_are_refused() -> None:
    with pytest.raises(ValueError, match="weight without a teacher"):
        LlmEmbConfig(weight=1.0)


def test_a_finished_run_teaches_another(tmp_path: Path) -> None:
    """Vectors as ``interlingua embed`` writes them, joined by the items' ids."""
    from interlingua.runs.export import embed

    fitting = {"epochs": 2, "batch_size": 64, "patience": None}
    data = {"name": "planted", "options": {"num_users": 80, "num_items": 40}}
    backbone = {"name": "sasrec", "embedding_dim": 8, "num_blocks": 1, "fit": fitting}
    first = stages.run(recipes.resolve({"data": data, "backbone": backbone}), out=tmp_path, seed=1, device="cpu")
    vectors = embed(first, format="parquet")
    values = {
        "data": data, "backbone": {"name": "gru4rec", "embedding_dim": 8, "fit": fitting},
        "text": {"name": "lsa", "dim": 12},
        "texts": {"teacher": {"name": "npy", "path": str(vectors.path / "items.parquet")}},
        "align": {"name": "llmemb", "teacher": "teacher"},
    }  # fmt: skip
    second = stages.run(recipes.resolve(values), out=tmp_path, seed=1, device="cpu")
    assert second.metrics
