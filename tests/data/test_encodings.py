"""Quotes, encodings, line ends and long fields: read where there is no doubt, else the option that helps is named."""

from __future__ import annotations

import csv
import gzip

import pytest

from interlingua.data.clean import CleanConfig
from interlingua.data.prepare import prepare
from interlingua.errors import ConfigError, DataError

ROWS = [("a", "x", 1, "Amélie"), ("a", "y", 2, "Тень"), ("a", "z", 3, "Alien"), ("b", "x", 1, "Amélie")]
TEXT = "user,item,time,title\n" + "".join(f"{u},{i},{t},{title}\n" for u, i, t, title in ROWS)
LATIN = TEXT.replace("Тень", "Ombre")


def titles(path, **options):
    world = prepare(str(path), options=options, quiet=True)
    return world.catalogue.titles, world


def written(tmp_path, data, name="e.csv"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_mark_at_the_beginning_leaves_no_doubt(tmp_path, encoding, packed):
    data = TEXT.encode(encoding)
    path = written(tmp_path, gzip.compress(data) if packed else data, "e.csv.gz" if packed else "e.csv")
    found, world = titles(path)
    assert found == ["Amélie", "Тень", "Alien"]
    assert encoding == "utf-8-sig" or world.card["reading"]["encoding"] == encoding


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_asked_for_and_the_answer_works(tmp_path, encoding):
    path = written(tmp_path, TEXT.encode(encoding))
    with pytest.raises(DataError, match=rf'options\.encoding = "{encoding}"'):
        titles(path)
    assert titles(path, encoding=encoding)[0] == ["Amélie", "Тень", "Alien"]


def test_latin1_is_said_and_another_encoding_can_be_chosen(tmp_path):
    found, world = titles(written(tmp_path, LATIN.encode("latin-1")))
    assert found == ["Amélie", "Ombre", "Alien"]
    assert any("options.encoding" in w for w in world.card["warnings"])
    path = written(tmp_path, TEXT.encode("cp1251", "replace"))
    found, world = titles(path, encoding="cp1251")
    assert found[1] == "Тень"
    assert world.card["reading"]["encoding"] == "cp1251"
    with pytest.raises(DataError, match=r"set another options\.encoding"):
        titles(path, encoding="utf-8")


def test_carriage_returns_alone_end_lines(tmp_path):
    found, world = titles(written(tmp_path, TEXT.replace("\n", "\r").encode()))
    assert found == ["Amélie", "Тень", "Alien"]
    assert world.card["reading"]["line ends"] == "carriage returns alone"


def test_a_long_field_beside_a_bad_line_is_read(tmp_path):
    long = "word " * 40_000
    path = written(tmp_path, f"user,item,time,title\na,x,1,{long}\na,y,2,T,more,more\na,z,3,T\na,w,4,W\n".encode())
    before = csv.field_size_limit()
    found = prepare(str(path), clean=CleanConfig(max_bad_share=0.5), quiet=True)
    assert sorted(len(t) for t in found.catalogue.titles)[-1] == len(long.strip())
    assert csv.field_size_limit() == before


LONE = 'user\titem\ttime\ttitle\na\tx\t1\t"Hello world\na\ty\t2\tPlain\na\tz\t3\t12" disk\nb\tx\t1\t"Hello world\n'


def test_a_lone_quote_names_the_option_and_the_option_works(tmp_path):
    path = written(tmp_path, LONE.replace('b\tx\t1\t"Hello world\n', "").encode(), "e.tsv")
    with pytest.raises(DataError, match=r'options\.quote = "none"'):
        titles(path)
    found, world = titles(path, quote="none")
    assert found == ['"Hello world', "Plain", '12" disk']
    assert world.card["reading"]["quotes"] == "none encloses values"


def test_rows_that_two_lone_quotes_swallowed_are_warned_about(tmp_path):
    path = written(tmp_path, b'user,item,time,title\na,x,1,"Hello\na,y,2,Plain\na,z,3,"\nb,x,1,T\n')
    assert any('options.quote = "none"' in w for w in prepare(str(path), quiet=True).card["warnings"])
    path = written(tmp_path, b'user,item,time,title\na,x,1,"two\nlines, one comma"\nb,x,1,T\n')
    assert not any("options.quote" in w for w in prepare(str(path), quiet=True).card["warnings"])


def test_other_quotes(tmp_path):
    path = written(tmp_path, b"user,item,time,title\na,x,1,'One, two'\na,y,2,'Three'\n")
    assert titles(path, quote="'")[0] == ["One, two", "Three"]
    with pytest.raises(ConfigError, match="quote"):
        titles(path, quote="~")
