"""Options of the commands: every one is checked before the work starts, and says what is wrong with it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interlingua import registry
from interlingua.cli.recommend import ids
from interlingua.config import Config, FitConfig, build
from interlingua.errors import ArtifactError, ConfigError
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.measuring import EvaluateConfig
from interlingua.runs.opening import open_session
from interlingua.storage import artifact

Cli = Callable[..., tuple[int, str, str]]
WORLD = ("data.options={num_users=60, num_items=40}",)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Finished runs of popularity and of item neighbours."""
    root = tmp_path_factory.mktemp("runs")
    made = [stages.run(name, out=root, seed=3, data="planted", overrides=WORLD) for name in ("pop", "itemknn")]
    return [str(session.done["evaluate"].path) for session in made]


@pytest.fixture(scope="module")
def run(runs: list[str]) -> str:
    return runs[0]


def test_evaluate_takes_sets_and_a_seed_of_its_candidates(run: str, cli: Cli) -> None:
    code, out, err = cli("evaluate", run, "--set", 'evaluate.protocols=["sampled-5"]', "--seed", "11", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert list(answer["protocols"]) == ["sampled-5"]
    assert "seed=11" in answer["protocols"]["sampled-5"]
    code, out, _ = cli("evaluate", run, "--protocol", "full", "--set", "evaluate.max_users=9", "--json")
    assert "users=9 of" in json.loads(out)["protocols"]["full"]
    code, out, _ = cli(
        "evaluate", run, "--protocol", "full", "--set", "evaluate.part=valid", "--part", "test", "--json"
    )
    assert "part=test" in json.loads(out)["protocols"]["full"]  # the more special option wins


@pytest.mark.parametrize("text", ["backbone.last_share=0.5", "evaluate=full", "retrieve=5"])
def test_evaluate_changes_only_how_a_run_is_measured(text: str, run: str, cli: Cli) -> None:
    code, _, err = cli("evaluate", run, "--set", text)
    assert code == 2
    assert "changes [evaluate] only" in err


def test_a_dry_run_of_evaluate_names_the_stage_that_would_be_made(run: str, cli: Cli) -> None:
    asked = ("evaluate", run, "--protocol", "sampled-7", "--seed", "2", "--json")
    before = sorted(Path(run).parent.iterdir())
    code, out, err = cli(*asked, "--dry-run")
    assert code == 0, err
    rows = {row["stage"]: row for row in json.loads(out)}
    assert {stage: row["cached"] for stage, row in rows.items()} == {"prepare": True, "train": True, "evaluate": False}
    assert sorted(Path(run).parent.iterdir()) == before
    assert json.loads(cli(*asked)[1])["stages"] == {stage: row["key"] for stage, row in rows.items()}


def test_compare_bootstraps_from_the_seed_that_was_given(runs: list[str], cli: Cli) -> None:
    def interval(*more: str) -> list[float]:
        code, out, err = cli("compare", *runs, "--protocol", "full", "--metric", "ndcg@10", "--json", *more)
        assert code == 0, err
        return json.loads(out)["comparisons"][0]["tests"][0]["interval"]

    assert interval("--seed", "5") == interval("--seed", "5")
    assert interval("--seed", "5") != interval("--seed", "6")
    assert interval() == interval("--seed", "0")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("backbone.fit.batch_size=0", "greater than or equal to 1"),
        ("backbone.fit.learning_rate=nan", "finite"),
        ("backbone.fit.epochs=-1", "greater than or equal to 0"),
        ("backbone.fit.evaluate_every=0", "greater than or equal to 1"),
        ("backbone.embedding_dim=0", "greater than or equal to 1"),
        ("backbone.embedding_dim=-3", "greater than or equal to 1"),
        ("evaluate.retrieve=0", "greater than or equal to 1"),
    ],
)
def test_numbers_that_mean_nothing_are_refused_before_the_run(option: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        recipes.load("sasrec", [option], data="planted")
    key, _, value = option.partition("=")
    assert key.rsplit(".", maxsplit=1)[-1] in str(caught.value)
    assert value in str(caught.value)


def _options() -> list[type[Config]]:
    kinds = ("backbone", "text", "align", "ranker")
    found = [registry.find(kind, name).Config for kind in kinds for name in registry.names(kind)]
    return [FitConfig, EvaluateConfig, *found]


@pytest.mark.parametrize("options", _options(), ids=lambda options: options.__name__)
def test_every_numeric_option_has_a_lower_bound_and_no_nan(options: type[Config]) -> None:
    free = {"sample_seed"}  # any number is a seed there: it is hashed
    for name, field in options.model_fields.items():
        kinds = str(field.annotation)
        if "<class 'int'>" in kinds or "<class 'float'>" in kinds or "float |" in kinds or "int |" in kinds:
            with pytest.raises(ConfigError, match="Input should be"):
                build(options, {name: float("nan")})
            if name not in free:
                with pytest.raises(ConfigError, match=name):
                    build(options, {name: -3})


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "pop", "--data", "planted"),
        ("recommend", "RUN", "--history", ""),
        ("explain", "RUN", "i00001", "--history", ""),
        ("evaluate", "RUN"),
        ("embed", "RUN"),
        ("serve", "RUN"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_device_that_is_not_there_is_refused_by_every_command(
    arguments: tuple[str, ...], run: str, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    command = [run if word == "RUN" else word for word in arguments]
    code, _, err = cli(*command, "--device", "foo")
    assert (code, "unknown device 'foo'" in err) == (2, True)
    code, _, err = cli(*command, "--device", "cuda")
    assert (code, "no CUDA device" in err) == (2, True)
    assert not list(tmp_path.iterdir())


def test_the_library_refuses_them_too(run: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown device 'foo'"):
        open_session(run, "foo")
    with pytest.raises(ConfigError, match="unknown device 'foo'"):
        stages.run("pop", out=tmp_path, data="planted", device="foo")
    with pytest.raises(ConfigError, match="seed must be at least 0, got -1"):
        stages.run("pop", out=tmp_path, data="planted", seed=-1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "pop", "--data", "planted", "--seed", "-1"), "--seed"),
        (("serve", "RUN", "--port", "99999"), "--port"),
        (("evaluate", "RUN", "--seed", "-1"), "--seed"),
        (("evaluate", "RUN", "--max-users", "0"), "--max-users"),
        (("compare", "RUN", "--seed", "-1"), "--seed"),
    ],
)
def test_a_number_out_of_range_names_the_option(arguments: tuple[str, ...], words: str, run: str, cli: Cli) -> None:
    code, _, err = cli(*(run if word == "RUN" else word for word in arguments))
    assert code == 2
    assert err.startswith("error: ")
    assert words in err


def test_a_protocol_named_twice_is_measured_once(run: str, cli: Cli) -> None:
    code, out, err = cli("evaluate", run, "--protocol", "hr-100", "--protocol", "hr-100", "--json")
    assert code == 0, err
    assert list(json.loads(out)["metrics"]) == ["hr-100"]


@pytest.mark.parametrize("entry", ["recipe", "seed"])
def test_a_run_whose_card_lacks_an_entry_is_refused(entry: str, run: str, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(Path(run).parent, root)
    file = root / Path(run).name / artifact.CARD
    card = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({k: v for k, v in card.items() if k != entry}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        open_session(file.parent)
    card = {k: v for k, v in card.items() if k not in (entry, artifact.CARD_HASH)}
    card[artifact.CARD_HASH] = artifact._card_hash(card)  # as one would who knows how it is made
    file.write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ArtifactError, match=f"no usable entry '{entry}'"):
        open_session(file.parent)


def test_an_edited_option_of_a_trained_model_is_refused(run: str, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(Path(run).parent, root)
    (file,) = root.glob(f"train-pop-*/{artifact.CARD}")
    card = json.loads(file.read_text(encoding="utf-8"))
    card["config"]["last_share"] = 0.5
    file.write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"train-pop-.*card\.json was changed"):
        open_session(root / Path(run).name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"i,1",i2', ["i,1", "i2"]),
        ('i2 , "i,1", i3', ["i2", "i,1", "i3"]),
        ('"5"" disc",5" disc', ['5" disc', '5" disc']),
        ("i1, i2,,", ["i1", "i2"]),
        ("", []),
        (None, None),
    ],
)
def test_ids_are_one_csv_line(text: str | None, expected: list[str] | None) -> None:
    assert ids(text, "--history") == expected


def test_items_whose_ids_hold_commas_can_be_named(tmp_path: Path, cli: Cli) -> None:
    rows = [f'u{user},"i,{item}",{item}' for user in range(12) for item in range(user % 3, user % 3 + 6)]
    table = tmp_path / "events.csv"
    table.write_text("\n".join(["user_id,item_id,timestamp", *rows]), encoding="utf-8")
    run = str(stages.run("pop", out=tmp_path / "runs", seed=3, data=str(table)).done["evaluate"].path)
    code, out, err = cli("recommend", run, "--history", '"i,3","i,4"', "--exclude", '"i,5"', "-k", "9", "--json")
    assert code == 0, err
    found = {answer["item_id"] for answer in json.loads(out)}
    assert {"i,1", "i,2", "i,6"} <= found
    assert not found & {"i,3", "i,4", "i,5"}
    asked = ("recommend", run, "--history", "", "-k", "9", "--json")
    code, out, err = cli(*asked, "--items", '"i,1","i,2","i,6"', "--filter", 'item_id!="i,2","i,5"')
    assert code == 0, err
    assert {answer["item_id"] for answer in json.loads(out)} == {"i,1", "i,6"}
    code, out, err = cli(*asked, "--filter", "item_id contains ,1", "--filter", 'item_id="i,1","i,2"')
    assert [answer["item_id"] for answer in json.loads(out)] == ["i,1"]
    code, _, err = cli(*asked, "--filter", "item_id=a", "--filter", "item_id=b")
    assert (code, "stands twice" in err) == (2, True)
    code, out, _ = cli(*asked, "--where", "item_id in ['i,3', 'i,4']")
    assert (code, {each["item_id"] for each in json.loads(out)}) == (0, {"i,3", "i,4"})
    code, _, err = cli(*asked, "--where", "item_id in ['i,3'")
    assert (code, "was never closed" in err) == (2, True)
    code, _, err = cli(*asked, "--where", "true", "--filter", "item_id=i,3")
    assert (code, "write the condition into --where too" in err) == (2, True)
    code, _, err = cli("recommend", run, "--history", '"i,3')
    assert code == 2
    assert "--history" in err
    assert "not one line of CSV" in err


def test_the_next_command_can_be_pasted(tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "my runs [x]"
    code, text, err = cli("run", "pop", "--data", "planted", "--out", str(out))
    assert code == 0, err
    line = next(line for line in text.splitlines() if line.startswith("next: "))
    command = shlex.split(line.removeprefix("next: "))
    assert Path(command[2]).parent == out
    assert cli(*command[1:3], "--history", "")[0] == 0


def test_the_package_is_a_command() -> None:
    def called(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "interlingua", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    done, wrong = called("list", "backbones"), called("recommend", "nowhere")
    assert done.returncode == 0, done.stderr
    assert "sasrec" in done.stdout
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
