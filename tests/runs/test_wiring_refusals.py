"""What the wiring refuses, leaves out or falls back to: lines that no other test ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

pytest.importorskip("sqlalchemy")

import interlingua
from interlingua.contracts.scorer import TableScorer
from interlingua.data.queries import Queries
from interlingua.errors import ArtifactError, ConfigError, DataError, MissingExtraError
from interlingua.retrieval.cascade import RetrieveThenRerank
from interlingua.runs import new_events, new_texts, stages, stores
from interlingua.runs import recipe as recipes
from interlingua.runs.grown import encoders_of
from interlingua.runs.session import Session
from interlingua.store import Item, Store
from interlingua.testing.tiny_sentence_encoder import tiny_encoder
from interlingua.training.loop import check_device

SECOND = 1_700_000_000


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    rows = [(f"u{user}", f"i{(user + step) % 12}", SECOND + 60 * step) for user in range(12) for step in range(6)]
    data = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    sections = {"backbone": {"name": "itemknn"}, "evaluate": {"protocols": ["full"]}}
    return interlingua.run(sections, data={"interactions": data}, out=tmp_path_factory.mktemp("runs"), device="cpu")


@pytest.fixture(scope="module")
def by_text(tmp_path_factory: pytest.TempPathFactory) -> Session:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]', "text.reduce=4")
    return stages.run("textknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")


def test_a_resolved_recipe_takes_no_data_and_no_options(tmp_path: Path) -> None:
    resolved = recipes.load("itemknn")
    for changed in ({"data": "planted"}, {"overrides": ("seed=3",)}):
        with pytest.raises(ConfigError, match="this one is resolved: load it anew"):
            stages.run(resolved, out=tmp_path, **changed)
    assert not any(tmp_path.iterdir())


def test_new_items_of_a_store_are_left_out_of_a_run_without_texts_and_its_own_are_not(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(tmp_path / "s.db") as store:
        store.put_items([Item("later", "A New Thing"), Item("i3", "Renamed", available=False)])
        made = interlingua.load(session, store=store)
        assert "warning: 1 items of the store are left out: the run" in capsys.readouterr().err
        assert "later" not in made.train.item_indices
        assert "i3" not in [one.item_id for one in made.recommend(history=["i1"], k=12)]
        assert made.titles[made.item_row("i3")] == "Renamed"


def test_the_oldest_idempotency_key_is_the_first_that_is_forgotten(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_events, "MOST_KEYS", 2)
    made = interlingua.load(session)
    event = {"user_id": "zoe", "item_id": "i1"}
    assert [made.add_events(event, key) for key in ("a", "b", "a", "b")] == [1, 1, 0, 0]
    assert [made.add_events(event, key) for key in ("c", "b", "c", "a")] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"user_id": "zoe", "value": 3}, r"events have no column item_id \(they have user_id, "),
        ({"user_id": "zoe", "item_id": "i1", "value": "good"}, "event 1: value is 'good', and no number"),
        ({"user_id": "zoe", "item_id": "i1", "rating": float("inf")}, "event 1: rating is inf; give a finite number"),
    ],
)
def test_events_that_cannot_be_read_are_refused(session: Session, given: dict[str, Any], said: str) -> None:
    made = interlingua.load(session)
    with pytest.raises(DataError, match=said):
        made.add_events(given)
    assert made._events.of_user == {}


def test_a_store_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "interlingua.store", None)
    with pytest.raises(MissingExtraError, match="a store needs the package"):
        stores.opened(tmp_path / "s.db")
    assert not list(tmp_path.iterdir())


def test_another_encoder_than_that_of_the_run_reads_no_new_text(
    by_text: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = interlingua.load(by_text)
    before = encoders_of(by_text).vectors("text", ["the lost galaxy"])
    assert before.shape == (1, 4)
    (file,) = by_text.done["embed"].path.glob(f"{new_texts.BASIS}*")
    monkeypatch.setattr(new_texts, "BASIS", "gone")
    fresh = interlingua.load(by_text.path)
    with pytest.raises(ArtifactError, match=r"kept no directions of \[text\].reduce"):
        encoders_of(fresh.session).vectors("text", ["the lost galaxy"])
    assert file.is_file()
    assert made.add_items({"item_id": "n", "title": "galaxy"}).added == ("n",)


def test_an_encoder_that_was_exchanged_reads_no_new_text(tmp_path: Path) -> None:
    """The run keeps what made its vectors: another model in the same folder would stand beside them as a stranger."""
    pytest.importorskip("sentence_transformers")
    folder = tiny_encoder(tmp_path / "encoder")
    sections = {
        "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30}},
        "backbone": {"name": "textknn"},
        "text": {"name": "sbert", "model": str(folder)},
        "evaluate": {"protocols": ["full"]},
    }
    path = stages.run(recipes.resolve(sections), out=tmp_path / "runs", device="cpu").path
    assert encoders_of(interlingua.load(path).session).vectors("text", ["space war"]).shape == (1, 16)
    tiny_encoder(folder, seed=1)
    with pytest.raises(ArtifactError, match=r"\[text\].model = .* is not the encoder that the run was made with"):
        encoders_of(interlingua.load(path).session).vectors("text", ["space war"])


def test_a_run_whose_aligner_places_no_item_by_text_says_so(tmp_path: Path) -> None:
    sections = {
        "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30}},
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 1}},
        "text": {"name": "lsa", "dim": 8, "users": "items"},
        "align": {"name": "masked", "fit": {"epochs": 1}},
        "evaluate": {"protocols": ["full"]},
    }
    made = interlingua.load(stages.run(recipes.resolve(sections), out=tmp_path, device="cpu"))
    with pytest.raises(ConfigError, match="and the aligner 'masked' makes no vectors of items from texts; use"):
        made.add_items({"item_id": "n", "title": "galaxy"})
    assert made.train.num_items == 30


def test_without_an_aligner_there_is_none(session: Session) -> None:
    with pytest.raises(ConfigError, match=r"needs an \[align\] section"):
        _ = session.aligner


def test_options_of_frozen_texts_are_refused_beside_trained_ones(tmp_path: Path) -> None:
    data = {"name": "planted", "options": {"num_users": 40, "num_items": 30}}
    for option in ({"reduce": 4}, {"control": "shuffled"}, {"users": "items"}):
        sections = {
            "data": data,
            "backbone": {"name": "sasrec", "embedding_dim": 8, "fit": {"epochs": 1}},
            "text": {"name": "sbert", "trainable": True, **option},
            "align": {"name": "autoencoder", "frozen": ["backbone"]},
        }
        with pytest.raises(ConfigError, match="trainable = false"):
            stages.run(recipes.resolve(sections), out=tmp_path / "runs", device="cpu")


def test_vectors_and_scores_by_texts_are_the_retrievers_only_where_nothing_reranks() -> None:
    draw = torch.Generator().manual_seed(0)
    rows, queries = torch.randn(6, 3, generator=draw), Queries.of([[0], [1, 2]])
    plain, unseen = (TableScorer(part, lambda q: torch.ones(len(q), 3)) for part in (rows, -rows))
    retriever = TableScorer(rows, lambda q: torch.ones(len(q), 3), None, unseen)
    alone = RetrieveThenRerank(retriever, None, 3).score_unseen(queries)
    assert alone is not None
    np.testing.assert_allclose(alone, retriever.score_unseen(queries))
    assert RetrieveThenRerank(retriever, plain, 3).score_unseen(queries) is None
    assert RetrieveThenRerank(retriever, plain, 3).towers() is None
    towers = RetrieveThenRerank(plain, None, 3).towers()
    assert towers is not None
    assert torch.equal(towers.items, rows)


def test_a_device_that_torch_does_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for device, backend, name in (("mps", torch.backends.mps, "Apple GPU"), ("cuda", torch.cuda, "CUDA device")):
        monkeypatch.setattr(backend, "is_available", lambda: False)
        with pytest.raises(ConfigError, match=f"device '{device}' was asked for, but torch sees no {name}"):
            check_device(device)
        monkeypatch.setattr(backend, "is_available", lambda: True)
        assert check_device(device) == device


def test_one_asks_for_a_user_or_for_a_history_and_unknown_items_are_said(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    made = interlingua.load(session)
    for wrong in ({}, {"user": "u1", "history": ["i1"]}):
        with pytest.raises(ConfigError, match="give either a user or a history"):
            made.query(**wrong)
    assert len(made.query(history=["i1", "gone"]).items) == 1
    assert "note: history: 1 item id that the run does not know, left out: 'gone'" in capsys.readouterr().err
    made.query(history=["i1", "gone"], quiet=True)
    assert capsys.readouterr().err == ""
