"""Whole recipes in tiny: any backbone with any aligner and any ranker, alone or as members of any fusion."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from interlingua import registry
from interlingua.errors import ConfigError
from interlingua.runs import preflight, stages
from interlingua.runs import recipe as recipes
from interlingua.runs.session import Session
from interlingua.testing.covering import covering, held

Triple = tuple[str, str | None, str | None]
"""backbone, aligner, ranker"""
KINDS = ("backbone", "align", "ranker")
BACKBONES = registry.names("backbone")
ALIGNERS = [None, *registry.names("align")]
RANKERS = [None, *registry.names("ranker")]
TRIPLES: list[Triple] = list(itertools.product(BACKBONES, ALIGNERS, RANKERS))
OPTIONS: dict[str, Any] = {
    "embedding_dim": 8, "latent_dim": 8, "max_history": 5, "num_blocks": 1, "num_layers": 1, "history_length": 3,
    "num_candidates": 3, "num_heads": 1, "max_title_tokens": 3, "fraction": 1.0,
}  # fmt: skip
"""options by name: a component that has one of them gets this value"""
FIT = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 32, "patience": None}
WORLD = {"name": "planted", "options": {"num_users": 40, "num_items": 30, "history": 6}}
MEASURED = {"protocols": ["sampled-20"], "max_users": 5, "retrieve": 5}
CHOICE = re.compile(r"choose the (\w+) ([\w-]+(?:(?:, (?!or\b)| or )[\w-]+)*)")
OPTION = re.compile(r"\bset (\w+)\.(\w+)")
SECTION = re.compile(r"leave out \[(\w+)\]")
SAYINGS = re.compile(r"add a \[text\] section|set text options that|frozen = \[\] trains it")
MEMBERS = 6
"""members of a fusion, at most"""


def supplied_files(folder: Path) -> dict[str, str]:
    """What components ask for by the name of the option: a tiny language model, vectors of the world's items."""
    from interlingua.testing.tiny_models import build, tokenizer_of

    build("llama").save_pretrained(folder / "lm")
    tokenizer_of().save_pretrained(folder / "lm")
    vectors = torch.as_tensor(np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32))
    save_file({"items": vectors}, folder / "items.safetensors")
    return {"model": str(folder / "lm"), "items": str(folder / "items.safetensors")}


def section(kind: str, name: str, files: dict[str, str]) -> dict[str, Any]:
    """A component's section, small."""
    fields = registry.find(kind, name).Config.model_fields
    out = {"name": name} | {k: v for k, v in (OPTIONS | files).items() if k in fields}
    if "fit" in fields:
        default = fields["fit"].default
        out["fit"] = (default.model_dump() if default else {}) | FIT
    return out


def member(triple: Triple, files: dict[str, str]) -> dict[str, Any]:
    """The sections of a recipe but for what members of a fusion share."""
    chosen = {kind: section(kind, name, files) for kind, name in zip(KINDS, triple, strict=True) if name is not None}
    return {"text": {"name": "lsa", "dim": 12, "users": "items"}, **chosen}


def values_of(triple: Triple, files: dict[str, str]) -> dict[str, Any]:
    """A whole recipe."""
    return {"data": WORLD, **member(triple, files), "evaluate": MEASURED}


def fused_values(fusion: str, triples: Sequence[Triple], files: dict[str, str]) -> dict[str, Any]:
    """A recipe that joins others."""
    members = [member(triple, files) for triple in triples]
    return {"data": WORLD, "fuse": {**section("fuse", fusion, {}), "members": members}, "evaluate": MEASURED}


def remedies(line: str, values: dict[str, Any]) -> list[bool]:
    """Whether each thing that a message tells its reader to choose, set or leave out exists, in the order of kinds."""
    found = [
        name in registry.names({"aligner": "align"}.get(kind, kind))
        for kind, names in CHOICE.findall(line)
        for name in re.split(", | or ", names)
    ]
    for kind, option in OPTION.findall(line):
        found.append(kind in values and option in registry.find(kind, values[kind]["name"]).Config.model_fields)
    return [*found, *(kind in values for kind in SECTION.findall(line)), *(True for _ in SAYINGS.findall(line))]


def accepted(values: dict[str, Any]) -> recipes.Recipe | None:
    """The recipe, or None if it is refused: then the message must name a remedy, and nothing that does not exist."""
    try:
        return recipes.resolve(values)
    except ConfigError as error:
        for line in str(error).splitlines():
            named = remedies(line, values)
            assert named, line
            assert all(named), line
        return None


def check(session: Session) -> None:
    """A finished run: measured, and as a folder it answers who asks."""
    import interlingua

    report = json.loads((session.path / "metrics.json").read_text(encoding="utf-8"))["sampled-20"]
    assert report["metrics"]
    assert all(0 <= value <= 1 for value in report["metrics"].values())
    had = [str(each) for each in session.data.split.train.item_ids[:2]]
    found = interlingua.load(session.path, trust=True).recommend(history=had, k=3)
    assert len({each.item_id for each in found} - set(had)) == 3
    assert all(np.isfinite(each.score) for each in found)


class Trials:
    """Recipes of one session: a trained backbone is the parent of all that stands on it, and nothing runs twice."""

    def __init__(self, files: dict[str, str], out: Path) -> None:
        self.files, self.out = files, out
        self.outcomes: dict[Any, Exception | None] = {}

    @cached_property
    def permitted(self) -> list[Triple]:
        """The triples that the contracts accept."""
        return [triple for triple in TRIPLES if accepted(values_of(triple, self.files)) is not None]

    @cached_property
    def pairs(self) -> set[Any]:
        """Every pair that any permitted triple holds."""
        return held(self.permitted)

    @cached_property
    def design(self) -> list[Triple]:
        """Few triples with every permitted pair."""
        return covering(self.permitted)

    @cached_property
    def joined(self) -> list[list[Triple]]:
        """Groups of members in which every component occurs: each fusion joins each of them."""
        some = covering(self.design, strength=1)
        count = -(-len(some) // MEMBERS)
        return [some[number::count] for number in range(count)]

    def planned(self, values: dict[str, Any]) -> Session:
        """As ``--dry-run`` begins: resolved, every stage keyed, nothing missing on this machine."""
        session = Session(recipes.resolve(values), self.out, 1, "cpu")
        preflight.check([session])
        assert list(session.plan)[-1] == "evaluate"
        return session

    def _once(self, key: Any, values: dict[str, Any]) -> None:
        if key not in self.outcomes:
            try:
                check(stages.run(recipes.resolve(values), out=self.out, seed=1, device="cpu"))
                self.outcomes[key] = None
            except Exception as error:
                error.add_note(f"the recipe was {key}")
                self.outcomes[key] = error
        error = self.outcomes[key]
        if error is not None:
            raise error

    def run(self, triple: Triple) -> None:
        """Runs a triple to its end, or says again how it failed."""
        self._once(triple, values_of(triple, self.files))

    def fuse(self, fusion: str, triples: Sequence[Triple]) -> None:
        """Runs the fusion of some triples to its end."""
        self._once((fusion, tuple(triples)), fused_values(fusion, triples, self.files))
