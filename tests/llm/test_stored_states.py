"""A run of a ranker with two towers: its states of all items lie with the weights, so that opening it reads no text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import interlingua
from interlingua.rankers._two_towers import TwoTowers
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.testing.tiny_models import build, tokenizer_of

FIT = {"epochs": 1, "batch_size": 64}
ITEMS = 40


@pytest.mark.parametrize("more", [{}, {"tune": "lora"}, {"fuse_scores": True}], ids=["prompt", "lora", "fused"])
def test_item_states_are_stored_and_no_item_text_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    build("smollm2").save_pretrained(tmp_path / "lm")
    tokenizer_of(False).save_pretrained(tmp_path / "lm")
    ranker = {
        "name": "kv-prompt", "model": str(tmp_path / "lm"), "history_length": 3, "fraction": 0.5,
        "fit": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 4},
    }  # fmt: skip
    values = {
        "data": {"name": "planted", "options": {"num_users": 60, "num_items": ITEMS}},
        "backbone": {"name": "sasrec", "embedding_dim": 8, "fit": FIT},
        "ranker": ranker | more,
        "evaluate": {"protocols": ["full"], "max_users": 5},
    }
    made = stages.run(recipes.resolve(values, "towers"), out=tmp_path / "runs", seed=3, device="cpu")
    stored = load_file(made.done["rank"].path / "weights.safetensors")["item_state_table"]
    scored = made.ranker.score(made.data.split.queries("test").slice(0, 5))

    read: list[int] = []
    plain = TwoTowers._read_items

    def counted(self: TwoTowers, vectors: Tensor, start: int = 0) -> Tensor:
        read.append(self.num_items - start)
        return plain(self, vectors, start)

    monkeypatch.setattr(TwoTowers, "_read_items", counted)
    opened = interlingua.load(made.path, device="cpu")
    session = opened.session
    ids = [str(each) for each in session.data.split.train.item_ids]
    assert len(opened.recommend(history=ids[:3], k=5)) == 5
    again = session.ranker.score(session.data.split.queries("test").slice(0, 5))
    assert read == []
    np.testing.assert_allclose(again, scored, rtol=1e-5, atol=1e-6)
    assert stored.shape[0] == ITEMS == len(ids)
    assert torch.equal(session.ranker.item_state_table, stored)
    assert torch.allclose(plain(session.ranker, session.ranker.ids.items), stored, atol=1e-5)
