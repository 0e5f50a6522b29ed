"""Open slots: a stranger's ranker fills one of its own, and prints the integer codes of an aligner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.slots import Slot
from interlingua.data.queries import PAD
from interlingua.errors import ConfigError
from interlingua.lm.prompt import compile_template, embed_prompts
from interlingua.lm.template import Template
from interlingua.rankers.soft_prompt import SoftPrompt
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.testing.tiny_models import build, tiny, tokenizer_of
from interlingua.vectors.tables import load_tables

TITLES = ["Heat", "Alien", "Toy Story"]
OPEN = """history: "{title}"{image}
target: {codes}
separator: ,
---
{mood} Liked {history}. Of {profile}. Next"""
SLOTS = {
    "mood": Slot("query", length=2),
    "image": Slot("item"),
    "codes": Slot("item", ["4-0", "4-1", "2-2"]),
    "profile": Slot("query", ["a fan of space", "a parent"]),
}


def test_every_kind_of_slot_stands_in_its_place() -> None:
    lm = tiny("llama")
    compiled = compile_template(Template.parse("open", OPEN, SLOTS), lm, TITLES, slots=SLOTS)
    prompts = compiled.assemble(np.array([[0, 2], [PAD, 1]]), text_indices={"profile": np.array([1, PAD])})
    assert prompts.rows_of("image").tolist() == [0, 2, 1]
    assert prompts.rows_of("mood").tolist() == [0, 0, 1, 1]
    assert prompts.item_indices.tolist() == []
    mood, image = torch.randn(4, lm.hidden_size), torch.randn(3, lm.hidden_size)
    embeds = embed_prompts(lm, prompts, slot_vectors={"mood": mood, "image": image})
    first = embeds[0][torch.as_tensor(prompts.attention_mask[0]).bool()]
    words = (" Liked", ' "', "Heat", '"', ",", ' "', "Toy Story", '"', ". Of", " a parent", ". Next")
    flat = [token for text in words for token in lm.tokenize(text)]
    assert torch.equal(first[:2], mood[:2])
    text = lm.tokenizer.decode(prompts.input_ids[0][prompts.attention_mask[0] == 1])
    assert text.replace("<pad>", "") == ' Liked "Heat", "Toy Story". Of a parent. Next'
    assert len(flat) == len(first) - 2 - 2  # two vectors of the mood, two of images
    assert "parent" not in lm.tokenizer.decode(prompts.input_ids[1])
    places = np.nonzero(prompts.chosen("image"))[0]
    for number, place in enumerate(places):
        assert torch.equal(embeds[prompts.slot_batch[place], prompts.slot_positions[place]], image[number])
    ids, lengths = compiled.target_ids(np.array([2]), eos=False)
    assert lm.tokenizer.decode(ids[0, : lengths[0]]).strip() == "2-2"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mood": None}, "needs something for the slot mood"),
        ({"sound": Slot("item")}, "gives vectors for sound, but template open has no such slot"),
        ({"mood": Slot("item")}, r"the slot \{mood\} belongs into the entries of lists"),
    ],
)
def test_slots_that_do_not_meet_are_refused(change: dict[str, Any], words: str) -> None:
    slots = {name: slot for name, slot in (SLOTS | change).items() if slot is not None}
    with pytest.raises(ConfigError, match=words):
        compile_template(Template.parse("open", OPEN, SLOTS), tiny("llama"), TITLES, slots=slots)


def test_vectors_and_rows_that_lack_are_named() -> None:
    lm = tiny("llama")
    compiled = compile_template(Template.parse("open", OPEN, SLOTS), lm, TITLES, slots=SLOTS)
    with pytest.raises(ConfigError, match=r"a slot \{profile\}, but no rows of it were given"):
        compiled.assemble(np.array([[0]]))
    prompts = compiled.assemble(np.array([[0]]), text_indices={"profile": np.array([0])})
    with pytest.raises(ConfigError, match="2 places for mood vectors, but 0 vectors"):
        embed_prompts(lm, prompts, slot_vectors={"image": torch.zeros(1, lm.hidden_size)})
    vectors = {name: torch.zeros(n, lm.hidden_size) for name, n in (("sound", 1), ("image", 1), ("mood", 2))}
    with pytest.raises(ConfigError, match="0 places for sound vectors, but 1 vectors"):
        embed_prompts(lm, prompts, slot_vectors=vectors)


class Parity(Aligner):
    """A stranger's aligner: an item's codes are its row in threes."""

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        return super().makes(config) | {"item_codes"}

    def fit(self, job: Any) -> Any:
        from interlingua.contracts.fit_log import FitLog

        return FitLog.untrained()

    def export(self, job: Fitting) -> dict[str, torch.Tensor]:
        rows = torch.arange(len(job.tables["items"]))
        return super().export(job) | {"item_codes": torch.stack([rows // 3, rows % 3], 1)}


class Mood(SoftPrompt):
    """A stranger's ranker: one learned vector in a slot of its own."""

    def __init__(self, config: Any, inputs: Any) -> None:
        super().__init__(config, inputs)
        self.mood = torch.nn.Parameter(torch.randn(self.lm.hidden_size) * 0.1)

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        return frozenset({"scores", "items", "item_codes"})

    def slots(self) -> dict[str, Slot]:
        return super().slots() | {"mood": Slot("query")}

    def slot_vectors(self, prompts: Any, queries: Any) -> dict[str, torch.Tensor]:
        return {"mood": self.mood.expand(len(prompts.rows_of("mood")), -1)}


def values(tmp_path: Path) -> dict[str, Any]:
    build("llama").save_pretrained(tmp_path / "lm")
    tokenizer_of().save_pretrained(tmp_path / "lm")
    body = "history: {codes}\ntarget: {codes}\nseparator: ;\n---\n{mood} read {history}, then"
    (tmp_path / "mine.txt").write_text(body, encoding="utf-8")
    return {
        "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30, "history": 6}},
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 1}},
        "text": {"name": "lsa", "dim": 8},
        "align": {"name": "tests.llm.test_slots:Parity"},
        "ranker": {
            "name": "tests.llm.test_slots:Mood", "model": str(tmp_path / "lm"), "template": str(tmp_path / "mine.txt"),
            "slots": {"user": "none", "item": "none"}, "history_length": 3, "num_candidates": 3, "num_layers": 1,
            "fit": {"epochs": 1, "steps_per_epoch": 2, "learning_rate": 0.1},
        },
        "evaluate": {"protocols": ["sampled-20"], "max_users": 5},
    }  # fmt: skip


def test_a_run_prints_the_codes_and_learns_the_strangers_slot(tmp_path: Path) -> None:
    run = stages.run(recipes.resolve(values(tmp_path), "mine"), out=tmp_path / "runs", seed=1, device="cpu")
    codes = load_tables(run.done["align"].path).item_codes
    assert codes is not None
    assert codes.dtype == torch.int64
    assert codes[7].tolist() == [2, 1]
    ranker = run.ranker
    prompts, _ = ranker._prompts(np.array([[7, 29, 3]]), None, run.data.split.queries("test").slice(0, 1), None)
    said = ranker.lm.tokenizer.decode(prompts.input_ids[0]).replace("<pad>", "")
    assert said == " read 2-1; 9-2; 1-0, then"
    fresh = run.make_ranker()
    assert not torch.equal(fresh.mood, ranker.mood)
    opened = open_session(run.done["evaluate"].path, "cpu", trust=True)
    assert torch.equal(opened.ranker.mood, ranker.mood)


def test_codes_that_nobody_makes_are_refused_before_anything_runs(tmp_path: Path) -> None:
    given = values(tmp_path)
    given["align"] = {"name": "ridge"}
    with pytest.raises(ConfigError, match="needs integer codes of items, and the aligner 'ridge' makes none"):
        recipes.resolve(given)
