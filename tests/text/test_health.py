"""What texts do not tell an encoder is counted, said, and in the card; words of every script are words."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlingua.lm.sentence_model import Cutter, SentenceModel, locate
from interlingua.testing.tiny_sentence_encoder import tiny_encoder
from interlingua.text.lsa import Lsa, LsaConfig, pieces
from interlingua.text.sbert import Sbert, SbertConfig
from interlingua.vectors.health import examine, mostly_latin, notes_of, remedy_for, same_vectors


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी कहानी", ["हिन्दी", "कहानी"]),
        ("Cafe\u0301 Amélie", ["café", "amélie"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("ሰላም ለዓለም", ["ሰላም", "ለዓለም"]),
        ("😀😁", ["😀", "😁"]),
        ("世界2", ["世", "界", "世界", "2"]),
        ("ไทย", ["ไ", "ท", "ย", "ไท", "ทย", "ไทย"]),
    ],
)
def test_words_of_every_script(text, words):
    assert pieces(text) == words
    assert pieces(text, characters=False) == (words if len(words) <= 2 and "世" not in words else [text])


@given(
    st.text(
        alphabet=st.characters(max_codepoint=0x17F, categories=["L", "N", "P", "Z"], exclude_characters="İ"),
        max_size=40,
    )
)
def test_words_of_european_texts_are_what_they_were(text):
    import re
    import unicodedata

    assert pieces(text) == re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


TITLES = [
    "三体",
    "三体黑暗森林",
    "黑暗森林",
    "活着",
    "活着的世界",
    "平凡的世界",
    "世界尽头的黑暗",
    "红楼梦",
    "红与黑",
]


def test_chinese_titles_have_vectors_that_differ(capsys):
    source = Lsa(LsaConfig(), TITLES)
    assert source.items.numpy().any(axis=1).all()
    assert not same_vectors(TITLES, source.items.numpy())
    assert source.items[0] @ source.items[1] > source.items[0] @ source.items[7]
    assert not capsys.readouterr().err


def test_equal_and_zero_vectors_are_counted_and_said(capsys):
    texts = ["a", "b", "b", "c", "d", "e"]
    vectors = np.array([[1, 0], [2, 0], [1, 0], [0, 1], [0, 0], [0, 0.5]], np.float32)
    assert same_vectors(texts, vectors) == [["a", "b"], ["c", "e"]]
    counts = examine(texts, vectors, "item", cut=2, limit="128 tokens; text.max_tokens", remedy="; do this")
    assert counts == {
        "item: different texts with an equal vector": 4, "item: texts with a zero vector": 1, "item: texts cut": 2,
    }  # fmt: skip
    said = capsys.readouterr().err
    assert "4 different item texts share their vector with another (e.g. 'a' and 'b'); do this" in said
    assert "1 item texts get a zero vector (e.g. 'd')" in said
    assert "2 of 6 item texts are longer than what is read of them (128 tokens; text.max_tokens)" in said
    assert examine(["a", "b"], vectors[[0, 3]], "item") == {}


def test_the_remedy_is_another_encoder_for_other_scripts_and_a_longer_reading_for_known_ones():
    assert mostly_latin(["Alien"])
    assert not mostly_latin(["ภาษาไทย", "한국"])
    assert "multilingual" in remedy_for([["ภาษา", "ไทย"]], "text.max_tokens")
    assert "text.max_tokens" in remedy_for([["one long text", "another"]], "text.max_tokens")
    both = remedy_for([["one long text", "another"], ["ภาษา", "ไทย"]], "text.max_tokens")
    assert "multilingual" in both
    assert "text.max_tokens" in both


def test_texts_that_differ_past_the_cut_are_found(tmp_path, capsys):
    encoder = tiny_encoder(tmp_path / "encoder")
    common = "the river boat " * 40
    texts = [common + "alpha", common + "omega", "short"]
    source = Sbert(SbertConfig(model=str(encoder), max_tokens=8), texts, cache=tmp_path / "cache")
    assert source.notes == {"item: different texts with an equal vector": 2, "item: texts cut": 2}
    assert notes_of(source) == source.notes
    assert "text.max_tokens" in capsys.readouterr().err


@given(st.lists(st.text(max_size=60), max_size=5), st.integers(4, 30))
def test_the_cutter_counts_what_the_encoder_cuts(encoder_place, texts, limit):
    model, cutter = encoder_place
    model.max_tokens = cutter.max_tokens = limit
    full = (
        model.model.tokenizer([t.encode("utf-8", "replace").decode() for t in texts], truncation=False)["input_ids"]
        if texts
        else []
    )
    assert cutter.count(texts) == sum(len(ids) > limit for ids in full)


@pytest.fixture(scope="module")
def encoder_place(tmp_path_factory):
    place = locate(str(tiny_encoder(tmp_path_factory.mktemp("encoder"))))
    return SentenceModel(place), Cutter(place)


def test_the_card_of_the_embed_stage_says_it(tmp_path):
    from interlingua.runs import stages
    from interlingua.runs.recipe import resolve

    recipe = resolve(
        {
            "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30}},
            "text": {"name": "lsa", "fields": ["categories"]},
            "backbone": {"name": "textknn"},
        }
    )
    session = stages.run(recipe, out=tmp_path, seed=1)
    card = json.loads((session.done["embed"].path / "card.json").read_text(encoding="utf-8"))
    assert card["texts"].keys() <= {"item: different texts with an equal vector", "item: texts with a zero vector"}
    assert "texts" in card
