from __future__ import annotations

import gzip
import json

import polars as pl
import pytest

from interlingua.data.prepare import prepare
from interlingua.errors import DataError

ROWS = [("u1", "i1", 4.0, 1500000000), ("u1", "i2", 3.0, 1500000001), ("u2", "i1", 5.0, 1500000002)]
CSV = "user,item,rating,timestamp\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in ROWS)


def read(path, **more):
    return prepare(path, quiet=True, **more)


def triples(out):
    data = out.interactions
    return list(
        zip(data.user_ids[data.users].tolist(), data.item_ids[data.items].tolist(), data.times.tolist(), strict=True)
    )


EXPECTED = [("u1", "i1", 1500000000), ("u1", "i2", 1500000001), ("u2", "i1", 1500000002)]


@pytest.mark.parametrize(
    ("name", "separator"),
    [("e.csv", ","), ("e.tsv", "\t"), ("e.csv", ";"), ("e.txt", "|"), ("e.dat", "::"), ("e.csv", "\t")],
)
@pytest.mark.parametrize("packed", [False, True])
def test_delimited_files(tmp_path, name, separator, packed):
    data = CSV.replace(",", separator).encode()
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(data) if packed else data)
    out = read(path)
    assert triples(out) == EXPECTED
    assert out.interactions.ratings.tolist() == [4, 3, 5]
    assert out.card["columns"] == {"user_id": "user", "item_id": "item", "timestamp": "timestamp", "rating": "rating"}


def test_parquet_and_json_lines(tmp_path):
    frame = pl.DataFrame(ROWS, schema=["reviewerID", "asin", "overall", "unixReviewTime"], orient="row")
    frame.write_parquet(tmp_path / "e.parquet")
    frame.write_ndjson(tmp_path / "e.jsonl")
    (tmp_path / "array.json").write_text(json.dumps(frame.to_dicts()))
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress((tmp_path / "e.jsonl").read_bytes()))
    for name in ("e.parquet", "e.jsonl", "array.json", "packed.jsonl.gz"):
        assert triples(read(tmp_path / name, reader="table")) == EXPECTED, name


def test_json_lines_with_a_broken_line_and_changing_types(tmp_path):
    lines = [json.dumps({"user": n % 3, "item": f"i{n}", "time": n}) for n in range(30)]
    lines[4] = '{"user": "text now", "item": "i4", "time": 4}'
    lines[9] = "{broken"
    (tmp_path / "e.jsonl").write_text("\n".join(lines))
    out = read(tmp_path / "e.jsonl")
    assert len(out.interactions) == 29
    assert "text now" in out.interactions.user_ids.tolist()
    assert "1 lines" in out.card["warnings"][0]
    assert "line 10" in out.card["warnings"][0]
    assert out.card["decisions"][0]["count"] == 1


def test_the_guess_is_shown_and_can_be_set(tmp_path, capsys):
    (tmp_path / "e.csv").write_text("reader,isbn,lent_by,when\na,x,b,3\nb,y,a,4\n")
    prepare(tmp_path / "e.csv")
    assert "user_id = reader, item_id = isbn" in capsys.readouterr().err
    out = read(tmp_path / "e.csv", columns={"user_id": "lent_by", "timestamp": "when"})
    assert triples(out) == [("a", "y", 4), ("b", "x", 3)]


def test_a_column_that_is_not_there_names_the_nearest(tmp_path):
    (tmp_path / "e.csv").write_text("reader,isbn\na,x\n")
    with pytest.raises(DataError, match=r"unknown column 'raeder' in .*e\.csv.*did you mean 'reader'"):
        read(tmp_path / "e.csv", columns={"user_id": "raeder"})
    with pytest.raises(DataError, match=r"unknown role 'user'.*did you mean"):
        read(tmp_path / "e.csv", columns={"user": "reader"})


def test_missing_columns(tmp_path):
    (tmp_path / "e.csv").write_text("alpha,beta\n1,2\n")
    with pytest.raises(DataError, match="no column for user_id and item_id; it has alpha, beta"):
        read(tmp_path / "e.csv")


def test_files_without_a_header_are_taken_by_position_and_it_is_said(tmp_path):
    (tmp_path / "e.csv").write_text("A1,B1,5.0,1500000000\nA1,B2,4.0,1500000009\n")
    out = read(tmp_path / "e.csv")
    assert triples(out) == [("A1", "B1", 1500000000), ("A1", "B2", 1500000009)]
    assert out.interactions.ratings.tolist() == [5, 4]
    assert "no header line" in out.card["decisions"][0]["what"]
    (tmp_path / "three.tsv").write_text("1\t2\t1500000000\n1\t3\t1500000009\n")
    assert [t for _, _, t in triples(read(tmp_path / "three.tsv"))] == [1500000000, 1500000009]
    swapped = read(tmp_path / "e.csv", columns={"user_id": "item_id", "item_id": "user_id"})
    assert triples(swapped) == [("B1", "A1", 1500000000), ("B2", "A1", 1500000009)]


def test_ids_with_quotes_commas_newlines_and_unicode_come_through(tmp_path):
    hard = ['say "hi"', "a,b", "two\nlines", "naïve 日本 🎬", " spaced "]
    frame = pl.DataFrame({"user": hard * 2, "item": ["x"] * 5 + ["y"] * 5})
    frame.write_csv(tmp_path / "e.csv")
    out = read(tmp_path / "e.csv")
    assert sorted(out.interactions.user_ids.tolist()) == sorted(hard)
    assert len(out.interactions) == 10


def test_lines_with_a_wrong_number_of_fields_are_counted(tmp_path):
    body = "".join(f"u{n},i{n},{n}\n" for n in range(40))
    (tmp_path / "e.csv").write_text("user,item,order\n" + body + "u1,i,too,many\nu2,few\n")
    out = read(tmp_path / "e.csv")
    assert len(out.interactions) == 40
    assert "2 lines" in out.card["warnings"][0]
    assert "first: line 42 has 4" in out.card["warnings"][0]
    assert sum(d["count"] for d in out.card["decisions"] if "dropped" in d["what"]) == 2


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("header", ["user,item,order,rating\n", ""])
def test_lines_short_of_their_last_field_are_counted_and_blank_last_fields_are_not(tmp_path, header, packed):
    body = "".join(f"u{n},i{n},{n},{'' if n % 2 else 5}\n" for n in range(40))
    data = (header + body + 'u1,short,9\n\n"a, ""b""\nc",i,3,4\nu2\n').encode()
    path = tmp_path / ("e.csv.gz" if packed else "e.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    columns = {} if header else {"timestamp": "rating", "rating": "timestamp"}  # by position, the time is the last
    out = read(path, columns=columns)
    assert len(out.interactions) == 41
    assert 'a, "b"\nc' in out.interactions.user_ids.tolist()
    assert "short" not in out.interactions.item_ids.tolist()
    assert any("2 lines" in w and f"first: line {42 if header else 41} has 3" in w for w in out.card["warnings"])
    assert sum(d["count"] for d in out.card["decisions"] if "dropped" in d["what"]) == 2


def test_a_blank_last_column_is_no_reason_to_drop(tmp_path):
    (tmp_path / "e.tsv").write_text("user\titem\trating\n" + "".join(f"u{n}\ti{n}\t\n" for n in range(5)))
    out = read(tmp_path / "e.tsv")
    assert len(out.interactions) == 5
    assert not [w for w in out.card["warnings"] if "fields" in w]


def test_an_unclosed_quote_is_an_error_that_names_the_line(tmp_path):
    (tmp_path / "e.csv").write_text('user,item\na,x\nb,"y\nc,z\n')
    with pytest.raises(DataError, match=r"e\.csv cannot be read as a table, near line 4"):
        read(tmp_path / "e.csv")


def test_latin_1_is_read_with_a_warning_and_can_be_set(tmp_path):
    (tmp_path / "e.csv").write_bytes("user,item\nJosé,café\n".encode("latin-1"))
    out = read(tmp_path / "e.csv")
    assert out.interactions.user_ids.tolist() == ["José"]
    assert "not UTF-8" in out.card["warnings"][0]
    assert read(tmp_path / "e.csv", options={"encoding": "cp1252"}).interactions.item_ids.tolist() == ["café"]
    with pytest.raises(DataError, match="cannot be read as 'ascii'"):
        read(tmp_path / "e.csv", options={"encoding": "ascii"})


def test_a_byte_order_mark_does_not_become_part_of_a_name(tmp_path):
    (tmp_path / "e.csv").write_bytes(b"\xef\xbb\xbfuser,item\na,x\n")
    assert triples(read(tmp_path / "e.csv"))[0][:2] == ("a", "x")


@pytest.mark.parametrize(
    ("content", "message"), [("", "is empty"), ("\n\n", "blank lines"), ("user,item\n", "no events")]
)
def test_empty_files(tmp_path, content, message):
    (tmp_path / "e.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "e.csv")


@pytest.mark.parametrize("name", ["e.csv.gz", "e.jsonl.gz", "e.tsv"])
def test_a_truncated_gz_is_an_error_and_nothing_is_read(tmp_path, name):
    lines = "".join(f"u{n * 7919},i{n * 104729},{n}\n" for n in range(5000))
    packed = gzip.compress(("user,item,order\n" + lines).encode())
    (tmp_path / name).write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"damaged or cut gzip.*download it again"):
        read(tmp_path / name)


def test_an_empty_gz(tmp_path):
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match=r"blank lines|empty"):
        read(tmp_path / "e.csv.gz")


def test_not_a_parquet_file(tmp_path):
    (tmp_path / "e.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="not a readable parquet file"):
        read(tmp_path / "e.parquet")


def test_a_folder_instead_of_a_file(tmp_path):
    (tmp_path / "inside.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"no reader recognises .* \(a folder with inside\.csv\)"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"is a folder, not a file \(it holds inside\.csv\)"):
        read(tmp_path, reader="table")


def test_item_and_user_texts_from_further_files(tmp_path):
    (tmp_path / "e.csv").write_text(CSV)
    (tmp_path / "things.jsonl").write_text('{"id": "i1", "name": "First", "genres": ["A", "B"], "year": 1999}\n')
    (tmp_path / "people.csv").write_text("user_id,about\nu2,likes quiet books\n")
    options = {"items": str(tmp_path / "things.jsonl"), "users": str(tmp_path / "people.csv")}
    out = read(tmp_path / "e.csv", options=options)
    assert out.catalogue.titles == ["First", "untitled item i2"]
    assert out.catalogue.items["categories"][0] == "A, B"
    assert out.catalogue.items["year"].to_list() == ["1999", None]
    assert out.catalogue.users["profile"].to_list() == [None, "likes quiet books"]


def test_repeated_and_missing_text_ids_name_the_file_with_the_texts(tmp_path):
    (tmp_path / "e.csv").write_text(CSV)
    (tmp_path / "things.csv").write_text("item,title\ni1,First\ni1,Again\n,Nobody\n")
    (tmp_path / "people.csv").write_text("user,profile\nu1,quiet\nu1,loud\n")
    options = {"items": str(tmp_path / "things.csv"), "users": str(tmp_path / "people.csv")}
    undo = {d["what"]: d["undo"] for d in read(tmp_path / "e.csv", options=options).card["decisions"]}
    kept = "texts with an id that came before, the first kept"
    assert undo[f"item {kept}"] == f"make the ids unique in {tmp_path / 'things.csv'}"
    assert undo[f"user {kept}"] == f"make the ids unique in {tmp_path / 'people.csv'}"
    assert undo["item texts without an id, dropped"] == f"give them an id in {tmp_path / 'things.csv'}"
    (tmp_path / "things.csv").write_text("label\nFirst\n")
    with pytest.raises(DataError, match=r"things\.csv: the table of items has no column item_id \(it has label\)"):
        read(tmp_path / "e.csv", options=options)


def test_a_misspelt_text_column_is_an_error_once_all_tables_are_read(tmp_path):
    (tmp_path / "e.csv").write_text(CSV)
    (tmp_path / "things.csv").write_text("item,product_title,kind\ni1,First,A\n")
    (tmp_path / "people.csv").write_text("user,words\nu1,quiet\n")
    options = {"items": str(tmp_path / "things.csv"), "users": str(tmp_path / "people.csv")}
    right = {"title": "product_title", "categories": "kind", "profile": "words", "user_id": "user", "item_id": "item"}
    out = read(tmp_path / "e.csv", options=options, columns=right)
    assert out.catalogue.titles[0] == "First"
    assert out.catalogue.users["profile"][0] == "quiet"
    near = r"unknown column 'product_titel' in .*things\.csv \(columns\.title\); did you mean 'product_title'"
    with pytest.raises(DataError, match=near):
        read(tmp_path / "e.csv", options=options, columns=right | {"title": "product_titel"})
    with pytest.raises(DataError, match=r"'wrods' in .*people\.csv.*did you mean 'words'"):
        read(tmp_path / "e.csv", options=options, columns=right | {"profile": "wrods"})
    with pytest.raises(DataError, match=r"'rating' in .*things\.csv.*3 known: item, kind, product_title"):
        read(tmp_path / "e.csv", options=options, columns={"description": "rating"})  # the events have it, to no use
    for role, side in (("description", "items"), ("profile", "users")):
        with pytest.raises(DataError, match=rf"columns\.{role} = 'words': there is no table of {side}"):
            read(tmp_path / "e.csv", columns={role: "words"})
    assert read(tmp_path / "e.csv", options=options, columns={"title": ""}).catalogue.titles[0] == "untitled item i1"


def test_titles_in_the_events_become_item_texts(tmp_path):
    (tmp_path / "e.csv").write_text("user,item,title\na,x,The X\nb,x,The X\nb,y,The Y\n")
    assert read(tmp_path / "e.csv").catalogue.titles == ["The X", "The Y"]


def test_unknown_options_name_the_known_ones(tmp_path):
    (tmp_path / "e.csv").write_text(CSV)
    with pytest.raises(Exception, match="did you mean 'separator'"):
        read(tmp_path / "e.csv", options={"seperator": ";"})


def test_a_header_that_ends_with_a_separator_costs_no_row(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        "user_id,item_id,timestamp,\n" + "".join(f"u{n},i{n % 3},{n}\n" for n in range(12)), encoding="utf-8"
    )
    assert len(prepare(path, quiet=True).interactions) == 12
