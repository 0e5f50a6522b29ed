"""Whether LoRA adapters are real: stored whole, different from nothing, the same when read again, of their seed.

TALLRec's published evaluation measured the frozen model (issues 23, 41, 58, 66 of SAI990323/TALLRec): newer peft wrote
an empty file, or a missing one was only warned about, and every seed and epoch gave one number. Each check raises an
:class:`ArtifactError` that says which of these it is. The fifth, that B is not zero, is
:meth:`interlingua.lm.adapters.Tuned.check_it_changes_something`.

Shape key: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interlingua.errors import ArtifactError
from interlingua.lm.adapters import WEIGHTS, LoraOptions, Tuned, tuned
from interlingua.lm.models import LanguageModel
from interlingua.storage.contents import hash_file

PROBE = "The next one is"
"""what both models read to be compared"""


def check_stored(made: Tuned, folder: Path) -> dict[str, Any]:
    """The stored file holds as many tensors and bytes as there are parameters; returns both, for a card.

    Raises:
        ArtifactError: fewer tensors than adapters, or a file too small for their numbers.
    """
    from safetensors import safe_open

    file = folder / WEIGHTS
    expected = dict(made.named_parameters())
    needed = sum(p.numel() * p.element_size() for p in expected.values())
    size = file.stat().st_size if file.is_file() else 0
    if size < needed:
        raise ArtifactError(
            f"{file} has {size:,} bytes, and the {len(expected)} tensors of the adapters need {needed:,}: it was not "
            "written whole; look at the disk, and run the recipe again"
        )
    with safe_open(file, framework="pt") as stored:
        count = len(stored.keys())
    if count != len(expected):
        raise ArtifactError(
            f"{file} holds {count} tensors, and the adapters have {len(expected)}: another version of peft names its "
            "parameters otherwise; install the version in constraints.txt, and run the recipe again"
        )
    return {"tensors": count, "bytes": size, "sha256": hash_file(file)}


@torch.no_grad()
def probe_logits(lm: LanguageModel) -> Tensor:
    """(T, V) what a model says after each token of :data:`PROBE`."""
    ids = torch.tensor([lm.tokenize(PROBE) or [lm.eos_token_id]])
    return lm.logits(lm.forward(lm.embed(ids)).states)[0].float().cpu()


def check_changes_logits(made: Tuned, base: LanguageModel) -> None:
    """The model with adapters says something else than the one without.

    Raises:
        ArtifactError: the logits are equal, bit for bit.
    """
    if torch.equal(probe_logits(made.lm), probe_logits(base)):
        raise ArtifactError(
            f"{base.name} says exactly the same with its LoRA adapters as without: they are not applied, or have "
            "learned nothing that its precision can show; train longer (fit.epochs, fit.learning_rate), or set "
            "precision = 'fp32'"
        )


def check_reloads(made: Tuned, base: LanguageModel, options: LoraOptions, folder: Path) -> None:
    """Adapters read from their folder say the same as those that were stored.

    Raises:
        ArtifactError: they do not fit, or the logits differ.
    """
    state = torch.random.get_rng_state()
    again = tuned(base, "lora", options, start=folder)
    torch.random.set_rng_state(state)  # fresh adapters drew numbers, which nobody is to see
    assert again is not None
    again._apply(lambda each: each.to(made.lm.device))
    if not torch.allclose(probe_logits(again.lm), probe_logits(made.lm), rtol=1e-4, atol=1e-4):
        raise ArtifactError(
            f"the adapters in {folder} say something else when they are read again: what was stored is not what was "
            "trained; run the recipe again"
        )


def store_checked(made: Tuned | None, options: LoraOptions, folder: Path) -> dict[str, Any]:
    """Stores what a language model has learned, with every check of this file but that of seeds; the card's entry.

    None: nothing was tuned, and there is no entry.
    """
    if made is None:
        return {}
    card = made.save(folder)
    if made.kind == "lora":
        base = made.lm.whole
        assert base is not None
        check_changes_logits(made, base)
        card |= check_stored(made, folder)
        check_reloads(made, base, options, folder)
    return {"tuned": card}


def check_seeds_differ(cards: Mapping[int, Mapping[str, Any]]) -> None:
    """Adapters of different seeds are different.

    Args:
        cards: seed -> entry of :func:`check_stored`, of runs with equal options.

    Raises:
        ArtifactError: two seeds with the same adapters.
    """
    owners: dict[str, int] = {}
    for seed, card in cards.items():
        first = owners.setdefault(str(card["sha256"]), seed)
        if first != seed:
            raise ArtifactError(
                f"the LoRA adapters of seed {seed} are those of seed {first}, bit for bit: the training did not follow "
                "its seed, or its files were copied; remove the folder of one of the two and run it again"
            )
