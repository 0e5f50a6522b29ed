"""Vectors of texts that came after training, by the encoders of a finished run: as its own texts were made."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor

from interlingua.contracts.text import Encoder
from interlingua.errors import ArtifactError, ConfigError
from interlingua.runs.plan import part_fingerprint, parts_of
from interlingua.runs.section import Section
from interlingua.storage.artifact import Artifact
from interlingua.vectors.frozen import BASIS, WEIGHTS

if TYPE_CHECKING:
    from interlingua.runs.session import Session

REMEMBERED = 20_000
"""vectors of texts that are kept in memory beside those of the new items, of each encoder: sentences"""
TRAINED_ALONG = "align"
"""stage that holds the weights of an encoder without a stage of its own"""


class NewTexts:
    """The encoders of one run, each loaded when it is first asked; what they have read is remembered."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._encoders: dict[str, tuple[Encoder, Tensor | None]] = {}
        self._known: dict[str, dict[str, Tensor]] = {}

    def sections(self) -> list[str]:
        """Names of what reads texts: ``text``, ``texts.NAME``."""
        recipe = self.session.recipe
        return [*(["text"] if recipe.text is not None else []), *(f"texts.{name}" for name in recipe.texts)]

    def vectors(self, section: str, texts: Sequence[str]) -> Tensor:
        """(n, T) as the rows of the section's own table.

        A call names the texts of all new items, and those of a sentence: so an item is read once, however many there
        are.

        Raises:
            ConfigError: this encoder reads no new text: profiles, brought vectors, controls of an experiment.
            ArtifactError: it is not what the run was made with.
        """
        known = self._known.setdefault(section, {})
        distinct = dict.fromkeys(texts)
        fresh = [text for text in distinct if text not in known]
        if fresh:
            encoder, basis = self._loaded(section)
            made = encoder.encode(fresh).detach().float().cpu()
            known.update(zip(fresh, made if basis is None else made @ basis, strict=True))
        found = torch.stack([known[text] for text in texts])
        if len(known) > len(distinct) + REMEMBERED:
            self._known[section] = {text: known[text] for text in distinct}
        return found

    def load(self) -> None:
        """Loads every encoder that can read new texts, so that the first of them need not wait."""
        for section in self.sections():
            with suppress(ConfigError, ArtifactError):
                self._loaded(section)[0].encode([])

    def _loaded(self, section: str) -> tuple[Encoder, Tensor | None]:
        if section not in self._encoders:
            self._encoders[section] = self._encoder(section)
        return self._encoders[section]

    def _encoder(self, section: str) -> tuple[Encoder, Tensor | None]:
        session, name = self.session, section.rpartition(".")[2]
        stage = "embed" if section == "text" else f"{name}.embed"
        made = session.done.get(stage)
        part = parts_of(session.recipe, stage)[section]
        _check(part, section)
        if made is None:
            return _trained_along(session, part), None
        _check_unchanged(part, section, made)
        basis = load_file(made.path / BASIS)["basis"] if (made.path / BASIS).is_file() else None
        if part.config.reduce is not None and basis is None:
            raise ArtifactError(
                f"{made.path} was made by an older interlingua, which kept no directions of [{section}].reduce: run "
                "the recipe again into another folder"
            )
        encoder: Encoder = part.cls.of_stage(part.config, made.path)
        return encoder, basis


def _check(part: Section, section: str) -> None:
    config = part.config
    if config.profiles is not None:
        raise ConfigError(
            f"[{section}] reads profiles that a language model wrote of each item, and of a new text there is none; "
            "use a recipe whose text source reads the catalogue's own texts"
        )
    if config.control != "none":
        raise ConfigError(f"[{section}].control = {config.control!r} is a control of an experiment: it reads no text")


def _check_unchanged(part: Section, section: str, stage: Artifact) -> None:
    """Refuses another model than the one that read the catalogue."""
    then, now = stage.entry("fingerprint", dict), part_fingerprint(part)
    for option in type(part.config).named_models:
        before = then.get(f"{section}.{option}", then.get(f"text.{option}"))
        if before is not None and now.get(option) != before:
            raise ArtifactError(
                f"[{section}].{option} = {part.options().get(option)!r} is not the encoder that the run was made with "
                f"(then {before}, now {now.get(option)}): put back what was there, or run the recipe again"
            )


def _trained_along(session: Session, part: Section) -> Encoder:
    """The encoder that an aligner has tuned.

    Raises:
        ConfigError: the aligner has dropped its weights.
    """
    own = weights_trained_along(session)
    if not own:
        raise ConfigError(
            "[text].trainable: the encoder learned in the aligner's first phase and was not kept; where new texts must "
            "be read, use a recipe whose items are their texts, e.g. morec or unisrec"
        )
    encoder = part.cls(part.config, [])
    encoder.load_state_dict(own, strict=False)
    found: Encoder = encoder.eval()
    return found


def weights_trained_along(session: Session) -> dict[str, Tensor]:
    """Those of a text encoder without a stage of its own, by name; none where the aligner has dropped them."""
    state = load_file(session.done[TRAINED_ALONG].path / WEIGHTS)
    return {name.removeprefix("text."): held for name, held in state.items() if name.startswith("text.")}
