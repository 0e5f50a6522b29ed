from __future__ import annotations

import polars as pl
import pytest

from interlingua import registry
from interlingua.data.datasets import KNOWN
from interlingua.data.prepare import FilterConfig, SplitConfig, prepare
from interlingua.data.raw import Log
from interlingua.data.source import locate, recognise
from interlingua.errors import ConfigError, DataError
from interlingua.storage.cached import cache_folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERLINGUA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("INTERLINGUA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder(path):
    path.mkdir(parents=True)
    pl.DataFrame({"user_id": ["a"], "item_id": ["x"]}).write_parquet(path / "interactions.parquet")
    return path


def test_a_path_comes_first_then_the_variable_then_the_cache(places):
    cached = folder(places / "cache" / "datasets" / "amazon-beauty-2014")
    assert locate("amazon-beauty-2014", Log(True)) == cached
    named = folder(places / "data" / "amazon-beauty-2014")
    assert locate("amazon-beauty-2014", Log(True)) == named
    folder(places / "amazon-beauty-2014")
    assert locate("amazon-beauty-2014", Log(True)).resolve().parent == places.resolve()


def test_a_folder_may_have_the_publishers_name(places):
    own = places / "data" / "ml-latest-small"
    own.mkdir(parents=True)
    (own / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3,1500000000\n")
    assert locate("movielens-small", Log(True)) == own


def test_nowhere_names_places_url_licence_and_folder(places):
    with pytest.raises(DataError) as caught:
        locate("amazon-beauty-2014", Log(True))
    text = str(caught.value)
    assert "https://jmcauley.ucsd.edu/data/amazon/" in text
    assert str(places / "cache" / "datasets" / "amazon-beauty-2014") in text
    assert "INTERLINGUA_DATA" in text
    assert "no licence stated" in text


def test_unknown_names_and_paths(places):
    with pytest.raises(DataError, match="did you mean 'movielens-small'"):
        locate("movielens-smal", Log(True))
    with pytest.raises(DataError, match=r"no file or folder here/there\.csv"):
        locate("here/there.csv", Log(True))


def test_any_folder_of_the_data_variable_can_be_named(places):
    made = folder(places / "data" / "ours")
    assert locate("ours", Log(True)) == made


def test_the_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.delenv("INTERLINGUA_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "interlingua"


def test_no_reader_recognises(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"PNG")
    with pytest.raises(DataError, match=r"no reader recognises .*picture.png.*table"):
        recognise(tmp_path / "picture.png")
    with pytest.raises(DataError, match=r"a folder with picture.png"):
        recognise(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="nothing in it"):
        recognise(tmp_path / "empty")


def test_what_cannot_be_read_at_all():
    with pytest.raises(DataError, match=r"cannot read a builtins\.int"):
        prepare(42, quiet=True)


def test_every_reader_is_listed_and_has_the_contract():
    names = registry.names("data")
    assert names == sorted(["amazon", "movielens", "parquet-folder", "planted", "recbole", "rlmrec", "table"])
    for name in names:
        reader = registry.find("data", name)
        assert reader.__doc__
        assert callable(reader.matches)
        assert callable(reader.read)


def test_known_datasets_are_complete():
    for name, known in KNOWN.items():
        assert known.name == name
        assert known.about
        assert known.licence
        assert known.reader in registry.names("data")
        assert known.generated or known.url.startswith("https://")
        if known.download is not None and known.download.sha256 is not None:
            assert len(known.download.sha256) == 64


COUNTS = {
    "movielens-small": (610, 3650, 90274),
    "ml-1m": (6040, 3416, 999611),
    "amazon-beauty-2014": (22363, 12101, 198502),
    "amazon-games-2018": (50546, 16859, 452989),
}


@pytest.mark.data
@pytest.mark.parametrize("name", COUNTS)
def test_five_core_counts_of_the_real_datasets(data_root, name):
    counts = prepare(name, filter=FilterConfig(min_user=5, min_item=5), quiet=True).card["counts"]
    assert (counts["users"], counts["items"], counts["events"]) == COUNTS[name]


@pytest.mark.data
def test_the_rlmrec_split_is_the_papers(data_root):
    out = prepare("rlmrec-amazon", split=SplitConfig(name="given"), quiet=True)
    counts = out.card["counts"]
    assert (counts["users"], counts["items"]) == (11000, 9332)
    assert (counts["train"], counts["valid"], counts["test"]) == (120464, 40290, 40106)
    assert not out.split.valid_in_test_history


def a_folder(tmp_path, reader):
    """The smallest folder that each reader reads."""
    if reader == "movielens":
        (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,5,1500000000\n")
        (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A,B\n")
    elif reader == "amazon":
        (tmp_path / "r.json").write_text('{"reviewerID": "a", "asin": "x", "unixReviewTime": 1500000000}')
    elif reader == "recbole":
        (tmp_path / "r.inter").write_text("user_id:token\titem_id:token\n1\t2\n")
    else:
        events = pl.DataFrame(
            {"user_id": ["a"], "item_id": ["x"], **({"split": ["trn"]} if reader == "rlmrec" else {})}
        )
        events.write_parquet(tmp_path / "interactions.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("reader", "given", "message"),
    [
        (
            "movielens",
            {"columns": {"timestamp": "when"}},
            r"movielens takes no columns \(got timestamp\).*tags",
        ),
        ("movielens", {"options": {"tag": False}}, "did you mean 'tags'"),
        ("amazon", {"columns": {"user_id": "x"}}, r"amazon takes no columns \(got user_id\).*options\.meta"),
        ("recbole", {"options": {"encodin": 1}}, "did you mean 'encoding'"),
        ("rlmrec", {"options": {"foo": 1}}, r"rlmrec takes no options \(got foo\)"),
        ("parquet-folder", {"options": {"foo": 1}}, r"parquet-folder takes no options \(got foo\); it takes columns"),
    ],
)
def test_settings_that_a_reader_does_not_take_are_refused(tmp_path, reader, given, message):
    folder = a_folder(tmp_path, reader)
    assert recognise(folder) == reader
    with pytest.raises(ConfigError, match=message):
        prepare(folder, quiet=True, **given)


def test_the_generated_world_and_frames_refuse_what_they_do_not_take():
    with pytest.raises(ConfigError, match=r"planted takes no columns \(got user_id\).*num_users"):
        prepare("planted", columns={"user_id": "x"}, quiet=True)
    frame = pl.DataFrame({"user": ["a"], "item": ["x"]})
    with pytest.raises(ConfigError, match=r"frames takes no options \(got header\)"):
        prepare(frame, options={"header": True}, quiet=True)
    with pytest.raises(ConfigError, match=r"frames takes no reader \(got table\)"):
        prepare(frame, reader="table", quiet=True)
