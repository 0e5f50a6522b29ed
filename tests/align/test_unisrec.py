"""UniSRec: ID vectors beside texts, and the two contrasts of its pre-training against sums that are written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.align.test_whitening_experts import world
from torch.nn import functional

from interlingua.align.unisrec import UniSRec, UniSRecConfig, without_some
from interlingua.backbones.mf import Mf, MfConfig
from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.contracts.batch import Embeddings
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.training.deploy import deploy
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all
from interlingua.vectors.frozen import FrozenRows

SIZES = {"embedding_dim": 16, "max_history": 8, "dropout": 0.0, "similarity": "cosine", "temperature": 0.1}
FIT: dict[str, Any] = {"learning_rate": 1e-2, "batch_size": 16, "epochs": 12, "patience": None}


def pair(**options: Any) -> tuple[Joint, Any, Any]:
    """Backbone, aligner and texts; the aligner's batches; the training events."""
    train, text = world()
    seed_all(0)
    fit = FIT | options.pop("fit", {})
    backbone = SasRec(SasRecConfig.model_validate(SIZES), train)
    aligner = UniSRec(
        UniSRecConfig.model_validate({"num_experts": 4, "text_dropout": 0.0, "fit": fit} | options), 16, 12
    )
    aligner.start(backbone, text)
    return Joint(backbone, aligner, text), aligner.batches(backbone, train, aligner.config.fit), train


def test_ids_are_added_where_an_item_has_events_and_later_items_are_their_texts() -> None:
    joint, _, train = pair(ids=True)
    joint.eval()
    own = joint.backbone.input_embeddings()
    assert own.items.requires_grad
    made, mapped = joint.aligner.inputs(own, joint.text).items, joint.aligner.map(joint.text.rows("items"))
    learned = train.item_counts > 0
    torch.testing.assert_close(made[learned], mapped[learned] + own.items[learned])
    torch.testing.assert_close(made[~learned], mapped[~learned])
    torch.testing.assert_close(joint.aligner.inputs_from_texts(FrozenRows(joint.text.items[3:5]), 16), mapped[3:5])
    without, _, _ = pair()
    assert not without.backbone.input_embeddings().items.requires_grad


@pytest.mark.parametrize("equal", ["left-out", "authors"])
def test_pre_training_compares_prefixes_with_next_items_and_with_themselves(equal: str) -> None:
    joint, batches, _ = pair(fit={"pretrain_epochs": 1}, equal_targets=equal, sequence_weight=0.5, item_drop=0.0)
    batch = next(iter(batches(0, np.random.default_rng(0))))
    assert joint.aligner.only_own_losses
    assert batch.positives.dim() == 1
    assert len(set(batch.positives.tolist())) < len(batch), "some rows have the same next item"
    found = joint.eval()(batch)
    table = joint.aligner.inputs(joint.backbone.input_embeddings(), joint.text).items
    states = joint.backbone.encode(Embeddings(None, table), batch).query
    goals = batch.positives.tolist()

    def expected(right: torch.Tensor) -> float:
        total = 0.0
        for row, goal in enumerate(goals):
            logits = functional.cosine_similarity(states[row][None], right).div(0.07).tolist()
            others = [0.0 if goals[n] == goal else logit for n, logit in enumerate(logits) if n != row]
            if equal == "left-out":
                others = [logit for n, logit in enumerate(logits) if goals[n] != goal]
            total += math.log(sum(map(math.exp, [logits[row], *others]))) - logits[row]
        return total / len(goals)

    assert set(found) == {"items", "sequences"}
    assert found["items"].item() == pytest.approx(expected(table[batch.positives]), rel=1e-4)
    assert found["sequences"].item() == pytest.approx(0.5 * expected(states), rel=1e-4)


def test_the_other_view_leaves_out_a_fifth_and_keeps_order_and_the_last() -> None:
    torch.manual_seed(0)
    histories = torch.arange(50).repeat(400, 1)
    histories[:, :10] = -1
    found = without_some(histories, 0.2)
    assert bool((found[:, -1] == 49).all())
    kept = (found >= 0).sum(1).float()
    assert 0.78 < float(kept.mean()) / 40 < 0.83
    for row in found[:20]:
        real = row[row >= 0]
        assert torch.equal(real, row[len(row) - len(real) :]), "padding stands in front"
        assert bool((real.diff() > 0).all())


def test_pre_training_comes_first_then_the_backbones_own_loss_and_validation() -> None:
    joint, batches, train = pair(fit={"pretrain_epochs": 2, "epochs": 14, "patience": 3, "metric": "x"})
    config, judged = joint.aligner.config.fit, list[int]()
    log = fit_best(
        joint, batches, config, seed=1, device="cpu", validate=lambda: (judged.append(1), {"x": float(len(judged))})[1]
    )
    names = [set(record["losses"]) for record in log.epochs]
    assert names[:2] == [{"items", "sequences"}] * 2
    assert names[2:] == [{"ce"}] * 12
    assert [record["epoch"] for record in log.epochs if "valid" in record] == list(range(3, 15))
    assert log.epochs[1]["losses"]["items"] < log.epochs[0]["losses"]["items"]
    deploy(joint.eval())
    scores = joint.backbone.score(Queries.of([[0, 1, 2], [12, 13], [9], [19]]))
    for row, mine, other in ((0, 9, 19), (1, 19, 9), (2, 4, 14), (3, 14, 4)):  # 9 and 19 are in no event
        assert scores[row, mine] > scores[row, other] + 1
    assert train.item_counts[[9, 19]].sum() == 0


def test_weight_and_fraction_and_temperature_change_the_pre_training() -> None:
    def losses(**options: Any) -> dict[str, float]:
        joint, batches, _ = pair(fit={"pretrain_epochs": 1}, **options)
        torch.manual_seed(0)
        longest = max(batches(0, np.random.default_rng(0)), key=lambda batch: batch.histories.shape[1])
        return {k: v.item() for k, v in joint(longest).items()}

    usual = losses()
    assert losses(sequence_weight=0.0).keys() == {"items"}
    assert losses(item_drop=0.6)["sequences"] != usual["sequences"]
    assert losses(temperature=0.5)["items"] != usual["items"]


def test_pre_training_a_model_of_pairs_is_refused() -> None:
    train, text = world()
    aligner = UniSRec(UniSRecConfig.model_validate({"fit": {"pretrain_epochs": 3}}), 8, 12)
    with pytest.raises(ConfigError, match=r"align\.fit\.pretrain_epochs = 3.*sequence model"):
        aligner.start(Mf(MfConfig(embedding_dim=8), train), text)
