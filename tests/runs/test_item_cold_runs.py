"""Recipes on the split item-cold, as the command line would run them."""

from __future__ import annotations

import pytest

from interlingua.errors import ConfigError
from interlingua.evaluate.result import load_report
from interlingua.runs import stages

WORLD = (
    "data.options={num_users=150,num_items=80}", "data.filter={}", "data.split=item-cold",
    'evaluate.protocols=["cold","full"]',
)  # fmt: skip
RIDGE = (
    "backbone={name='mf',embedding_dim=16}", "backbone.fit={epochs=20,batch_size=256,learning_rate=0.02}",
    "text={name='lsa'}", "align={name='ridge',frozen=['backbone']}",
)  # fmt: skip


def cold(recipe, sets, out):
    run = (
        stages.run(recipe, overrides=(*WORLD, *sets), data="planted", out=out, seed=7, device="cpu")
        .done["evaluate"]
        .path
    )
    return {name: load_report(run / "protocols" / name) for name in ("cold", "full")}


def test_what_reads_texts_places_items_that_nobody_has_chosen(tmp_path):
    by_text = cold("textknn", (), tmp_path)
    mapped = cold("mf", RIDGE, tmp_path)
    blind = cold("mf", (*RIDGE, "text.control=shuffled"), tmp_path)
    ndcg = {name: found["cold"].metrics["ndcg@5"] for name, found in
            (("texts", by_text), ("mapped", mapped), ("shuffled", blind))}  # fmt: skip
    assert min(ndcg["texts"], ndcg["mapped"]) > ndcg["shuffled"] + 0.2
    assert by_text["full"].slices["unseen items"].n_targets == by_text["cold"].n_targets
    assert "split=item-cold-0-of-5-seed7" in by_text["cold"].protocol


def test_the_protocol_needs_a_split_with_cold_items_and_says_how(tmp_path):
    with pytest.raises(ConfigError, match=r"hr-100, sampled-N|cold"):
        cold("textknn", ('evaluate.protocols=["coldest"]',), tmp_path)
