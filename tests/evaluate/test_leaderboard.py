"""Which run is best: rows named by what differs, one board per dataset and protocol, one page that opens offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError, InterlinguaError
from interlingua.evaluate.naming import differences, labels, value_words
from interlingua.report.leaderboard_table import to_markdown
from interlingua.runs import stages
from interlingua.runs.leaderboard import leaderboards
from interlingua.runs.reports import compare_runs, load_run
from interlingua.runs.several import on_one_dataset, run_several
from interlingua.runs.stages import reevaluate

MF: dict[str, Any] = {"embedding_dim": 4, "fit": {"epochs": 2}}
WORLD = ("data.options={num_users=60, num_items=40}",)
Cli = Callable[..., tuple[int, str, str]]


def recipe(backbone: str, align: str | None = None, **options: Any) -> dict[str, Any]:
    """A resolved recipe."""
    parts = {"data": {"name": "d"}, "backbone": {"name": backbone, "fit": {"epochs": 3, "lr": 0.1}, "k": 5} | options}
    return parts | ({"align": {"name": align}} if align else {})


@pytest.mark.parametrize(
    ("recipes", "expected"),
    [
        ([recipe("a", k=5), recipe("a", k=9)], ["m (k=5)", "m (k=9)"]),
        ([recipe("a"), recipe("b", k=9)], ["m (backbone=a)", "m (backbone=b)"]),
        ([recipe("a"), recipe("a", "ridge")], ["m (no align)", "m (align=ridge)"]),
        ([recipe("a", fit={"epochs": 3}), recipe("a", fit={"epochs": 4})], ["m (epochs=3)", "m (epochs=4)"]),
        ([recipe("a", k=None), recipe("a", k=[1, 2])], ["m (k=none)", "m (k=1+2)"]),
        ([recipe("a", k=1, x={"k": 1}), recipe("a", k=2, x={"k": 3})], [
            "m (backbone.k=1, backbone.x.k=1)", "m (backbone.k=2, backbone.x.k=3)",
        ]),
        ([recipe("a"), recipe("a")], ["m (key0)", "m (key1)"]),
        ([recipe("a", k="x" * 50 + "1"), recipe("a", k="x" * 50 + "2")], None),
    ],
)  # fmt: skip
def test_rows_are_named_by_what_differs(recipes: list[dict[str, Any]], expected: list[str] | None) -> None:
    found = labels(["m"] * len(recipes), recipes, [f"key{n}" for n in range(len(recipes))])
    assert len(set(found)) == len(found)
    assert expected is None or found == expected


def test_names_that_differ_need_no_options() -> None:
    assert labels(["one", "two"], [recipe("a"), recipe("b")], ["", ""]) == ["one", "two"]
    assert value_words("/very/long/folder/with/many/parts/of/a/path/vectors.parquet") == "vectors.parquet"


options = st.fixed_dictionaries({"k": st.integers(0, 2), "fit": st.fixed_dictionaries({"k": st.integers(0, 2)})})
methods = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, "x", "y"]), options), min_size=2, max_size=5)


@given(methods)
def test_different_methods_have_different_names_and_equal_ones_no_differences(made: list[Any]) -> None:
    recipes = [recipe(backbone, align, **more) for backbone, align, more in made]
    found = labels(["m"] * len(recipes), recipes, [str(n) for n in range(len(recipes))])
    assert len(set(found)) == len(found)
    words = differences(recipes, absent=True)
    for one, first in zip(recipes, words, strict=True):
        for other, second in zip(recipes, words, strict=True):
            assert (one == other) == (first == second)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Item neighbours twice, popularity with two seeds, and popularity on other data."""
    out = tmp_path_factory.mktemp("boards")
    for neighbours in (20, 3):
        stages.run("itemknn", out=out, data=frame(60), overrides=[f"backbone.neighbours={neighbours}"])
    for seed in (7, 8):
        stages.run("pop", out=out, data=frame(60), overrides=['evaluate.protocols=["full"]'], seed=seed)
    stages.run("pop", out=out, data=frame(90))
    return out


def test_a_fused_run_costs_what_its_members_cost_too_and_shared_stages_once(tmp_path: Path) -> None:
    members = [{"name": "one", "backbone": {"name": "itemknn"}}, {"name": "two", "backbone": MF | {"name": "mf"}}]
    made = stages.run(
        {"data": {"name": "planted"}, "fuse": {"name": "sum", "members": members}}, out=tmp_path, overrides=WORLD
    )
    cards = {done.path: done.card for done in made.done.values()}
    assert len([path for path in cards if path.name.startswith("prepare")]) == 1
    found = load_run(made.path)
    assert found.seconds == pytest.approx(sum(card["seconds"] for card in cards.values()))
    assert found.parameters == sum(card.get("parameters", 0) for card in cards.values()) > 100 * 4


def frame(num_users: int) -> dict[str, Any]:
    """Events of a small world as columns."""
    events = generate(num_users=num_users, num_items=40, seed=3).interactions
    return {"user": events.users.astype(str), "item": events.items.astype(str), "time": events.times}


def test_one_board_per_dataset_and_protocol(root: Path) -> None:
    boards = leaderboards([root])
    seen = sorted((board.n_users, board.protocol.split(";")[0], len(board.entries)) for board in boards)
    assert seen == [(60, "full", 3), (60, "sampled-20", 2), (90, "full", 1), (90, "sampled-20", 1)]
    assert [len(board.entries) for board in boards] == [3, 2, 1, 1]
    assert [(entry.seeds, len(entry.runs)) for entry in boards[0].entries if entry.name == "pop"] == [(2, 2)]
    for board in boards:
        values = [entry.metrics[board.metrics[0]] for entry in board.entries]
        assert values == sorted(values, reverse=True)
        for entry in board.entries:
            assert all(load_run(path).reports for path in entry.runs)
            assert entry.seconds is not None
            low, high = entry.intervals[board.metrics[0]]
            assert low <= entry.metrics[board.metrics[0]] <= high
    both = next(board for board in boards if len(board.entries) == 2)
    assert {entry.name for entry in both.entries} == {"itemknn (neighbours=3)", "itemknn (neighbours=20)"}


def test_a_metric_a_protocol_or_a_slice_is_chosen(root: Path) -> None:
    boards = leaderboards([root], metrics=["hit@3"])
    assert {board.protocol.split(";")[0] for board in boards} == {"sampled-20"}
    assert all(board.metrics == ("hit@3",) for board in boards)
    assert {b.protocol.split(";")[0] for b in leaderboards([root], protocol="full")} == {"full"}
    cold = leaderboards([root], part="cold items", protocol="full")
    assert all(board.protocol.endswith("slice=cold items") for board in cold)
    assert cold[0].n_users < 90
    for bad in ({"metrics": ["ndcg@11"]}, {"protocol": "fool"}, {"part": "cold item"}):
        with pytest.raises(ConfigError, match="known"):
            leaderboards([root], **bad)


def test_a_damaged_run_is_left_out_and_said(tmp_path: Path) -> None:
    kept = stages.run("pop", out=tmp_path, data="planted", overrides=WORLD).path
    lost = stages.run("itemknn", out=tmp_path, data="planted", overrides=WORLD).path
    (lost / "protocols" / "full" / "metrics.json").write_text("{")
    boards = leaderboards([tmp_path])
    assert [entry.runs for board in boards for entry in board.entries] == [(kept,)] * len(boards)
    assert all(any(lost.name in warning for warning in board.warnings) for board in boards)


def test_another_retrieval_is_another_method(root: Path, tmp_path: Path) -> None:
    """Both stand under one protocol, and one of them must not replace the other."""
    made = stages.run("itemknn", out=tmp_path, data="planted", overrides=WORLD)
    reevaluate(made, made.recipe.evaluate.model_copy(update={"retrieve": 3}))
    (full,) = leaderboards([tmp_path], protocol="full")
    assert sorted(entry.name for entry in full.entries) == ["itemknn (retrieve=3)", "itemknn (retrieve=50)"]


def test_compare_names_rows_as_the_leaderboard_does(root: Path) -> None:
    named = {entry.name for board in leaderboards([root], protocol="sampled-20") for entry in board.entries}
    knn = sorted(root.glob("evaluate-itemknn-*"))
    (found,) = compare_runs(knn, protocol="sampled-20", metrics=["hit@1"])
    assert {row.name for row in found.rows} <= named


def test_the_command_shows_the_best_and_lists_stages(root: Path, cli: Cli) -> None:
    code, out, err = cli("runs", "--out", str(root), "--metric", "recall@20", "--json")
    assert code == 0, err
    boards = json.loads(out)["leaderboards"]
    assert boards == [board.to_json() for board in leaderboards([root], metrics=["recall@20"])]
    code, out, _ = cli("runs", str(root))
    assert "neighbours=3" in "".join(out.split("\n")).replace("│", "").replace(" ", "")
    code, out, _ = cli("runs", str(root), "--markdown", "--protocol", "full")
    assert "| itemknn (neighbours=3) |" in out
    code, out, _ = cli("runs", "--out", str(root), "--stages", "--json")
    assert {row["stage"] for row in json.loads(out)} == {"prepare", "train", "evaluate"}
    code, out, _ = cli("runs", "--out", str(root / "nothing"))
    assert (code, "no finished run" in out) == (0, True)


def test_several_recipes_have_one_split_and_resume(tmp_path: Path, cli: Cli) -> None:
    """Two shipped recipes with splits and filters of their own; the option that only one has goes to it."""
    asked = (
        "run", "pop", "mf", "--on", "planted", "--set", WORLD[0], "--set", "data.split=ratio",
        "--set", "backbone.fit.epochs=1", "--out", str(tmp_path),
    )  # fmt: skip
    code, out, err = cli(*asked, "--dry-run", "--json")
    assert (code, list(json.loads(out))) == (0, ["pop", "mf"])
    assert not list(tmp_path.iterdir())
    code, out, err = cli(*asked, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert list(answer["runs"]) == ["pop", "mf"]
    assert {len(board["entries"]) for board in answer["leaderboards"]} == {2}
    assert all("split=ratio-" in board["protocol"] for board in answer["leaderboards"])
    cards = [json.loads((Path(run) / "card.json").read_text()) for run in answer["runs"].values()]
    assert cards[0]["parents"]["prepare"] == cards[1]["parents"]["prepare"]
    assert cards[1]["recipe"]["backbone"]["fit"]["epochs"] == 1
    code, out, err = cli(*asked)
    assert code == 0
    assert "running" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pop", "itemknn"], "--on"),
        (["pop", "pop", "--on", "planted"], "named twice"),
        (["pop", "--on", "planted", "--data", "planted"], "not both"),
        (["pop", "nothing-like-it", "--on", "planted"], "nothing-like-it"),
        (["pop", "itemknn", "--on", "planted", "--set", "ranker.model=x"], "has a section [ranker]"),
        (["pop", "itemknn", "--on", "planted", "--set", "align.name=none"], "by itself with --set align.name=NAME"),
        (
            ["pop", "rlmrec-con", "--on", "planted", "--set", "align.wings=2"],
            "[align] of rlmrec-con has no option 'wings', and pop has no section [align]",
        ),
        (["pop", "itemknn", "--on", "planted", "--set", "backbone.wings=2"], "backbone.wings"),
        (["pop", "--on", "planted", "--set", "data.name=other"], "contradicts"),
        (["pop", "--on", "planted", "--set", "evaluate.protocols=[\"fool\"]"], "fool"),
    ],
)  # fmt: skip
def test_several_are_refused_before_anything_runs(words: list[str], message: str, tmp_path: Path, cli: Cli) -> None:
    code, _, err = cli("run", *words, "--out", str(tmp_path / "runs"))
    assert code == 2
    assert message in err
    assert not (tmp_path / "runs").exists()


def test_an_override_says_which_recipes_it_does_not_reach(capsys: pytest.CaptureFixture[str]) -> None:
    found = on_one_dataset(["itemknn", "rlmrec-con", "ease"], "planted", ["align.weight=3"])
    assert [recipe.align and recipe.align.config.weight for recipe in found] == [None, 3.0, None]
    said = capsys.readouterr().err
    assert "--set align.weight changes rlmrec-con; itemknn, ease has no section [align] and stays as it is" in said
    on_one_dataset(["itemknn", "ease"], "planted", ["backbone.l2=3"])
    assert "changes ease; itemknn has no such option" in capsys.readouterr().err


def test_a_recipe_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    from interlingua.backbones.pop import Pop

    def broken(self: Any, *args: Any) -> None:
        raise InterlinguaError("no such luck")

    monkeypatch.setattr(Pop, "fit", broken)
    asked = ("run", "pop", "itemknn", "--on", "planted", "--set", WORLD[0], "--out", str(tmp_path), "--json")
    code, out, err = cli(*asked)
    assert code == 2
    assert "no such luck" in err
    assert list(json.loads(out)["runs"]) == ["itemknn"]
    assert json.loads(out)["failed"] == {"pop": "no such luck"}


def test_a_methods_own_way_to_retrieve_stays(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[data]\nname = "x"\n[backbone]\nname = "pop"\n[evaluate]\nretrieve = 9\nprotocols = ["rlmrec"]\n')
    mine_too, pop = on_one_dataset([mine, "pop"], "planted", ["evaluate.max_users=5"])
    assert mine_too.evaluate.retrieve == 9
    assert mine_too.evaluate.protocols == pop.evaluate.protocols == ["full", "sampled-20"]
    assert mine_too.evaluate.max_users == pop.evaluate.max_users == 5
    assert mine_too.data == pop.data


def test_several_from_python_with_a_frame(tmp_path: Path) -> None:
    made = run_several(["pop", "itemknn"], frame(60), out=tmp_path, metrics=["recall@20"])
    assert [board.metrics for board in made.boards] == [("recall@20",)]
    assert len(made.boards[0].entries) == 2
    with pytest.raises(ConfigError, match="recall@21"):
        run_several(["pop"], frame(60), out=tmp_path, metrics=["recall@21"])


class Loads(HTMLParser):
    """What a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in ("script", "link", "img", "iframe") else []
        self.found += [str(v) for k, v in attrs if k in ("src", "href") and not str(v).startswith("#")]


def test_the_page_of_several_runs_opens_offline(root: Path, tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "page" / "runs.html"
    title = "Mine <script>alert(1)</script>"
    code, out, err = cli("report", str(root), "--out", str(file), "--title", title, "--json")
    assert code == 0, err
    text = file.read_text(encoding="utf-8")
    loads = Loads()
    loads.feed(text)
    assert not loads.found
    for board in leaderboards([root]):
        assert board.protocol in text
        for entry in board.entries:
            assert entry.name in text
    findings = json.loads(out)["findings"]
    assert len(findings) == len(leaderboards([root]))
    assert any("is shown to be better than" in line for line in findings)
    code, _, err = cli("report", str(root), "--out", str(file), "--reference", "nobody")
    assert (code, "itemknn (neighbours=3)" in err) == (2, True)
    code, _, err = cli("report", str(tmp_path / "nothing"), "--out", str(file))
    assert code == 2


def test_markdown_says_the_protocol(root: Path) -> None:
    board = leaderboards([root])[0]
    text = to_markdown(board)
    assert board.protocol in text
    assert text.count("\n| ") == 2 + len(board.entries)
