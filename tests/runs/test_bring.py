"""Vectors from anywhere become a recommender in one call: the forms they come in, what is chosen, what is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file

import interlingua
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError, DataError, InterlinguaError
from interlingua.runs import bring
from interlingua.vectors.brought import read_brought

WORLD = generate(num_users=60, num_items=40, seed=5)
IDS = [f"i{i}" for i in range(40)]
EVENTS = pl.DataFrame(
    {
        "user_id": [f"u{u}" for u in WORLD.interactions.users],
        "item_id": [f"i{i}" for i in WORLD.interactions.items],
        "timestamp": WORLD.interactions.times,
    }
)
ITEMS = pl.DataFrame({"item_id": IDS, "title": WORLD.catalogue.titles})
VECTORS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
TEXT = {"name": "lsa", "dim": 8}


def files(folder: Path) -> dict[str, Any]:
    np.save(folder / "v.npy", VECTORS)
    np.savez(folder / "v.npz", item_factors=VECTORS, user_factors=VECTORS[:3], item_ids=np.array(IDS))
    save_file({"items": VECTORS}, folder / "v.safetensors")
    pl.DataFrame({"item_id": IDS, "vector": VECTORS.tolist()}).write_parquet(folder / "v.parquet")
    (folder / "ids.txt").write_text("\n".join(IDS), encoding="utf-8")
    implicit = SimpleNamespace(item_factors=VECTORS, user_factors=VECTORS[:3])
    rectools = SimpleNamespace(get_vectors=lambda: (VECTORS[:3], VECTORS))
    return {
        "npy": (folder / "v.npy", folder / "ids.txt"),
        "npz": (str(folder / "v.npz"), None),
        "safetensors": (folder / "v.safetensors", IDS),
        "parquet": (folder / "v.parquet", None),
        "array": (VECTORS, np.array(IDS)),
        "tensor": (torch.from_numpy(VECTORS).double(), IDS),
        "lists": (VECTORS.tolist(), IDS),
        "pair": ((VECTORS, IDS), None),
        "by id": (dict(zip(IDS, VECTORS, strict=True)), None),
        "named": ({"vectors": VECTORS, "ids": IDS}, None),
        "frame": (pl.DataFrame({"id": IDS, "vector": VECTORS.tolist()}), None),
        "pandas": (pl.DataFrame({"id": IDS, **{f"d{n}": VECTORS[:, n] for n in range(6)}}).to_pandas(), None),
        "implicit": (implicit, IDS),
        "rectools": (rectools, IDS),
    }


@pytest.mark.parametrize("form", [
    "npy", "npz", "safetensors", "parquet", "array", "tensor", "lists", "pair", "by id", "named", "frame", "pandas",
    "implicit", "rectools",
])  # fmt: skip
def test_vectors_come_in_every_form(form: str, tmp_path: Path) -> None:
    source, ids = files(tmp_path)[form]
    vectors, names = read_brought(source, "items", ids)
    np.testing.assert_array_equal(vectors, VECTORS)
    assert names == IDS


@pytest.mark.parametrize(
    ("source", "ids", "words"),
    [
        (np.array([[1.0, np.nan]]), ["a"], "1 rows with values that are not finite"),
        (np.zeros(3), None, "a matrix, one row each"),
        (VECTORS, IDS[:3], "40 rows and 3 ids"),
        (VECTORS[:2], ["a", "a"], "repeats 1 ids"),
        ("nowhere.npz", None, "no file of vectors at nowhere.npz"),
        ({"a": [1.0], "b": [1.0, 2.0]}, None, "no vectors of one length"),
        (pl.DataFrame({"x": [1.0]}), None, "no column of ids"),
        (object(), None, "holds no numbers|shape"),
    ],
)
def test_what_holds_no_vectors_is_said(source: Any, ids: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_brought(source, "items", ids)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("brought")


def test_with_events_the_alignment_is_chosen_on_the_validation_part(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = interlingua.align(
        VECTORS[:35], catalogue=ITEMS, interactions=EVENTS, item_ids=IDS[:35], text=TEXT, out=out, device="cpu"
    )
    said = capsys.readouterr().err
    assert "similarity: " in said
    assert "alignment: " in said
    assert "35 items of width 6, compared by" in said
    assert "5 items without a vector (5 reached by their texts), 0 vectors of items" in said
    run = made.session
    assert run.recipe.evaluate.part == "test"
    assert run.metrics.keys() == {"full", "sampled-20"}
    valid = {}
    for kind in ("dot", "cosine"):  # the same measurement, made here
        sets = [f"backbone.similarity={kind}", "evaluate.part=valid", 'evaluate.protocols=["full"]']
        found = interlingua.run(_alone(run, out), out=out, overrides=sets, device="cpu")
        valid[kind] = found.metrics["full"]["ndcg@10"]
    assert run.recipe.backbone.config.similarity == max(valid, key=lambda kind: valid[kind])
    assert len(made.recommend("u3", k=3)) == 3
    assert len(made.recommend(history=["i39"], k=3, items=["i36", "i37", "i38"])) == 3  # all three without a vector


def _alone(run: Any, out: Path) -> Path:
    from interlingua.config import to_toml

    values = run.recipe.resolved()
    path = out / "alone.toml"
    values["evaluate"].pop("candidate_source")
    path.write_text(to_toml({name: values[name] for name in ("data", "backbone", "evaluate")}), encoding="utf-8")
    return path


def test_without_events_histories_come_with_the_question(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = SimpleNamespace(item_factors=VECTORS, user_factors=VECTORS[:3])
    made = interlingua.align(model, catalogue=ITEMS, user_ids=["a", "b", "c"], text=TEXT, out=out, device="cpu")
    best = (VECTORS @ VECTORS[1]).argsort()[::-1][:4]  # rows without ids are those of the catalogue, in order
    block = capsys.readouterr().err.split("interlingua.align:\n")[1].splitlines()
    assert block == [
        "  vectors: 40 items of width 6, compared by dot",
        "  texts:   40 of 40 items have one; aligned by ridge",
        "  orphans: 0 items without a vector (0 reached by their texts), 0 vectors of items that are not in the data",
        "  users:   3 of 3 vectors are of known users; others: means of histories",
    ]
    assert [each.item_id for each in made.recommend("b", k=4)] == [IDS[row] for row in best]
    by_history = [row for row in (VECTORS @ VECTORS[7]).argsort()[::-1] if row != 7][:4]
    assert [each.item_id for each in made.recommend(history=["i7"], k=4)] == [IDS[row] for row in by_history]
    assert made.session.data.interactions.num_users == 3
    assert not len(made.session.data.interactions)
    again = interlingua.load(made.session.path)
    assert again.recommend("b", k=4) == made.recommend("b", k=4)


def test_vectors_alone_are_served_as_they_are(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = interlingua.align((VECTORS, IDS), out=out, similarity="cosine", device="cpu")
    assert "no catalogue" in capsys.readouterr().err
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    best = [row for row in (unit @ unit[7]).argsort()[::-1] if row != 7][:4]
    assert [each.item_id for each in made.recommend(history=["i7"], k=4)] == [IDS[row] for row in best]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "rige"}, r"unknown method 'rige'; did you mean 'ridge'\?"),
        ({"method": "ridge"}, "give a catalogue"),
        ({"method": "contrastive", "catalogue": ITEMS, "text": TEXT}, "trained by gradient"),
        ({"similarity": "l2"}, "unknown similarity 'l2'"),
        ({"method": "none", "catalogue": ITEMS, "text": TEXT}, "would not be read: method='none' leaves texts out"),
        ({"text": "lsa"}, "text='lsa' would not be read: there is no catalogue, so there are no texts"),
        ({"item_ids": None}, "has no ids; give one per row: item_ids="),
    ],
)
def test_what_cannot_be_aligned_is_said(out: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InterlinguaError, match=words) as caught:
        interlingua.align(VECTORS[:30], out=out, device="cpu", **{"item_ids": IDS[:30], **options})
    assert isinstance(caught.value, ConfigError | DataError)


def foreign(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(item_id=pl.lit("x-") + pl.col("item_id"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"catalogue": ITEMS.rename({"title": "name_of_it"})},
            r"catalogue has no texts: none of title, .* item_id, name",
        ),
        ({"catalogue": ITEMS.with_columns(title=pl.lit(None, pl.String))}, "catalogue has no texts"),
        ({"catalogue": pl.concat([ITEMS, ITEMS[:3]])}, r"catalogue repeats 3 item ids \(e.g. 'i0'\)"),
        ({"catalogue": ITEMS.rename({"item_id": "thing"})}, r"catalogue has no column of item ids"),
        ({"catalogue": ["The tale"]}, r"catalogue is \['The tale'\]; give a frame"),
        (
            {"catalogue": foreign(ITEMS)},
            r"in catalogue\['item_id'\].*item_ids=",
        ),
        (
            {"interactions": foreign(EVENTS)},
            r"in interactions\['item_id'\]",
        ),
        ({"items": np.zeros((40, 6), np.float32)}, "all 40 vectors are zero"),
        ({"items": np.full((40, 6), np.nan)}, "40 rows with values that are not finite"),
    ],
)
def test_wrong_arguments_are_named_as_they_were_given(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    given = {"items": VECTORS, "item_ids": IDS, "catalogue": ITEMS, "text": TEXT} | changed
    with pytest.raises(InterlinguaError, match=words) as caught:
        interlingua.align(**given, out=tmp_path)
    for word in ("--", ".parquet", "columns.", "filter.", "options."):
        assert word not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_zero_vectors_are_said_and_nothing_is_measured_without_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = VECTORS.copy()
    vectors[4:6] = 0
    interlingua.align(vectors, item_ids=IDS, out=tmp_path, device="cpu")
    said = capsys.readouterr().err
    assert "2 of 40 vectors are zero (e.g. of 'i4')" in said
    assert "evaluate brought-vectors: no protocols, so nothing is measured" in said
    assert "evaluate brought-vectors: running" not in said


@pytest.mark.parametrize("here", [True, False])
def test_what_reads_the_texts_by_default_is_said(
    here: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from interlingua.runs import bring

    monkeypatch.setattr(bring, "missing", lambda model: [] if here else ["it"])
    assert bring._text("auto") == {"name": "sbert" if here else "lsa"}
    assert ("text='lsa' takes seconds" in capsys.readouterr().err) is here


def test_the_encoder_is_said_only_where_texts_are_embedded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bring, "missing", lambda model: [])
    made = interlingua.align(VECTORS, item_ids=IDS, catalogue=ITEMS, method="none", out=tmp_path, device="cpu")
    assert "sentence encoder" not in capsys.readouterr().err
    assert made.session.recipe.text is None


def test_an_aligner_that_cannot_do_it_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bring, "run", lambda *_, **__: pytest.fail("something was trained"))
    with pytest.raises(ConfigError, match="trained by gradient"):
        interlingua.align(
            VECTORS, item_ids=IDS, catalogue=ITEMS, interactions=EVENTS, method="kar", text=TEXT, out=tmp_path
        )


def test_the_vectors_stay_alone_where_texts_do_not_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Vectors made of the events themselves; catalogue texts that say nothing, for items that crowd in."""
    of_users = np.zeros((60, 40), np.float32)
    of_users[WORLD.interactions.users, WORLD.interactions.items] = 1.0
    vectors = np.linalg.svd(of_users, full_matrices=False)[2][:12].T.copy()
    scores = {"ridge": 0.2, "autoencoder": 0.1, None: 0.3}
    monkeypatch.setattr(bring, "_score", lambda run: scores[run.recipe.align and run.recipe.align.name])
    given = {"catalogue": ITEMS, "interactions": EVENTS, "item_ids": IDS[:36], "text": TEXT, "device": "cpu"}
    made = interlingua.align(vectors[:36], similarity="dot", out=tmp_path, **given)
    assert "alignment: none, by ndcg@10" in capsys.readouterr().err
    assert made.session.recipe.align is None
    assert len(made.recommend("u3", k=3)) == 3
    scores |= {"autoencoder": 0.3, "ridge": 0.3}
    tied = interlingua.align(vectors[:36], similarity="dot", out=tmp_path, **given)
    assert "; level with autoencoder and none, and ridge comes first" in capsys.readouterr().err
    assert tied.session.recipe.align.name == "ridge"


def test_what_is_as_good_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert bring._best("similarity", {"dot": 0.5, "cosine": 0.25}) == "dot"
    assert "level" not in capsys.readouterr().err
    assert bring._best("similarity", {"dot": 0.5, "cosine": 0.5}) == "dot"
    assert "; level with cosine, and dot comes first" in capsys.readouterr().err


def test_an_item_known_by_its_text_alone_tells_of_a_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Vectors are what the texts say, so the text of an item without a vector leads to its neighbours by hand."""
    themes = np.arange(40) % 4
    words = ("red wine", "old book", "loud drum", "wide lake")
    titles = [f"{words[theme]} {words[theme]}" for theme in themes]
    titles[39] = ""
    vectors = np.eye(4, dtype=np.float32)[themes] + 0.01 * VECTORS[:, :4]
    catalogue = pl.DataFrame({"item_id": IDS, "title": titles})
    options = {"item_ids": IDS[:36], "text": {"name": "lsa", "dim": 4}, "out": tmp_path, "device": "cpu"}
    made = interlingua.align(vectors[:36], catalogue=catalogue, method="ridge", **options)
    capsys.readouterr()
    for item in (36, 37, 38):
        found = made.recommend(history=[f"i{item}"], k=5)
        assert {themes[int(each.item_id[1:])] for each in found} == {themes[item]}, item
        assert {each.stage for each in found} == {"ridge"}
    nothing = made.recommend(history=["i39"], k=5)  # neither vector nor text
    assert {each.stage for each in nothing} == {"popularity"}
    beside = made.recommend(history=["i1", "i36"], k=5)  # what has a vector speaks for itself
    alone = made.recommend(history=["i1"], k=6)
    assert [each.item_id for each in beside] == [each.item_id for each in alone if each.item_id != "i36"][:5]
    again = interlingua.load(made.session.path)
    assert again.recommend(history=["i37"], k=5) == made.recommend(history=["i37"], k=5)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_catalogue_and_events_may_be_files(ending: str, tmp_path: Path) -> None:
    def stored(frame: pl.DataFrame, name: str) -> Path:
        path = tmp_path / f"{name}.{ending}"
        write = {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}
        write[ending](path)
        return path

    options = {"item_ids": IDS[:36], "method": "ridge", "similarity": "dot", "text": TEXT, "device": "cpu"}
    by_file = interlingua.align(
        VECTORS[:36], catalogue=stored(ITEMS, "items"), interactions=str(stored(EVENTS, "events")),
        out=tmp_path / "one", **options,
    )  # fmt: skip
    by_frame = interlingua.align(VECTORS[:36], catalogue=ITEMS, interactions=EVENTS, out=tmp_path / "two", **options)
    assert by_file.recommend("u3", k=5) == by_frame.recommend("u3", k=5)
    assert by_file.session.metrics == by_frame.session.metrics


def test_a_catalogue_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"catalogue: there is no file '.*nowhere\.csv'"):
        interlingua.align(VECTORS, item_ids=IDS, catalogue=tmp_path / "nowhere.csv", out=tmp_path)
