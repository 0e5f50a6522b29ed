"""Every backbone with every aligner and every ranker: refused before anything runs, with a remedy, or run to an end."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from interlingua import registry
from interlingua.config import build
from interlingua.errors import ConfigError
from interlingua.runs import recipe as recipes
from interlingua.runs import stages

pytest.importorskip("transformers")
BACKBONES = registry.names("backbone")
ALIGNERS = [None, *registry.names("align")]
RANKERS = [None, *registry.names("ranker")]
OPTIONS: dict[str, Any] = {
    "embedding_dim": 8, "latent_dim": 8, "max_history": 5, "num_blocks": 1, "num_layers": 1, "history_length": 3,
    "num_candidates": 3, "num_heads": 1, "max_title_tokens": 3, "fraction": 1.0,
}  # fmt: skip
"""options by name: a component that has one of them gets this value"""
FIT = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 32, "patience": None}
REMEDY = re.compile(r"choose|leave out|add a \[text\]|set (text|llm|frozen)|frozen = \[\]")
WORLD = {"name": "planted", "options": {"num_users": 40, "num_items": 30, "history": 6}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What components ask for by the name of the option: a tiny language model, vectors of the world's items."""
    from interlingua.testing.tiny_models import build, tokenizer_of

    folder = tmp_path_factory.mktemp("given")
    build("llama").save_pretrained(folder / "lm")
    tokenizer_of().save_pretrained(folder / "lm")
    vectors = torch.as_tensor(np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32))
    save_file({"items": vectors}, folder / "items.safetensors")
    return {"model": str(folder / "lm"), "items": str(folder / "items.safetensors")}


def section(kind: str, name: str, files: dict[str, str]) -> dict[str, Any]:
    fields = registry.find(kind, name).Config.model_fields
    out = {"name": name} | {k: v for k, v in (OPTIONS | files).items() if k in fields}
    if "fit" in fields:
        default = fields["fit"].default
        out["fit"] = (default.model_dump() if default else {}) | FIT
    return out


def values_of(backbone: str, aligner: str | None, ranker: str | None, files: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "data": WORLD,
        "backbone": section("backbone", backbone, files),
        "text": {"name": "lsa", "dim": 12, "users": "items"},
        "evaluate": {"protocols": ["sampled-20"], "max_users": 5, "retrieve": 5},
    }
    if aligner is not None:
        values["align"] = section("align", aligner, files)
    if ranker is not None:
        values["ranker"] = section("ranker", ranker, files)
    return values


def accepted(values: dict[str, Any]) -> recipes.Recipe | None:
    """The recipe, or None where it is refused: then in words that say what to do."""
    try:
        return recipes.resolve(values)
    except ConfigError as error:
        for line in str(error).splitlines():
            assert REMEDY.search(line), line
        return None


COMBINATIONS = list(itertools.product(BACKBONES, ALIGNERS, RANKERS))


def runs_to_the_end(combination: tuple[str, str | None, str | None], files: dict[str, str], out: Path) -> bool:
    recipe = accepted(values_of(*combination, files))
    if recipe is None:
        return False
    session = stages.run(recipe, out=out, seed=1, device="cpu")
    assert (session.done["evaluate"].path / "metrics.json").is_file()
    return True


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One runs folder: a trained backbone is the parent of all that stands on it."""
    return tmp_path_factory.mktemp("runs")


def test_a_sample_that_has_every_part_is_refused_or_runs(files: dict[str, str], out: Path) -> None:
    """One combination of each backbone, by turns with every aligner and ranker (all of them: ``-m slow``)."""
    whole = [c for c in COMBINATIONS if accepted(values_of(*c, files)) is not None]
    drawn = [[c for c in whole if c[0] == backbone] for backbone in BACKBONES]
    some = [own[(7 * place) % len(own)] for place, own in enumerate(drawn)]
    for position, names in enumerate((BACKBONES, ALIGNERS, RANKERS)):
        missing = set(names) - {c[position] for c in some}
        some += [next(c for c in whole if c[position] == name and c[0] in ("mf", "sasrec")) for name in missing]
    assert all(runs_to_the_end(c, files, out) for c in some)


@pytest.mark.parametrize(
    ("backbone", "aligner", "ranker", "words"),
    [
        ("ease", "ridge", None, ["'ridge' needs item vectors, which the backbone 'ease' does not give", "sasrec"]),
        ("pop", None, "kv-prompt", ["'kv-prompt' needs item vectors and user vectors", "leave out [ranker]"]),
        ("textknn", "contrastive", None, ["needs a backbone that is trained by gradient", "lightgcn"]),
        ("ncf", "ridge", None, ["a score that is one dot product"]),
        ("ncf", "init", None, ["picks 40 of the text's dimensions", "12 at most; set text options that give 40"]),
    ],
)
def test_what_cannot_work_says_what_would(
    backbone: str, aligner: str | None, ranker: str | None, words: list[str], files: dict[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        recipes.resolve(values_of(backbone, aligner, ranker, files))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("aligner", [name for name in ALIGNERS if name not in (None, "none")])
def test_an_aligner_without_texts_or_users_of_texts_is_refused(aligner: str, files: dict[str, str]) -> None:
    values = values_of("lightgcn", aligner, None, files)
    del values["text"]
    with pytest.raises(ConfigError, match=r"add a \[text\] section"):
        recipes.resolve(values)
    values["text"] = {"name": "lsa", "dim": 12}
    if "text.user_table" in registry.find("align", aligner).needs(build_config("align", aligner, files)):
        with pytest.raises(ConfigError, match=r"set text\.users = 'items'"):
            recipes.resolve(values)


def build_config(kind: str, name: str, files: dict[str, str]) -> Any:
    options = section(kind, name, files)
    return build(registry.find(kind, options.pop("name")).Config, options)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_combination_is_refused_or_runs(backbone: str, files: dict[str, str], out: Path) -> None:
    wrong = []
    for combination in (c for c in COMBINATIONS if c[0] == backbone):
        try:
            runs_to_the_end(combination, files, out)
        except Exception as error:
            wrong.append((combination, repr(error)))
    assert not wrong
