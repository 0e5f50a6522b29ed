"""Every backbone with every aligner, ranker and fusion: refused before anything runs, with a remedy, or run to an end.

By default every *pair* of components is in some recipe that runs (a covering design), and every triple is resolved and
planned; ``-m slow`` runs every triple, alone and beside another member under each fusion.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from interlingua import registry
from interlingua.config import build
from interlingua.errors import ConfigError
from interlingua.runs import recipe as recipes
from interlingua.testing.combining import (
    ALIGNERS,
    BACKBONES,
    KINDS,
    RANKERS,
    TRIPLES,
    Trials,
    accepted,
    section,
    supplied_files,
    values_of,
)
from interlingua.testing.covering import held

pytest.importorskip("transformers")
FUSIONS = registry.names("fuse")
COMPONENTS = [
    pytest.param(kind, name, id=f"{kind}-{name}")
    for kind, names in zip(KINDS, (BACKBONES, ALIGNERS, RANKERS), strict=True)
    for name in names
    if name is not None
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, supplied: dict[str, str]) -> dict[str, str]:
    return {"base_url": supplied["base_url"]} | supplied_files(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def trials(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry, "entry_points", cache(registry.entry_points))  # read thousands of times
        patched.setenv("INTERLINGUA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Trials(files, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_it_runs_to_the_end_in_a_pair_with_every_other_component(kind: str, name: str, trials: Trials) -> None:
    """Those triples of the design that hold it; a pair that none of them holds is refused in words."""
    place = KINDS.index(kind)
    own = [triple for triple in trials.design if triple[place] == name]
    assert own, f"nothing goes with {kind} {name!r}"
    for triple in own:
        trials.run(triple)


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_a_pair_that_is_refused_names_who_lacks_what(kind: str, name: str, trials: Trials) -> None:
    place = KINDS.index(kind)
    for pair in sorted(held(TRIPLES) - trials.pairs, key=str):
        if (place, name) not in pair:
            continue
        chosen = dict(pair)
        triple = (str(chosen.get(0, "sasrec")), chosen.get(1), chosen.get(2))
        if triple[0] == "sasrec" and 0 not in chosen:
            continue  # an aligner and a ranker: which backbone they lack depends on it
        with pytest.raises(ConfigError) as caught:
            recipes.resolve(values_of(triple, trials.files))
        said = str(caught.value)
        assert all(repr(chosen[at]) in said for at in chosen if chosen[at] is not None), said


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_fusion_runs_to_the_end_with_every_component_among_its_members(fusion: str, trials: Trials) -> None:
    for group in trials.joined:
        trials.fuse(fusion, group)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_triple_is_refused_in_words_or_planned(backbone: str, trials: Trials) -> None:
    for triple in TRIPLES:
        if triple[0] == backbone and accepted(values_of(triple, trials.files)) is not None:
            trials.planned(values_of(triple, trials.files))


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
        recipes.resolve(values_of((backbone, aligner, ranker), files))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("aligner", [name for name in ALIGNERS if name not in (None, "none")])
def test_an_aligner_without_texts_or_users_of_texts_is_refused(aligner: str, files: dict[str, str]) -> None:
    values = values_of(("lightgcn", aligner, None), files)
    if "text.items" not in registry.find("align", aligner).needs(build_config("align", aligner, files)):
        pytest.skip(f"{aligner} reads no texts unless its options say so")
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
def test_every_triple_runs_to_the_end_alone_and_in_every_fusion(backbone: str, trials: Trials) -> None:
    wrong = []
    for triple in (triple for triple in trials.permitted if triple[0] == backbone):
        partner = ("itemknn" if backbone == "textknn" else "textknn", None, None)
        try:
            trials.run(triple)
            for fusion in FUSIONS:
                trials.fuse(fusion, [triple, partner])
        except Exception as error:
            wrong.append((triple, repr(error)))
    assert not wrong
