"""The prepare stage's key follows what the source's files hold, those that its options name included."""

import pytest

from interlingua.runs import recipe, stages
from interlingua.runs.plan import make_plan, source_fingerprint
from interlingua.storage import artifact


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"u{u},i{(u + n) % 7},{n}" for u in range(8) for n in range(5)]
    (tmp_path / "events.csv").write_text("\n".join(["user,item,time", *rows]))
    (tmp_path / "cat.csv").write_text("item,title\ni1,Old title\n")
    (tmp_path / "people.csv").write_text("user,profile\nu1,quiet\n")
    return tmp_path


def resolved(*sets):
    return recipe.load("pop", ['evaluate.protocols=["full"]', *sets], "events.csv")


def key(*sets):
    return make_plan(resolved(*sets), 7)["prepare"].key


def test_an_edited_catalogue_is_prepared_anew(shop):
    asked = resolved("data.options.items=cat.csv")
    first = stages.run(asked, out=shop / "runs")
    again = stages.run(asked, out=shop / "runs")
    assert "prepare" in again.reused
    (shop / "cat.csv").write_text("item,title\ni1,New title\n")
    edited = stages.run(asked, out=shop / "runs")
    assert "prepare" not in edited.reused
    assert first.data.catalogue.titles[1] == "Old title"
    assert edited.data.catalogue.titles[1] == "New title"


@pytest.mark.parametrize("option", ["items", "users"])
def test_every_named_file_counts_by_its_contents(shop, option):
    file = shop / {"items": "cat.csv", "users": "people.csv"}[option]
    before = key(f"data.options.{option}={file}")
    file.write_text(file.read_text() + "x,y\n")
    assert key(f"data.options.{option}={file}") != before


def test_options_that_name_no_file_add_nothing(shop):
    source = {"events.csv": artifact.file_hash(shop / "events.csv"), "reader": "version 1"}
    odd = {"separator": ",", "header": True, "items": "gone.csv", "encoding": "~nobody/x" * 999, "n": 3, "users": None}
    for options in ({}, odd):
        assert source_fingerprint("events.csv", options) == source
    assert source_fingerprint("planted", {"num_users": 20}) == {"reader": "version 1"}
