"""Members of [fuse] that may be left out: no texts, no model, no time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import interlingua
from interlingua.cli.run import planned
from interlingua.errors import ConfigError
from interlingua.progress import seconds_of
from interlingua.runs import opening, stages
from interlingua.runs import optional as optional_members
from interlingua.runs import recipe as recipes
from interlingua.runs.session import Session


def recipe(*members: Any, **data: Any) -> dict[str, Any]:
    return {
        "data": {"name": "planted", "filter": {"min_user": 2, "min_item": 2}, **data},
        "fuse": {"name": "sum", "members": list(members)},
        "evaluate": {"protocols": ["full"]},
    }


def names(session: Any) -> list[str]:
    return [member.name for member in session.recipe.members]


TEXT = {"name": "by-text", "optional": True, "backbone": {"name": "textknn"}, "text": {"name": "lsa", "dim": 16}}


def events(path: Path) -> Path:
    """Events alone: no catalogue, so no texts."""
    made = pl.DataFrame(
        {"user_id": [f"u{n % 30}" for n in range(300)], "item_id": [f"i{n * 7 % 40}" for n in range(300)]}
    )
    made.unique(maintain_order=True).write_csv(path)
    return path


def test_without_texts_what_reads_them_is_left_out_and_the_run_opens(tmp_path: Path, capsys: Any) -> None:
    values = recipe("pop", "itemknn", TEXT, name=str(events(tmp_path / "events.csv")))
    session = stages.run(values, out=tmp_path / "runs")
    assert names(session) == ["pop", "itemknn"]
    assert "goes on without the member 'by-text'" in capsys.readouterr().err
    assert names(opening.open_session(session.path)) == ["pop", "itemknn"]
    assert interlingua.load(session.path).recommend("u1", k=3)
    again = stages.run(values, out=tmp_path / "runs")
    assert again.path == session.path
    assert set(again.reused) >= {"fuse", "evaluate"}


RECENT = {"name": "recent", "optional": True, "backbone": {"name": "pop", "last_share": 0.1}}


def test_without_times_what_counts_the_last_events_is_left_out(tmp_path: Path, capsys: Any) -> None:
    rows = pl.read_csv(events(tmp_path / "rows.csv"))
    rows.with_columns(timestamp=pl.lit(1_700_000_000)).write_csv(tmp_path / "one.csv")
    rows.with_row_index("timestamp", 1_700_000_000).write_csv(tmp_path / "timed.csv")
    for name, kept in (("rows", []), ("one", []), ("timed", ["recent"])):
        values = recipe("pop", "itemknn", RECENT, name=str(tmp_path / f"{name}.csv"))
        session = stages.run(values, out=tmp_path / "runs", device="cpu")
        assert names(session) == ["pop", "itemknn", *kept], name
        said = capsys.readouterr().err
        assert ("goes on without the member 'recent': it needs events with times" in said) == (not kept)


def test_all_round_counts_the_last_events_only_where_there_are_times() -> None:
    assert "recently-popular" in recipes.load("all-round").optional


def test_a_missing_model_leaves_out_its_member_alone(tmp_path: Path) -> None:
    away = {"name": "sbert", "model": str(tmp_path / "nowhere")}
    member = {"name": "sentences", "optional": True, "backbone": {"name": "textknn"}, "text": away}
    session = stages.run(recipe("pop", "itemknn", member), out=tmp_path / "runs")
    assert names(session) == ["pop", "itemknn"]
    with pytest.raises(ConfigError, match="nowhere"):
        stages.run(recipe("pop", "itemknn", member | {"optional": False}), out=tmp_path / "runs")


def test_with_texts_and_time_nobody_is_left_out_and_the_key_is_the_plain_recipes(tmp_path: Path) -> None:
    may = stages.run(recipe("pop", {"name": "itemknn", "optional": True}, TEXT), out=tmp_path / "runs", budget="1h")
    must = stages.run(recipe("pop", "itemknn", TEXT | {"optional": False}), out=tmp_path / "runs")
    assert names(may) == ["pop", "itemknn", "by-text"]
    assert may.path == must.path


def test_a_budget_takes_members_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    takes = {"pop": 5.0, "itemknn": 40.0, "ease": 30.0, "bm25": 20.0}
    monkeypatch.setattr(optional_members, "seconds_of_member", lambda member, data: takes[member.recipe.name])
    may = [{"name": name, "optional": True} for name in ("itemknn", "ease", "bm25")]
    chosen = {100: ["pop", "itemknn", "ease", "bm25"], 70: ["pop", "itemknn", "bm25"], "30 s": ["pop", "bm25"]}
    for budget, expected in chosen.items():
        session = stages.run(recipe("pop", *may), out=tmp_path / "runs", budget=budget)
        assert names(session) == expected
    with pytest.raises(ConfigError, match=r"two or more members, and 1 can be made here .*itemknn: it would take"):
        stages.run(recipe("pop", *may), out=tmp_path / "runs", budget=10)


def test_the_same_budget_makes_the_same_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates differ from call to call, and finished stages take nothing."""
    takes = iter([5.0, 40.0, 30.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(optional_members, "seconds_of_member", lambda member, data: next(takes))
    values = recipe("pop", *({"name": name, "optional": True} for name in ("itemknn", "ease")))
    first = stages.run(values, out=tmp_path / "runs", budget=50)
    assert names(first) == ["pop", "itemknn"]
    again = stages.run(values, out=tmp_path / "runs", budget=50)
    assert names(again) == ["pop", "itemknn"]
    assert again.path == first.path
    assert names(stages.run(values, out=tmp_path / "runs", budget=51)) == ["pop", "itemknn", "ease"]


def test_a_dry_run_shows_the_recipe_that_would_run_and_keeps_nothing(tmp_path: Path) -> None:
    slow = {"name": "slow", "optional": True, "backbone": {"name": "sasrec", "fit": {"epochs": 100_000}}}
    away = {
        "name": "away",
        "optional": True,
        "backbone": {"name": "textknn"},
        "text": {"name": "sbert", "model": "/no"},
    }
    resolved = recipes.resolve(recipe("pop", "itemknn", slow, away))
    rows = json.loads(planned(Session(resolved, tmp_path / "runs", 7, "cpu"), True, "1min"))
    assert [row["name"] for row in rows if row["stage"].endswith("train")] == ["pop", "itemknn"]
    assert not (tmp_path / "runs").exists()
    session = stages.run(resolved, out=tmp_path / "runs", device="cpu", budget="1min")
    assert {row["key"] for row in rows} == {made.key for made in session.done.values()}
    with pytest.raises(ConfigError, match="no length of time"):
        planned(Session(resolved, tmp_path / "runs", 7, "cpu"), True, "banana")


def test_estimates_of_real_members_decide(tmp_path: Path) -> None:
    slow = {"name": "slow", "optional": True, "backbone": {"name": "sasrec", "fit": {"epochs": 100_000}}}
    session = stages.run(recipe("pop", "itemknn", slow), out=tmp_path / "runs", budget="1min")
    assert names(session) == ["pop", "itemknn"]


def test_a_budget_needs_somebody_to_leave_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has none; leave the budget out"):
        stages.run(recipe("pop", "itemknn"), out=tmp_path / "runs", budget="1min")
    with pytest.raises(ConfigError, match="optional is true or false, got 'yes'"):
        stages.run(recipe("pop", "itemknn", TEXT | {"optional": "yes"}), out=tmp_path / "runs")


@pytest.mark.parametrize(("text", "seconds"), [("10min", 600), ("1.5h", 5400), ("90 s", 90), (12, 12), ("7", 7)])
def test_lengths_of_time(text: Any, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "ten minutes", "-3", "0", "5 days", "1e999", "nan", "10 m"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ConfigError, match="no length of time"):
        seconds_of(text)
