"""Adapters that are none are refused, each kind in its own words (TALLRec's issues 23, 41, 58, 66)."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from interlingua.errors import ArtifactError
from interlingua.lm import adapter_checks as checks
from interlingua.lm.adapters import WEIGHTS, LoraOptions, Tuned, tuned
from interlingua.runs import adapter_seeds
from interlingua.testing.tiny_models import tiny

pytest.importorskip("peft")
OPTIONS = LoraOptions(rank=2, alpha=4)


def trained(seed: int = 0) -> Tuned:
    torch.manual_seed(seed)
    made = tuned(tiny("llama"), "lora", OPTIONS)
    assert made is not None
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def test_what_was_trained_is_stored_whole_and_says_so(tmp_path: Path) -> None:
    card = checks.store_checked(trained(), OPTIONS, tmp_path / "adapters")["tuned"]
    assert card["tensors"] == 8  # A and B of queries and values in two layers
    assert card["bytes"] == (tmp_path / "adapters" / WEIGHTS).stat().st_size
    assert checks.store_checked(None, OPTIONS, tmp_path) == {}


def test_an_empty_file_and_one_with_few_tensors_are_refused(tmp_path: Path) -> None:
    made = trained()
    made.save(tmp_path)
    stored = load_file(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).write_bytes(b"\0" * 443)
    with pytest.raises(ArtifactError, match=r"has 443 bytes, and the 8 tensors of the adapters need [\d,]+"):
        checks.check_stored(made, tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(ArtifactError, match="has 0 bytes"):
        checks.check_stored(made, tmp_path)
    joined = torch.cat([each.flatten() for each in stored.values()])
    save_file({"all": joined}, tmp_path / WEIGHTS)
    with pytest.raises(ArtifactError, match="holds 1 tensors, and the adapters have 8"):
        checks.check_stored(made, tmp_path)


def test_adapters_that_are_not_applied_are_refused() -> None:
    base = tiny("llama")
    fresh = tuned(base, "lora", OPTIONS)
    assert fresh is not None
    with pytest.raises(ArtifactError, match="says exactly the same with its LoRA adapters as without"):
        checks.check_changes_logits(fresh, base)
    checks.check_changes_logits(trained(), base)


def test_another_adapter_than_the_trained_one_is_seen_when_it_is_read_again(tmp_path: Path) -> None:
    made, other = trained(0), trained(1)
    other.save(tmp_path)
    before = torch.random.get_rng_state()
    with pytest.raises(ArtifactError, match="say something else when they are read again"):
        checks.check_reloads(made, tiny("llama"), OPTIONS, tmp_path)
    checks.check_reloads(other, tiny("llama"), OPTIONS, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)  # what follows draws what it would have drawn


def test_seeds_with_the_same_adapters_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks.store_checked(trained(), OPTIONS, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    cards = [checks.check_stored(trained(), tmp_path / name) for name in ("one", "two")]
    other = checks.store_checked(trained(1), OPTIONS, tmp_path / "three")["tuned"]
    checks.check_seeds_differ({1: cards[0], 2: other})
    with pytest.raises(ArtifactError, match="of seed 2 are those of seed 1, bit for bit"):
        checks.check_seeds_differ({1: cards[0], 2: cards[1]})

    def stage(seed: int, card: dict[str, object], rank: int = 2) -> SimpleNamespace:
        return SimpleNamespace(kind="rank", card={"seed": seed, "config": {"rank": rank}, "tuned": card})

    monkeypatch.setattr(adapter_seeds, "listing", lambda root: [stage(1, cards[0])])
    adapter_seeds.check_other_seeds(tmp_path, stage(2, cards[1], rank=3))  # other options are another method
    with pytest.raises(ArtifactError, match="bit for bit"):
        adapter_seeds.check_other_seeds(tmp_path, stage(2, cards[1]))
