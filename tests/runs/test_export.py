"""Vectors that are written rank as the run does, in every format, and a run without vectors says why it has none."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from interlingua.errors import ConfigError
from interlingua.retrieval.topk import top_k
from interlingua.runs import export, scorers, stages
from interlingua.runs.export import embed, towers
from interlingua.runs.opening import open_session
from interlingua.runs.recipe import resolve
from interlingua.runs.session import Session
from interlingua.storage import artifact
from interlingua.vectors.vector_files import read_vectors

DATA = {"name": "planted", "options": {"num_users": 80, "num_items": 50}}
QUICK = {"epochs": 2, "patience": None}
RUNS = {
    "sasrec": {"backbone": {"name": "sasrec", "embedding_dim": 8, "max_history": 6, "fit": QUICK}},
    "mf": {"backbone": {"name": "mf", "embedding_dim": 8, "fit": QUICK}},
    "itemknn": {"backbone": {"name": "itemknn"}},
    "cold": {
        "backbone": {"name": "sasrec", "embedding_dim": 8, "max_history": 6, "fit": QUICK},
        "text": {"name": "lsa", "dim": 8},
        "align": {"name": "ridge", "frozen": ["backbone"]},
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(runs: Path):
    made: dict[str, Session] = {}

    def of(name: str) -> Session:
        if name not in made:
            values = {"data": DATA, **RUNS[name], "evaluate": {"protocols": ["full"]}}
            done = stages.run(resolve(values, name), out=runs, seed=3, device="cpu")
            made[name] = open_session(done.done["evaluate"].path, "cpu")
        return made[name]

    return of


@pytest.mark.parametrize("name", ["sasrec", "mf", "cold"])
@pytest.mark.parametrize("events", ["all", "train"])
def test_dot_products_of_written_vectors_are_the_scores(name, events, run, tmp_path):
    session = run(name)
    made = embed(session, tmp_path / "vectors", events=events)
    stored = load_file(made.path / "vectors.safetensors")
    everybody = np.arange(session.data.split.train.num_users)
    source = session.data.interactions if events == "all" else session.data.split.train
    expected = scorers.scorer_of(session).score(source.queries(everybody))
    np.testing.assert_allclose((stored["users"] @ stored["items"].T).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert made.card["bias_column"] is (name == "mf")
    ids = pl.read_parquet(made.path / "ids.parquet")
    train = session.data.split.train
    assert ids.filter(pl.col("side") == "items")["id"].to_list() == [str(i) for i in train.item_ids]
    assert ids.filter(pl.col("side") == "users")["id"].to_list() == [str(i) for i in train.user_ids]


def test_items_without_events_are_reached_through_their_texts(run):
    session = run("cold")
    cold = session.data.split.train.item_counts == 0
    made = towers(session)
    assert made.source == "align"
    assert cold.any()
    own = session.backbone.item_embeddings()
    assert torch.equal(made.items[~cold], own[~cold])
    assert not torch.allclose(made.items[cold], own[cold])


def test_every_format_holds_the_same_vectors_and_comes_back_by_id(run, tmp_path):
    session = run("sasrec")
    train = session.data.split.train
    tensors = embed(session, tmp_path / "a").path
    plain = load_file(tensors / "vectors.safetensors")
    npy = embed(session, tmp_path / "b", "npy").path
    parquet = embed(session, tmp_path / "c", "parquet").path
    for side, ids in (("users", train.user_ids), ("items", train.item_ids)):
        order = np.random.default_rng(0).permutation(len(ids))  # joined by id, not by place
        for path, names in (
            (tensors / "vectors.safetensors", tensors / "ids.parquet"),
            (npy / f"{side}.npy", npy / f"{side[:-1]}_ids.json"),
            (parquet / f"{side}.parquet", None),
        ):
            got, known = read_vectors(path, names, side, ids[order])
            assert known.all()
            np.testing.assert_array_equal(got, plain[side].numpy()[order])


def test_the_folder_has_a_card_and_stands_beside_the_run(run, runs):
    session = run("sasrec")
    made = embed(session)
    assert made.path.parent == runs
    assert made.path.name.startswith("vectors-sasrec-")
    assert artifact.load(made.path).card["run"] == session.done["evaluate"].path.name
    assert embed(session).key == made.key


def test_an_index_is_written_with_its_recall(run, tmp_path):
    pytest.importorskip("usearch")
    from interlingua.retrieval.ann import Ann

    session = run("sasrec")
    made = embed(session, tmp_path / "vectors", index="usearch")
    assert made.card["index"]["recall@10"] > 0.95
    assert "items.usearch" in made.card["files"]
    stored = load_file(made.path / "vectors.safetensors")
    seen = session.data.interactions.queries()
    found = Ann.load(made.path, stored["items"]).search(stored["users"], 5, seen=seen)
    exact = top_k(stored["users"], stored["items"], 5, seen=seen)
    assert (found.indices == exact.indices).mean() > 0.95


def test_an_index_is_measured_on_users_from_the_whole_range(run, tmp_path, monkeypatch):
    """The clock goes on by one second more at each look: building takes one, the exact search three, the index five."""
    pytest.importorskip("usearch")
    clock = iter([0.0, 1, 3, 6, 10, 15] * 2)
    monkeypatch.setattr(export, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    card = embed(run("sasrec"), tmp_path / "all", index="usearch").card
    assert (card["index"]["users"], card["index"]["build_s"]) == (80, 1.0)
    assert card["index"]["exact_ms_per_user"] == 3000 / 80
    assert card["index"]["index_ms_per_user"] == 5000 / 80
    assert card["config"]["ann"]
    monkeypatch.setattr(export, "CHECKED_USERS", 8)
    few = embed(run("sasrec"), tmp_path / "few", index="usearch").card["index"]
    assert few["users"] == 8
    assert few["exact_ms_per_user"] == 3000 / 8
    assert few["recall@10"] > 0.95


def test_vectors_go_into_an_empty_folder_and_others_have_no_key_in_common(run, tmp_path):
    session = run("mf")
    (tmp_path / "empty").mkdir()
    made = embed(session, tmp_path / "empty")
    assert made.card["shapes"] == {"users": [80, 9], "items": [50, 9]}
    assert made.card["source"] == "train"
    keys = {
        embed(session, tmp_path / str(at), **o).key for at, o in enumerate(({"format": "npy"}, {"events": "train"}))
    }
    assert len(keys | {made.key}) == 3


def test_a_run_without_vectors_says_why(run, tmp_path):
    with pytest.raises(ConfigError, match="'itemknn' scores by neighbours"):
        embed(run("itemknn"), tmp_path / "vectors")
    assert not (tmp_path / "vectors").exists()


def test_a_folder_with_other_things_is_left_alone(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else"):
        embed(run("sasrec"), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    embed(run("sasrec"), tmp_path / "own", "npy")
    again = embed(run("sasrec"), tmp_path / "own", "parquet")  # ours: replaced as a whole
    assert sorted(p.name for p in again.path.iterdir()) == ["card.json", "items.parquet", "users.parquet"]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"format": "csv"}, "safetensors, npy"), ({"events": "test"}, "all, train"), ({"index": "faiss"}, "usearch")],
)
def test_unknown_options_are_named(options, words, run, tmp_path):
    with pytest.raises(ConfigError, match=words):
        embed(run("sasrec"), tmp_path / "x", **options)


def test_the_command(run, tmp_path, capsys, monkeypatch):
    import sys

    from interlingua.cli.main import main

    path = run("mf").done["evaluate"].path
    for extra, check in ((["--json"], True), (["--format", "npy"], False)):
        monkeypatch.setattr(sys, "argv", ["interlingua", "embed", str(path), "--out", str(tmp_path / "v"), *extra])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        shown = capsys.readouterr().out
        if check:
            assert json.loads(shown)["shapes"]["items"] == [50, 9]
        else:
            assert "80 users and 50 items, width 9" in shown
            assert "bias" in shown
