"""A stage's key holds what made it: every file, folder, template and model that an option can name, by contents."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from interlingua import registry
from interlingua.config import Config
from interlingua.contracts import component
from interlingua.contracts.component import Component
from interlingua.errors import ArtifactError, ConfigError
from interlingua.lm.template import FOLDER
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.runs.plan import check_present, make_plan, part_fingerprint
from interlingua.storage import contents

KINDS = ("backbone", "text", "align", "ranker")
STAGE = {"backbone": "train", "text": "embed", "align": "align", "ranker": "rank"}
NAMING = ("path", "file", "folder", "model", "template", "profiles", "ids")
"""a word of an option's name, or of the beginning of its description, that says that it may name something on disk"""
NO_FILE = {
    ("http", "model"): "the server's name of a model",
    ("npy", "id_column"): "a column of the file in path",
    ("npy", "vector_column"): "a column of the file in path",
    ("*", "lm_weights"): "a choice of controls",
    ("*", "lm_weight"): "a number",
    ("kv-prompt", "id_vectors"): "a choice",
    ("irllrec", "intent"): "the name of a text of the recipe",
    **{(name, "base_url"): "a server, which a stage's card names" for name in ("chat", "drdt")},
    **{(name, "ledger"): "where answers are kept; which answers follows from the prompt" for name in ("chat", "drdt")},
}


REFUSED = {("scft", "profiles")}
"""options that a component has from its siblings and never takes"""


def components() -> list[tuple[str, str]]:
    return [(kind, name) for kind in KINDS for name in registry.names(kind)]


def declared(config: type[Config]) -> dict[str, str]:
    """Option -> how it is declared."""
    return (
        dict.fromkeys(config.all_files(), "file")
        | dict.fromkeys(config.named_templates, "template")
        | dict.fromkeys(config.named_models, "model")
    )


CASES = [
    (kind, name, option, how)
    for kind, name in components()
    for option, how in declared(registry.find(kind, name).Config).items()
    if (name, option) not in REFUSED
]


def recipe(kind: str, name: str, options: dict[str, Any]) -> recipes.Recipe:
    """A recipe with the component, and what it needs around it."""
    values: dict[str, Any] = {
        "data": {"name": "planted", "options": {"num_users": 30, "num_items": 20}},
        "backbone": {"name": "mf"},
    }
    required = {"npy": {"path": "vectors.npy"}, "http": {"base_url": "http://localhost:1"}}
    if kind == "ranker":
        options = {"model": "MODEL", **options}
    for option, (by, read_with) in registry.find(kind, name).Config.only_with.items():
        if option in options:
            options = {by: read_with[0], **options}
    reads = kind == "backbone" and registry.find(kind, name).needs_text
    if reads or (kind == "align" and name != "none"):
        values["text"] = {"name": "lsa", "users": "items"}
    if name == "lc-rec":
        values |= {"text": {"name": "lsa", "users": "items"}, "align": {"name": "rq-vae"}}
    if name == "token-rec":
        values |= {"text": {"name": "lsa", "users": "items"}, "align": {"name": "masked-vq"}}
    values[kind] = {"name": name, **required.get(name, {}), **options}
    return recipes.resolve(values, "keys")


def key_of(kind: str, name: str, options: dict[str, Any]) -> str:
    return make_plan(recipe(kind, name, options), 7)[STAGE[kind]].key


def write(how: str, path: Path, text: str) -> None:
    if how == "model":
        (path / "1_Pooling").mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text("{}")
        (path / "model.safetensors").write_text("weights")
        (path / "1_Pooling" / "config.json").write_text(text)
    elif how == "template":
        path.write_text((FOLDER / "next-item.txt").read_text(encoding="utf-8") + text, encoding="utf-8")
    else:
        path.write_text(text)


@pytest.mark.parametrize(("kind", "name", "option", "how"), CASES)
def test_other_contents_under_the_same_name_are_another_stage(
    kind: str, name: str, option: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("model", tmp_path / "MODEL", "x")
    place = tmp_path / ("mine" if how == "model" else "mine.txt")
    write(how, place, "first text")
    options = {option: str(place)}
    first = key_of(kind, name, options)
    assert key_of(kind, name, options) == first
    write(how, place, "other text")  # as long as the first, within the same tick of the clock
    assert key_of(kind, name, options) != first


@pytest.mark.parametrize(("kind", "name", "option"), [case[:3] for case in CASES if case[3] == "file"])
def test_a_folder_counts_by_what_is_below_it(kind: str, name: str, option: str, tmp_path: Path) -> None:
    write("model", tmp_path / "MODEL", "x")
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "deep" / "a.parquet").write_text("1")
    part = recipe(kind, name, {option: str(tmp_path / "mine")})
    before = make_plan(part, 7)[STAGE[kind]].key
    (tmp_path / "mine" / "deep" / "a.parquet").write_text("2")
    assert make_plan(part, 7)[STAGE[kind]].key != before


def options_of(config: type[Config], prefix: str = "") -> Iterator[tuple[str, Any, type[Config]]]:
    for name, field in config.model_fields.items():
        yield name, field, config
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            yield from options_of(field.annotation)


@pytest.mark.parametrize(("kind", "name"), components())
def test_no_option_names_something_on_disk_without_saying_so(kind: str, name: str) -> None:
    """Options that take a free text and whose name or description speaks of files, folders, models or templates."""
    undeclared = []
    for option, field, owner in options_of(registry.find(kind, name).Config):
        free = field.annotation in (str, str | None, Path, Path | None, list[str], list[Path])
        words = option.split("_") + (field.description or "").lower().replace("``", " ").split()[:12]
        names_one = any(word.strip(".,;:s") in NAMING or word.strip(".,;:") in NAMING for word in words)
        excused = (name, option) in NO_FILE or ("*", option) in NO_FILE
        if free and names_one and not excused and option not in declared(owner):
            undeclared.append(option)
    undeclared = [o for o in undeclared if o not in ("revision", "fields", "user_fields", "metric", "prompt")]
    assert not undeclared, "declare them in Config.files, named_models or named_templates"


def test_the_text_of_a_shipped_template_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interlingua.rankers import soft_prompt as ranker_config

    write("model", tmp_path / "MODEL", "x")
    options = {"model": str(tmp_path / "MODEL"), "template": "next-item"}
    before = key_of("ranker", "soft-prompt", options)
    copy = tmp_path / "templates"
    copy.mkdir()
    (copy / "next-item.txt").write_text((FOLDER / "next-item.txt").read_text() + " ")
    monkeypatch.setattr(ranker_config.SoftPromptConfig, "named_templates", {"template": copy})
    assert key_of("ranker", "soft-prompt", options) != before


@pytest.mark.parametrize(("kind", "name"), components())
def test_another_version_of_a_component_is_another_stage(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("model", tmp_path / "MODEL", "x")
    part = recipe(kind, name, {"model": str(tmp_path / "MODEL")} if kind == "ranker" else {})
    before = make_plan(part, 7)[STAGE[kind]].key
    cls = registry.find(kind, name)
    assert issubclass(cls, Component)
    monkeypatch.setattr(cls, "version", 99)
    assert make_plan(part, 7)[STAGE[kind]].key != before


def test_the_commit_of_a_hub_model_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    options = {"model": "somebody/some-model"}
    contents.hub_commit.cache_clear()
    with pytest.raises(ConfigError, match="somebody/some-model is not on this machine"):
        check_present(make_plan(recipe("ranker", "soft-prompt", options), 7))
    seen = []
    for commit in ("a" * 40, "b" * 40):
        reference = tmp_path / "models--somebody--some-model" / "refs" / "main"
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)
        contents.hub_commit.cache_clear()
        part = recipe("ranker", "soft-prompt", options)
        assert part.ranker is not None
        assert part_fingerprint(part.ranker)["model"] == f"commit {commit} of somebody/some-model"
        seen.append(key_of("ranker", "soft-prompt", options))
    contents.hub_commit.cache_clear()
    assert seen[0] != seen[1]


def test_a_large_file_is_read_once_and_again_when_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "LARGE", 4)
    file, read = tmp_path / "weights", []
    own = contents.file_hash
    monkeypatch.setattr(contents, "file_hash", lambda path: (read.append(path), own(path))[1])
    file.write_text("first")
    first = contents.hash_file(file)
    file.write_text("other")  # at once: its times may be the same
    assert contents.hash_file(file) != first
    monkeypatch.setattr(contents, "SETTLED_NS", -1)
    found = contents.hash_file(file)
    count = len(read)
    assert contents.hash_file(file) == found
    assert len(read) == count
    os.utime(file, ns=(1, 1))
    contents.hash_file(file)
    assert len(read) == count + 1


MINE = """
from interlingua.backbones.pop import Pop
class Mine(Pop):
    '''Mine.'''
"""


def test_the_source_of_a_class_from_outside_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "outsider_keys.py").write_text(MINE)
    before = key_of("backbone", "outsider_keys:Mine", {})
    (tmp_path / "outsider_keys.py").write_text(MINE + "# edited\n")
    assert key_of("backbone", "outsider_keys:Mine", {}) != before
    sys.modules.pop("outsider_keys")


def test_a_run_over_another_model_or_template_is_refused_in_words(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from interlingua.testing.tiny_models import build, tokenizer_of

    model, template = tmp_path / "lm", tmp_path / "mine.txt"
    build("smollm2").save_pretrained(model)
    tokenizer_of(False).save_pretrained(model)
    template.write_text((FOLDER / "next-item.txt").read_text())
    values = {
        "data": {"name": "planted", "options": {"num_users": 30, "num_items": 20}},
        "backbone": {"name": "sasrec", "embedding_dim": 8, "max_history": 5, "fit": {"epochs": 1}},
        "ranker": {"name": "soft-prompt", "model": str(model), "template": str(template), "num_candidates": 4,
                "fit": {"epochs": 1, "steps_per_epoch": 1}},
        "evaluate": {"protocols": ["full"], "retrieve": 4, "max_users": 3},
    }  # fmt: skip
    run = stages.run(recipes.resolve(values, "mine"), out=tmp_path / "runs", seed=3, device="cpu")
    path = run.done["evaluate"].path
    assert json.loads((run.done["rank"].path / "card.json").read_text())["fingerprint"]["ranker.model"].startswith(
        "sha"
    )
    open_session(path, "cpu")
    text = template.read_text()
    template.write_text(text + " ")
    with pytest.raises(ArtifactError, match=r"ranker\.template = .* holds something else now.*run the recipe again"):
        open_session(path, "cpu")
    again = stages.run(recipes.resolve(values, "mine"), out=tmp_path / "runs", seed=3, device="cpu")
    assert again.reused == {"prepare", "train"}
    template.write_text(text)
    open_session(path, "cpu")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ArtifactError, match=r"ranker\.model = .* holds something else now"):
        open_session(path, "cpu")


@pytest.mark.parametrize("limit", [None, 9])
def test_a_run_whose_warm_up_ended_with_the_first_epoch_is_refused_in_words(
    limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage with a warm-up of steps that an epoch may not have is another one since all steps count."""
    fit = {"epochs": 2, "warmup_steps": 9, "steps_per_epoch": limit}
    path, plain = warmed(fit, tmp_path, monkeypatch)
    with pytest.raises(ArtifactError, match=r"warm-up of 'mf' ended with the first epoch.*run the recipe again"):
        open_session(path, "cpu")
    assert stages.run(warm_recipe(fit), out=tmp_path, seed=3, device="cpu").reused == {"prepare"}
    assert plain == make_plan(warm_recipe({}), 3)["train"].key


@pytest.mark.parametrize(
    "fit",
    [
        {"epochs": 1, "warmup_steps": 9},
        {"epochs": 1, "warmup_steps": 9, "steps_per_epoch": 9},
        {"epochs": 3, "warmup_steps": 9, "steps_per_epoch": 1},  # full epochs
        {"epochs": 2, "warmup_steps": 2},  # which the first epoch holds
    ],
)
def test_a_run_whose_warm_up_was_what_it_is_today_is_opened(
    fit: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log says how many steps its epochs had; a new run makes the stage again, with the same numbers."""
    path, _ = warmed(fit, tmp_path, monkeypatch)
    before = open_session(path, "cpu").exported("train")["items"]
    again = stages.run(warm_recipe(fit), out=tmp_path, seed=3, device="cpu")
    assert "train" not in again.reused
    assert torch.equal(again.exported("train")["items"], before)


def warm_recipe(fit: dict[str, Any]) -> recipes.Recipe:
    """MF with these options, on a small world: an epoch has some batches, fewer than nine."""
    fit = {"epochs": 1, "batch_size": 64, **{name: value for name, value in fit.items() if value is not None}}
    return recipes.resolve(
        {
            "data": {"name": "planted", "options": {"num_users": 30, "num_items": 20}},
            "backbone": {"name": "mf", "embedding_dim": 4, "fit": fit},
            "evaluate": {"protocols": ["full"]},
        },
        "warm",
    )


def warmed(fit: dict[str, Any], out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A run whose stages say nothing of the warm-up, as those of former versions; and a key without any warm-up."""
    before = component.fingerprint
    with monkeypatch.context() as earlier:
        earlier.setattr(
            component, "fingerprint", lambda *of: {k: v for k, v in before(*of).items() if k != component.WARM_UP}
        )
        run = stages.run(warm_recipe(fit), out=out, seed=3, device="cpu")
        return run.done["evaluate"].path, make_plan(warm_recipe({}), 3)["train"].key
