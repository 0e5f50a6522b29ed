"""Adapters of the same options under several seeds must differ: one number for every seed is the sign of no adapter."""

from __future__ import annotations

from pathlib import Path

from interlingua.lm.adapter_checks import check_seeds_differ
from interlingua.storage.artifact import Artifact, listing

HASH = "sha256"


def check_other_seeds(root: Path, made: Artifact) -> None:
    """Compares a rank stage's LoRA adapters with those of its other seeds in the runs folder.

    Raises:
        ArtifactError: two seeds have the same adapters.
    """
    if HASH not in made.card.get("tuned", {}):
        return
    cards = {
        int(each.card["seed"]): each.card["tuned"]
        for each in [*listing(root), made]
        if each.kind == made.kind and each.card.get("config") == made.card.get("config") and _has_hash(each)
    }
    check_seeds_differ(cards)


def _has_hash(stage: Artifact) -> bool:
    return HASH in stage.card.get("tuned", {})
