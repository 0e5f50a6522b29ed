from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from interlingua.config import build
from interlingua.data.clean import CleanConfig
from interlingua.data.prepare import DataConfig, FilterConfig, SplitConfig, load, prepare, prepare_config, save
from interlingua.data.prepared import id_array, is_prepared
from interlingua.data.sources import planted
from interlingua.errors import ConfigError, DataError

EVENTS = pl.DataFrame(
    {
        "user": ["b", "a", "a", "a", "b", "b", "c"],
        "item": ["x", "z", "x", "y", "y", "w", "x"],
        "time": [3, 1, 2, 3, 1, 2, 1],
        "rating": [5.0, 4, 3, 2, 1, 5, 4],
    }
)
ITEMS = pl.DataFrame({"item": ["w", "x", "never"], "title": ["W title", "", "Never seen"], "genres": ["A", "B", "C"]})


def tiny(**more):
    return prepare({"interactions": EVENTS, "items": ITEMS}, quiet=True, **more)


def same(a, b):
    return (
        a.fingerprint == b.fingerprint
        and a.card == b.card
        and (a.interactions.items == b.interactions.items).all()
        and (a.interactions.user_ids == b.interactions.user_ids).all()
        and a.catalogue.items.equals(b.catalogue.items)
        and a.catalogue.domain == b.catalogue.domain
        and (a.parts == b.parts).all()
        and (a.split.test.items == b.split.test.items).all()
        and a.split.valid_in_test_history == b.split.valid_in_test_history
        and a.split.horizon == b.split.horizon
    )


def test_rows_are_sorted_by_user_and_time_with_sorted_ids():
    out = tiny()
    assert out.interactions.user_ids.tolist() == ["a", "b", "c"]
    assert out.interactions.item_ids.tolist() == ["w", "x", "y", "z"]
    assert out.interactions.items.tolist() == [3, 1, 2, 2, 0, 1, 1]
    assert out.interactions.ratings.tolist() == [4, 3, 2, 1, 5, 5, 4]
    assert out.split.train.items.tolist() == [3, 2, 1]
    assert out.split.test.items.tolist() == [2, 1]


def test_catalogue_follows_the_item_rows_and_says_what_is_missing():
    out = tiny()
    assert out.catalogue.items["item_id"].to_list() == ["w", "x", "y", "z"]
    assert out.catalogue.titles == ["W title", "untitled item x", "untitled item y", "untitled item z"]
    said = {d["what"]: d["count"] for d in out.card["decisions"]}
    assert said["catalogue items without an event, left out"] == 1
    assert said['items without a title, shown as "untitled item ID"'] == 3
    assert said["items without any text, kept"] == 2  # x has a genre


def test_items_whose_events_the_filter_left_out_are_told_from_those_without_any():
    out = tiny(filter=FilterConfig(min_item=2))
    said = {d["what"]: d["count"] for d in out.card["decisions"]}
    assert out.catalogue.items["item_id"].to_list() == ["x", "y"]
    assert said["catalogue items without an event, left out"] == 1
    assert said["catalogue items whose events the filter left out"] == 1  # w; z has no row


def test_items_without_events_can_be_kept_as_rows():
    out = tiny(filter=FilterConfig(items_without_events="keep"))
    assert out.interactions.item_ids.tolist() == ["never", "w", "x", "y", "z"]
    assert out.split.train.item_counts[0] == 0
    assert out.interactions.items.tolist() == [4, 2, 3, 3, 1, 2, 2]
    assert out.catalogue.titles[0] == "Never seen"


def test_filters_renumber_users_and_items():
    out = tiny(filter=FilterConfig(min_user=2, min_item=2))
    assert out.interactions.user_ids.tolist() == ["a", "b"]
    assert out.interactions.item_ids.tolist() == ["x", "y"]
    assert out.interactions.items.tolist() == [0, 1, 1, 0]


def test_filtering_everything_away_is_an_error():
    with pytest.raises(DataError, match="none is left after the filter"):
        tiny(filter=FilterConfig(min_user=10))


def test_the_order_of_the_rows_does_not_matter_where_times_differ():
    shuffled = EVENTS.sample(fraction=1.0, shuffle=True, seed=3)
    assert tiny().fingerprint == prepare({"interactions": shuffled, "items": ITEMS}, quiet=True).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.with_columns(pl.col("item").replace("x", "q")),
        lambda e: e.with_columns(time=pl.col("time").replace(3, 4)),
        lambda e: e.with_columns(rating=pl.lit(1.0)),
        lambda e: e.drop("rating"),
        lambda e: e.head(6),
    ],
)
def test_any_change_of_the_data_changes_the_fingerprint(change):
    assert prepare(change(EVENTS), quiet=True).fingerprint != prepare(EVENTS, quiet=True).fingerprint


def test_texts_split_and_words_are_part_of_the_fingerprint():
    base = tiny().fingerprint
    other = ITEMS.with_columns(genres=pl.lit("A"))
    assert prepare({"interactions": EVENTS, "items": other}, quiet=True).fingerprint != base
    assert tiny(split=SplitConfig(name="ratio")).fingerprint != base
    assert tiny(domain={"noun": "movie"}).fingerprint != base


def test_save_and_load_give_the_same_dataset(tmp_path):
    out = tiny(domain={"noun": "film", "verb": "see"})
    save(out, tmp_path / "deep" / "folder")
    again = load(tmp_path / "deep" / "folder")
    assert same(out, again)
    assert again.catalogue.domain.past == "chosen"
    frame = pl.read_parquet(tmp_path / "deep" / "folder" / "interactions.parquet")
    assert frame.columns == ["user_id", "item_id", "timestamp", "rating", "part"]
    assert frame["part"].to_list()[:3] == ["train", "valid", "test"]


def test_save_and_load_with_hard_ids_users_and_no_ratings(tmp_path):
    hard = ['"', "a,b", "x\ny", "日本", " ", "end\0"]
    frame = pl.DataFrame({"user_id": hard * 3, "item_id": [f"{i}{h}" for i in range(3) for h in hard]})
    users = pl.DataFrame({"user_id": hard, "profile": [f"likes {n}" for n in range(6)]})
    out = prepare({"interactions": frame, "users": users}, quiet=True)
    assert sorted(out.interactions.user_ids.tolist()) == sorted(hard)
    save(out, tmp_path)
    again = load(tmp_path)
    assert same(out, again)
    assert again.catalogue.users.equals(out.catalogue.users)
    assert again.card["time"]["kind"] == "order"


def test_a_prepared_folder_is_a_source_again(tmp_path):
    first = tiny(domain={"noun": "film"}, filter=FilterConfig(min_item=2))
    save(first, tmp_path)
    second = prepare(tmp_path, quiet=True)
    assert second.interactions.items.tolist() == first.interactions.items.tolist()
    assert second.catalogue.domain.noun == "film"
    assert (second.parts == first.parts).all()
    given = prepare(tmp_path, split=SplitConfig(name="given"), quiet=True)
    assert (given.parts == first.parts).all()


def test_a_prepared_folder_is_used_as_it_is_where_nothing_else_is_said(tmp_path):
    kept = tiny(split=SplitConfig(name="ratio", test=0.4), filter=FilterConfig(items_without_events="keep"))
    save(kept, tmp_path)
    assert same(prepare(tmp_path, quiet=True), kept)
    assert same(prepare_config(build(DataConfig, {"name": str(tmp_path)}, "[data]"), 99), kept)
    other = prepare_config(build(DataConfig, {"name": str(tmp_path), "split": "leave-one-out"}, "[data]"), 0)
    assert other.split.protocol == "leave-one-out"
    assert "never" in other.interactions.item_ids.tolist()  # what was kept on purpose stays


def test_loading_what_is_not_there_or_damaged(tmp_path):
    with pytest.raises(DataError, match="holds no prepared dataset"):
        load(tmp_path)
    assert not is_prepared(tmp_path)
    save(tiny(), tmp_path)
    assert is_prepared(tmp_path)
    frame = pl.read_parquet(tmp_path / "interactions.parquet")
    frame.with_columns(timestamp=pl.col("timestamp") + 1).write_parquet(tmp_path / "interactions.parquet")
    with pytest.raises(DataError, match="changed after it was written"):
        load(tmp_path)
    (tmp_path / "interactions.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="incomplete or damaged"):
        load(tmp_path)
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(DataError, match="not the card of a prepared dataset"):
        load(tmp_path)


def test_a_newer_schema_is_refused(tmp_path):
    save(tiny(), tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | {"schema": 99}))
    with pytest.raises(DataError, match="has schema 99"):
        load(tmp_path)


def test_a_failed_save_leaves_the_dataset_that_was_there(tmp_path, monkeypatch):
    before = tiny()
    save(before, tmp_path / "kept")
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    write = pl.DataFrame.write_parquet

    def full(frame, file, **options):
        if file.name == "users.parquet":  # the third file: two were written
            raise OSError(28, "No space left on device")
        write(frame, file, **options)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    for name in ("kept", "fresh"):
        with pytest.raises(DataError, match=rf"cannot write the dataset to .*{name}.*No space left"):
            save(tiny(filter=FilterConfig(min_user=2)), tmp_path / name)
    assert same(load(tmp_path / "kept"), before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept"]
    monkeypatch.undo()
    after = tiny(filter=FilterConfig(min_user=2))
    save(after, tmp_path / "kept")
    assert same(load(tmp_path / "kept"), after)
    names = ["card.json", "interactions.parquet", "items.parquet", "notes.txt", "users.parquet"]
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == names


FULL_DISK = """
import resource, sys
from interlingua.data.prepare import prepare, save
from interlingua.errors import DataError

resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
rows = {"user": [f"u{n * 7919}" for n in range(3000)], "item": [f"i{n * 104729}" for n in range(3000)]}
world = prepare(rows, quiet=True)
try:
    save(world, sys.argv[1])
except DataError as error:
    print(error)
"""


def test_a_full_disk_under_polars_is_an_error_without_a_traceback(tmp_path):
    save(tiny(), tmp_path)
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "cannot write the dataset to" in done.stdout, done.stderr
    assert same(load(tmp_path), tiny())


def test_saving_overwrites_neither_other_files_nor_the_source(tmp_path):
    EVENTS.write_parquet(tmp_path / "interactions.parquet")
    before = (tmp_path / "interactions.parquet").read_bytes()
    for prepared in (tiny(), prepare(tmp_path, quiet=True)):
        with pytest.raises(DataError, match=r"(something else than a prepared dataset|would overwrite it)"):
            save(prepared, tmp_path)
    assert (tmp_path / "interactions.parquet").read_bytes() == before
    made = save(prepare(tmp_path, quiet=True), tmp_path / "made")
    for prepared in (load(made), prepare(made, filter=FilterConfig(min_item=2), quiet=True)):
        with pytest.raises(DataError, match="would overwrite it"):
            save(prepared, made)
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "card.json").write_text("7")  # valid JSON, but no card
    with pytest.raises(DataError, match=r"something else.*card\.json"):
        save(tiny(), tmp_path / "cards")


def test_a_sample_of_users_is_seeded_and_logged():
    world = {"interactions": pl.DataFrame({"user": np.repeat(np.arange(50), 4), "item": np.tile(np.arange(4), 50)})}
    one, two, other = (prepare(world, max_users=10, seed=s, quiet=True) for s in (1, 1, 2))
    assert one.interactions.num_users == 10
    assert one.fingerprint == two.fingerprint
    assert one.interactions.user_ids.tolist() != other.interactions.user_ids.tolist()
    assert any(s["step"] == "sample of 10 users (seed 1)" and s["rows_out"] == 40 for s in one.card["steps"])


def test_id_arrays_are_fixed_width_strings_unless_that_would_change_or_bloat_them(monkeypatch):
    assert id_array(pl.Series(["a", "bcd"])).dtype == np.dtype("<U3")
    assert id_array(pl.Series(["a\0"])).tolist() == ["a\0"]
    monkeypatch.setattr("interlingua.data.prepared.MAX_ID_BYTES", 1000)
    assert id_array(pl.Series(["a", "b" * 200])).dtype == object


def test_the_recipe_section_reads_names_tables_and_rejects_typing_errors():
    config = build(DataConfig, {"name": "planted", "split": "ratio", "filter": {"min_user": 5}}, "[data]")
    assert config.split.name == "ratio"
    table = build(DataConfig, {"split": {"name": "ratio", "valid": 0.2}}, "[data]")
    assert table.split.valid == 0.2
    with pytest.raises(ConfigError, match=r"min_usr.*did you mean 'min_user'"):
        build(DataConfig, {"filter": {"min_usr": 5}}, "[data]")
    with pytest.raises(ConfigError, match="verbs"):
        build(DataConfig, {"domain": {"verbs": "see"}}, "[data]")


def test_the_recipe_section_prepares(capsys):
    config = build(DataConfig, {"name": "planted", "options": {"num_users": 30}, "clean": {"time_unit": "s"}}, "[data]")
    out = prepare_config(config, 3)
    assert out.fingerprint == planted.generate(30, seed=3).fingerprint
    assert "split leave-one-out" in capsys.readouterr().err


def test_every_step_has_rows_in_and_out():
    out = tiny(filter=FilterConfig(min_rating=2, min_item=2), clean=CleanConfig())
    rows = [(s["rows_in"], s["rows_out"]) for s in out.card["steps"]]
    assert rows[0][0] == EVENTS.height
    assert all(a[1] == b[0] for a, b in pairwise(rows))
    assert rows[-1][1] == len(out.interactions)
    json.dumps(out.card)
