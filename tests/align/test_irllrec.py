"""IRLLRec's intents beside a slow computation; a second text by name; what cannot be is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.random_events import random_events
from torch.nn import functional

from interlingua.align import irllrec
from interlingua.align.contrastive import Contrastive, ContrastiveConfig
from interlingua.align.irllrec import Irllrec, IrllrecConfig, intents_of
from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.vectors.frozen import FrozenRows

USERS, ITEMS, WIDTH, TEXT, T = 5, 7, 4, 6, 0.3


@pytest.fixture
def backbone() -> LightGcn:
    torch.manual_seed(1)
    return LightGcn(LightGcnConfig(embedding_dim=WIDTH, num_layers=1), random_events(USERS, ITEMS, 20))


@pytest.fixture
def texts() -> list[FrozenRows]:
    torch.manual_seed(9)
    return [FrozenRows(torch.randn(ITEMS, TEXT), torch.randn(USERS, TEXT)) for _ in range(2)]


BATCH = Batch(torch.tensor([0, 1, 1, 4]), torch.tensor([2, 3, 3, 0]), torch.tensor([1, 1, 6, 2]))


def fitted(backbone: LightGcn, texts: list[FrozenRows], **options: Any) -> Irllrec:
    torch.manual_seed(4)
    aligner = Irllrec(IrllrecConfig(temperature=T, num_intents=3, **options), WIDTH, TEXT)
    train = random_events(USERS, ITEMS, 20)
    aligner.fit(Fitting(train, texts[0], backbone, texts={"intent": texts[1]}, loop=lambda *_: FitLog.untrained()))
    return aligner


def slow(own: torch.Tensor, mapped: torch.Tensor, rows: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
    """Row by row: minus the logarithm of the own text's share among the candidates' texts."""
    total = torch.zeros(())
    for row in rows:
        chances = [torch.exp(functional.cosine_similarity(own[row], mapped[other], dim=0) / T) for other in pool]
        mine = torch.exp(functional.cosine_similarity(own[row], mapped[row], dim=0) / T)
        total = total - torch.log(mine / torch.stack(chances).sum())
    return total / len(rows)


def by_prototype(vectors: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """Each row's sum over prototypes, weighted by the softmax of its products with them."""
    rows = []
    for vector in vectors:
        weights = torch.stack([torch.exp(vector @ prototypes[:, k]) for k in range(prototypes.shape[1])])
        rows.append(sum((w / weights.sum()) * prototypes[:, k] for k, w in enumerate(weights)))
    return torch.stack(rows)  # type: ignore[arg-type]


def test_intents_are_mixtures_of_prototypes() -> None:
    found = intents_of(torch.tensor([[0.0, 0.0], [100.0, 0.0]]), torch.tensor([[1.0, -1.0], [0.0, 2.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


@pytest.mark.parametrize("intent", [None, "intent"])
def test_the_loss_equals_the_slow_one(backbone: LightGcn, texts: list[FrozenRows], intent: str | None) -> None:
    aligner = fitted(backbone, texts, weight=0.5, intent_weight=0.7, intent=intent)
    encoded, losses = aligner(backbone.encode, backbone.input_embeddings(), texts[0], BATCH)
    source = texts[0] if intent is None else texts[1]
    assert encoded.tables.users is not None
    users = by_prototype(encoded.tables.users, aligner.user_prototypes)
    items = by_prototype(encoded.tables.items, aligner.item_prototypes)
    read = {side: aligner.intent_map(source.rows(side)) for side in ("users", "items")}  # type: ignore[arg-type]
    assert BATCH.negatives is not None
    expected = slow(users, read["users"], BATCH.users, torch.arange(USERS))
    for rows in (BATCH.positives, BATCH.negatives):
        expected = expected + slow(items, read["items"], rows, rows)
    torch.testing.assert_close(losses["intents"], 0.7 * expected, rtol=1e-4, atol=1e-5)


def test_only_rows_of_the_batch_are_mixed(
    backbone: LightGcn, texts: list[FrozenRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed: list[int] = []

    def counted(vectors: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
        mixed.append(len(vectors))
        return intents_of(vectors, prototypes)

    monkeypatch.setattr(irllrec, "intents_of", counted)
    fitted(backbone, texts)(backbone.encode, backbone.input_embeddings(), texts[0], BATCH)
    assert mixed == [3, 3, 3]  # distinct users, positives, negatives; there are 5 users and 7 items


def test_without_intents_it_is_rlmrec(backbone: LightGcn, texts: list[FrozenRows]) -> None:
    aligner = fitted(backbone, texts, intent_weight=0.0)
    plain = Contrastive(ContrastiveConfig(temperature=T), WIDTH, TEXT)
    plain.map.load_state_dict(aligner.map.state_dict())
    _, found = aligner(backbone.encode, backbone.input_embeddings(), texts[0], BATCH)
    _, expected = plain(backbone.encode, backbone.input_embeddings(), texts[0], BATCH)
    assert float(found["intents"]) == 0.0
    assert torch.equal(found["align"], expected["align"])


def test_intents_that_do_not_fit_are_refused(backbone: LightGcn, texts: list[FrozenRows]) -> None:
    with pytest.raises(ConfigError, match=r"\[texts\.intent\] has vectors of width 3, \[text\] of width 6"):
        fitted(backbone, [texts[0], FrozenRows(torch.randn(ITEMS, 3), torch.randn(USERS, 3))], intent="intent")
    with pytest.raises(ConfigError, match=r"\[texts\.intent\] has no vectors of users"):
        fitted(backbone, [texts[0], FrozenRows(torch.randn(ITEMS, TEXT))], intent="intent")


def test_a_run_reads_intents_by_name(tmp_path: Path) -> None:
    text = {"name": "lsa", "users": "items", "reduce": 8}
    values: dict[str, Any] = {
        "data": {"name": "planted", "options": {"num_users": 60, "num_items": 40}},
        "backbone": {"name": "lightgcn", "embedding_dim": 8, "fit": {"epochs": 2, "batch_size": 256}},
        "text": text, "texts": {"intent": {**text, "fields": ["categories"]}},
        "align": {"name": "irllrec", "intent": "intent", "num_intents": 4},
        "evaluate": {"protocols": ["full"]},
    }  # fmt: skip
    done = stages.run(recipes.resolve(values), out=tmp_path, seed=1, device="cpu")
    same = {**values, "align": {"name": "irllrec", "num_intents": 4}, "texts": {}}
    other = stages.run(recipes.resolve(same), out=tmp_path, seed=1, device="cpu")
    assert not torch.equal(done.exported("align")["items"], other.exported("align")["items"])
    with pytest.raises(ConfigError, match="further texts by name"):
        recipes.resolve({**values, "texts": {}})
