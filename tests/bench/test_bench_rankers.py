"""Rows with a language model, tiny: asked again by texts, in another order of candidates, and about another domain."""

from __future__ import annotations

import pytest

from interlingua.bench.jobs import Request
from interlingua.bench.spec import load_spec
from interlingua.bench.whole import plan_of, run

FAST = (
    "data.options={ num_users = 60, num_items = 40 }", "data.filter={ min_user = 2, min_item = 1 }",
    "backbone.fit.epochs=1", "backbone.embedding_dim=8", "text.name=lsa", "text.dim=8", "align.latent_dim=8",
    "align.fit.epochs=1", "ranker.fit.epochs=1", "ranker.fit.steps_per_epoch=2", "ranker.num_candidates=4",
    "ranker.history_length=3", "ranker.max_title_tokens=4",
)  # fmt: skip
ROWS = ["A-LLMRec", "A-LLMRec (SBERT)"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("transformers")
    from interlingua.testing.tiny_models import build, tokenizer_of

    folder = tmp_path_factory.mktemp("lm")
    build("smollm2").save_pretrained(folder)
    tokenizer_of(False).save_pretrained(folder)
    request = Request(
        "planted", tmp_path_factory.mktemp("runs"), (7,), (*FAST, f"ranker.model={folder}"), 15, "planted", "cpu"
    )
    spec = load_spec("a-llmrec")
    return run(plan_of("a-llmrec", spec, request, tables=["4", "7", "positions"], methods=ROWS))


def test_a_ranker_is_trained_once_and_asked_in_another_way(made):
    assert not made.missing
    runs = {out.run for job, out in made.running.done.items() if job.row in ROWS}
    assert len(runs) == 1
    four = next(each for each in made.made() if each.number == "4")
    assert set(four.cells) == set(ROWS)


def test_candidates_are_listed_in_another_order_and_ranks_that_change_are_counted(made):
    found = next(each for each in made.made() if each.number == "positions").cells["A-LLMRec"]
    assert 0 < found["users with another rank"].value <= 1


def test_another_domain_is_asked_and_says_what_is_carried_over(made):
    seven = next(each for each in made.made() if each.number == "7")
    assert seven.cells["A-LLMRec"]["Hit@1 of 20"] == seven.cells["A-LLMRec (SBERT)"]["Hit@1 of 20"]
    assert any("chance" in note for note in seven.notes)  # SASRec's
    assert any("from texts" in note for note in seven.notes)
    assert "other data, other LM: Movies and TV to Video Games" in seven.markdown()
