"""The publishers' own layouts: MovieLens, Amazon, RecBole, RLMRec and parquet folders."""

from __future__ import annotations

import gzip
import json

import polars as pl
import pytest

from interlingua.data.prepare import SplitConfig, prepare
from interlingua.errors import DataError

T = 1_500_000_000


def titles(out):
    return dict(zip(out.interactions.item_ids.tolist(), out.catalogue.titles, strict=True))


def test_movielens_csv(tmp_path):
    (tmp_path / "ratings.csv").write_text(
        f"userId,movieId,rating,timestamp\n1,10,4.0,{T}\n1,20,3.5,{T + 1}\n2,10,5.0,{T}\n"
    )
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama\n20,Plain (1999),(no genres listed)\n'
    )
    (tmp_path / "tags.csv").write_text(
        f"userId,movieId,tag,timestamp\n1,10,Funny,{T}\n2,10,funny ,{T}\n2,10,politics,{T}\n2,10,art,{T}\n"
    )
    out = prepare(tmp_path, quiet=True)
    assert titles(out) == {"10": "American President, The (1995)", "20": "Plain (1999)"}
    assert out.catalogue.items["categories"].to_list() == ["Comedy, Drama", None]
    assert out.catalogue.items["tags"].to_list() == ["funny, art, politics", None]
    assert out.catalogue.items["description"].null_count() == 2  # tags are written by users: not a default text
    assert out.catalogue.domain.past == "watched"
    assert out.card["time"] == {
        "kind": "seconds", "times": "seconds", "ties": "hash", "first": T, "last": T + 1,
    }  # fmt: skip
    assert "tags" not in prepare(tmp_path, options={"tags": False}, quiet=True).catalogue.items.columns


def test_movielens_dat_with_its_separator_and_encoding(tmp_path):
    (tmp_path / "ratings.dat").write_text(f"1::10::4::{T}\n2::20::5::{T}\n")
    (tmp_path / "movies.dat").write_bytes(
        '10::Misérables, Les: Part "1" (1995)::Drama\n20::B (1990)::A|B\n'.encode("latin-1")
    )
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    out = prepare(tmp_path, quiet=True)
    assert titles(out)["10"] == 'Misérables, Les: Part "1" (1995)'
    assert out.catalogue.users.to_dicts()[1] == {
        "user_id": "2", "gender": "M", "age": "56", "occupation": "16", "zipcode": "70072",
    }  # fmt: skip
    assert any("not UTF-8" in w for w in out.card["warnings"])


def amazon(tmp_path, reviews, meta, names=("reviews_Beauty_5.json.gz", "meta_Beauty.json.gz")):
    for name, lines in zip(names, (reviews, meta), strict=True):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    return tmp_path


def test_amazon_2014_with_python_literals_in_its_metadata(tmp_path):
    reviews = [{"reviewerID": f"A{n}", "asin": "B1", "overall": 5.0, "unixReviewTime": T + n} for n in range(3)]
    meta = [
        "{'asin': 'B1', 'title': 'Men&#39;s <b>Soap</b>', 'categories': [['Beauty', 'Bath'], ['Beauty', 'Soap']], "
        "'brand': 'Old'}",
        "{'asin': 'B9', 'title': 'Never reviewed'}",
    ]
    out = prepare(amazon(tmp_path, reviews, meta), quiet=True)
    row = out.catalogue.items.to_dicts()[0]
    assert row["title"] == "Men's Soap"
    assert row["categories"] == "Beauty, Bath, Soap"
    assert row["brand"] == "Old"
    assert out.catalogue.domain.noun == "product"
    assert any(
        s["step"] == "metadata of reviewed items" and (s["rows_in"], s["rows_out"]) == (2, 1) for s in out.card["steps"]
    )


def test_amazon_2014_metadata_is_never_run(tmp_path):
    reviews = [{"reviewerID": "A", "asin": "B1", "overall": 5.0, "unixReviewTime": T}]
    flag = tmp_path / "owned"
    meta = [f"__import__('pathlib').Path({str(flag)!r}).touch()", "{'asin': 'B1', 'title': 'Soap'}"]
    out = prepare(amazon(tmp_path, reviews, meta), quiet=True)
    assert not flag.exists()
    assert titles(out) == {"B1": "Soap"}
    assert any("1 lines" in w for w in out.card["warnings"])


def test_amazon_2018(tmp_path):
    reviews = [{"overall": 4.0, "reviewerID": "A", "asin": "B1", "unixReviewTime": T, "style": {"Size:": "L"}}]
    meta = [{"asin": "B1", "title": "Game", "category": ["Video Games", "PC"], "description": ["One.", "Two."]}]
    out = prepare(amazon(tmp_path, reviews, meta, ("Video_Games_5.json", "meta_Video_Games.json")), quiet=True)
    assert out.catalogue.items.to_dicts()[0]["description"] == "One. Two."
    assert out.catalogue.items["categories"][0] == "Video Games, PC"
    assert out.catalogue.domain.verb == "play"


def test_amazon_2023_in_milliseconds_by_parent(tmp_path):
    reviews = [
        {"user_id": "A", "asin": "B1a", "parent_asin": "B1", "rating": 4.0, "timestamp": T * 1000},
        {"user_id": "A", "asin": "B2", "parent_asin": "B2", "rating": 4.0, "timestamp": (T + 7) * 1000},
    ]
    meta = [{"parent_asin": "B1", "title": "Thing", "main_category": "All Beauty", "categories": [], "store": "S"}]
    out = prepare(amazon(tmp_path, reviews, meta, ("All_Beauty.jsonl", "meta_All_Beauty.jsonl")), quiet=True)
    assert out.interactions.item_ids.tolist() == ["B1", "B2"]
    assert out.interactions.times.tolist() == [T, T + 7]
    assert any("milliseconds" in d["what"] for d in out.card["decisions"])
    assert out.catalogue.items["categories"].to_list() == ["All Beauty", None]


def test_amazon_without_metadata_warns_and_a_broken_review_is_counted(tmp_path):
    lines = [json.dumps({"reviewerID": f"A{n}", "asin": "B1", "overall": 5, "unixReviewTime": T}) for n in range(20)]
    (tmp_path / "reviews.json").write_text("\n".join([*lines, '{"reviewerID": "A3", "as']))
    out = prepare(tmp_path / "reviews.json", quiet=True)
    assert len(out.interactions) == 20
    assert any("no metadata" in w for w in out.card["warnings"])
    assert sum(d["count"] for d in out.card["decisions"] if "without a user id" in d["what"]) == 1


def test_amazon_cut_gz(tmp_path):
    lines = [json.dumps({"reviewerID": f"A{n}", "asin": f"B{n * 7919}", "unixReviewTime": T}) for n in range(3000)]
    packed = gzip.compress("\n".join(lines).encode())
    (tmp_path / "reviews.json.gz").write_bytes(packed[: len(packed) * 2 // 3])
    with pytest.raises(DataError, match="damaged or cut gzip"):
        prepare(tmp_path / "reviews.json.gz", quiet=True)


INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    f"1\t10\t4.0\t{T}.0\n1\t20\t2\t{T + 5}.0\n2\t10\t5\t{T}.0\n"
)


def test_recbole_atomic_files(tmp_path):
    (tmp_path / "small.inter").write_text(INTER)
    (tmp_path / "small.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        '10\tToy "Story\t1995\tAnimation Comedy\n'
    )
    (tmp_path / "small.user").write_text("user_id:token\tage:token\n1\t24\n")
    for source in (tmp_path, tmp_path / "small.inter"):
        out = prepare(source, quiet=True)
        assert titles(out) == {"10": 'Toy "Story', "20": "untitled item 20"}
        assert out.catalogue.items["categories"][0] == "Animation, Comedy"
        assert out.catalogue.items["release_year"][0] == "1995"
        assert out.catalogue.users["age"].to_list() == ["24", None]
        assert out.interactions.times.tolist() == [T, T + 5, T]


def test_repeated_text_ids_name_the_folders_file(tmp_path):
    atomic, tables = tmp_path / "atomic", tmp_path / "tables"
    atomic.mkdir(), tables.mkdir()
    (atomic / "small.inter").write_text(INTER)
    (atomic / "small.item").write_text("item_id:token\tlabel:token_seq\n10\tToy Story\n10\tAgain\n")
    parquet(tables, user_id=["a", "a"], item_id=["x", "y"])
    pl.DataFrame({"item_id": ["x", "x"], "title": ["X", "Y"]}).write_parquet(tables / "items.parquet")
    for source, file in ((atomic, "small.item"), (tables, "items.parquet")):
        undo = [d["undo"] for d in prepare(source, quiet=True).card["decisions"]]
        assert f"make the ids unique in {source / file}" in undo


def test_misspelt_text_columns_of_folders(tmp_path):
    atomic, tables = tmp_path / "atomic", tmp_path / "tables"
    atomic.mkdir(), tables.mkdir()
    (atomic / "small.inter").write_text(INTER)
    (atomic / "small.item").write_text("item_id:token\tlabel:token_seq\n10\tToy Story\n")
    parquet(tables, user_id=["a", "a"], item_id=["x", "y"])
    assert titles(prepare(atomic, columns={"title": "label:token_seq"}, quiet=True))["10"] == "Toy Story"
    with pytest.raises(DataError, match=r"unknown column 'lable' in .*small\.item.*did you mean 'label'"):
        prepare(atomic, columns={"title": "lable:token_seq"}, quiet=True)
    for source, role in ((atomic, "profile"), (tables, "title"), (tables, "profile")):
        with pytest.raises(DataError, match=rf"columns\.{role} = 'label': there is no table"):
            prepare(source, columns={role: "label"}, quiet=True)


def test_recbole_benchmark_files_give_the_parts(tmp_path):
    head, *rows = INTER.strip().split("\n")
    for part, row in zip(("train", "valid", "test"), rows, strict=True):
        (tmp_path / f"small.{part}.inter").write_text(f"{head}\n{row}\n")
    out = prepare(tmp_path, split=SplitConfig(name="given"), quiet=True)
    assert out.card["name"] == "small"
    assert [out.card["counts"][p] for p in ("train", "valid", "test")] == [1, 1, 1]


def test_recbole_without_types_or_with_two_datasets(tmp_path):
    (tmp_path / "a.inter").write_text("user_id\titem_id\n1\t2\n")
    with pytest.raises(DataError, match="user_id:token"):
        prepare(tmp_path, quiet=True)
    (tmp_path / "b.inter").write_text(INTER)
    with pytest.raises(DataError, match=r"holds 2 \.inter files"):
        prepare(tmp_path, quiet=True)


def parquet(path, **columns):
    pl.DataFrame(columns).write_parquet(path / "interactions.parquet")
    return path


def test_parquet_folder_with_its_meta(tmp_path):
    parquet(tmp_path, user_id=["a", "a"], item_id=["x", "y"], timestamp=[5, 3], rating=[None, None])
    pl.DataFrame({"item_id": ["x"], "title": ["X"]}).write_parquet(tmp_path / "items.parquet")
    (tmp_path / "meta.json").write_text(json.dumps({"name": "tiny", "timestamp_kind": "order", "source": "a paper"}))
    out = prepare(tmp_path, quiet=True)
    assert out.card["name"] == "tiny"
    assert "a paper" in out.card["licence"]
    assert out.interactions.items.tolist() == [1, 0]
    assert out.interactions.ratings is None
    (tmp_path / "meta.json").write_text("{not json")
    with pytest.raises(DataError, match=r"meta\.json is not valid JSON"):
        prepare(tmp_path, quiet=True)
    (tmp_path / "meta.json").unlink()
    (tmp_path / "items.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"items\.parquet is not a readable parquet"):
        prepare(tmp_path, quiet=True)


def test_rlmrec_parts_and_warning_about_profiles(tmp_path):
    parquet(tmp_path, user_id=["a"] * 3, item_id=["x", "y", "z"], timestamp=[0, 0, 0], split=["trn", "val", "tst"])
    pl.DataFrame({"item_id": ["x"], "title": ["X"]}).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame({"user_id": ["a"], "profile": ["likes x"]}).write_parquet(tmp_path / "users.parquet")
    out = prepare(tmp_path, split=SplitConfig(name="given"), quiet=True)
    parts = dict(zip(out.interactions.item_ids[out.interactions.items].tolist(), out.parts.tolist(), strict=True))
    assert parts == {"x": 0, "y": 1, "z": 2}  # in whatever order: the three have one time
    assert out.catalogue.users["profile"].to_list() == ["likes x"]
    assert any("optimistic" in w for w in out.card["warnings"])
