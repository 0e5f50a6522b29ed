"""A run's text source for components that read further texts: its vectors, the items' words, and its encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.text import Text
from interlingua.runs.plan import is_trainable, part_fingerprint
from interlingua.runs.section import Section
from interlingua.runs.session import Session, make_text
from interlingua.training.loop import derive_seed
from interlingua.vectors.cache import EncodeChunk, cached_vectors
from interlingua.vectors.fields import item_texts
from interlingua.vectors.frozen import BASIS
from interlingua.vectors.readable import ReadableEncoder, ReadableRows

SOME = 64
"""texts that are read between two words of progress"""


def text_for(session: Session, part: Section) -> Text | None:
    """The run's text source, as the component ``part`` reads it: with words and encoder if it asks for them."""
    if "text.encoder" not in part.cls.needs(part.config):
        return session.text
    if is_trainable(_text(session)):
        return learning(_text(session), session.data)
    tables, config = session.exported("embed"), _text(session).config
    titles, texts = list(session.data.catalogue.titles), item_texts(session.data.catalogue, config)
    if config.control == "shuffled":  # each item has another's words, as its row of the table is another's
        order = np.random.default_rng(derive_seed(session.seed, "words")).permutation(len(titles))
        titles, texts = [titles[n] for n in order], [texts[n] for n in order]
    return ReadableRows(
        tables["items"], tables.get("users"), titles=titles, texts=texts, encode=lambda read: encoded(session, read)
    )


def learning(text: Section, data: Any) -> ReadableEncoder:
    """An encoder that is trained along, over a prepared dataset, with the items' words."""
    words = list(data.catalogue.titles), item_texts(data.catalogue, text.config)
    return ReadableEncoder(make_text(text, data), titles=words[0], texts=words[1])


def encoded(session: Session, texts: Sequence[str]) -> Tensor:
    """(n, T) vectors of any texts as the rows of the run's table; kept on disk, so that a killed run goes on."""
    part, stage = _text(session), session.done["embed"]

    def loaded(made: Callable[[int], None]) -> EncodeChunk:
        encoder: Any = part.cls.of_stage(part.config, stage.path)

        def run(chunk: list[str]) -> FloatArray:
            found: list[FloatArray] = []
            for start in range(0, len(chunk), SOME):
                found.append(encoder.encode(chunk[start : start + SOME]).detach().float().cpu().numpy())
                made(len(found[-1]))
            return np.concatenate(found)

        return run

    parts = {"options": part.options(), "fingerprint": part_fingerprint(part), "items": _hash(session)}
    vectors = torch.from_numpy(cached_vectors(part.name, parts, texts, loaded, None))
    reduced = stage.path / BASIS
    return vectors @ load_file(reduced)["basis"] if reduced.is_file() else vectors


def _hash(session: Session) -> str:
    """Of the items' vectors: an encoder that learns from the texts is another one where these are others."""
    return hashlib.sha256(session.exported("embed")["items"].numpy().tobytes()).hexdigest()


def _text(session: Session) -> Section:
    assert session.recipe.text is not None, "the pairs of a recipe were compared before"
    return session.recipe.text
