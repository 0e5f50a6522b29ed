"""What a finished run ranks with: its last stage that can score, and what retrieves for a language model."""

from __future__ import annotations

import torch

from interlingua.contracts.scorer import Ranker, TableRanker
from interlingua.errors import ConfigError
from interlingua.retrieval.cascade import Cascade
from interlingua.runs.session import Session, known_items


def ranker_of(session: Session) -> Ranker:
    """What is measured, served and exported: the last stage that can score."""
    if "read" in session.done:
        reader = session.reader
        return reader if scores_catalogue(reader) else cascade_of(session, reader)
    return retriever_of(session)[1]


def retriever_of(session: Session) -> tuple[str, Ranker]:
    """(stage, ranker): what ranks the catalogue by itself, before any reader.

    The aligned vectors, where ``evaluate.retrieve_by`` asks for them or a run without a reader ends with an alignment
    into the space of a frozen backbone; else the backbone.
    """
    recipe, part = session.recipe, session.recipe.align
    last = "read" not in session.done and recipe.frozen_backbone
    if part is not None and (recipe.evaluate.retrieve_by == "aligned" or (last and part.cls.keeps_space)):
        return "align", aligned_ranker(session)
    return "train", session.backbone


def scores_catalogue(reader: Ranker | None) -> bool:
    """Whether a reader ranks every item by itself (a head over the catalogue), so that nothing need retrieve for it."""
    return bool(getattr(reader, "scores_catalogue", False))


def aligned_ranker(session: Session) -> TableRanker:
    """The backbone's users and items; items that it has not learned through their texts, decoded to its space.

    Raises:
        ConfigError: the backbone's score is no dot product of vectors, or the aligner makes no item vectors from texts.
    """
    if "dot_product" not in session.backbone.makes(session.backbone.config):
        name = "" if session.recipe.backbone is None else session.recipe.backbone.name
        raise ConfigError(
            f"the backbone {name!r} does not score by one dot product, so item vectors made from texts cannot stand in "
            "for its own; choose another backbone, or a reader ([llm]) that reads the texts"
        )
    aligner, known = session.aligner, known_items(session)
    if session.aligned.text_items is None:
        name = "" if session.recipe.align is None else session.recipe.align.name
        raise ConfigError(
            f"evaluate.retrieve_by = 'aligned': the aligner {name!r} makes no item vectors from texts alone; leave the "
            "option out, or choose the aligner contrastive, autoencoder or ridge"
        )
    cold = ~session.backbone.learned_items(session.data.split.train)
    with torch.no_grad():
        table, decoded = session.backbone.item_table().detach(), aligner.to_backbone(known)
    bias = session.backbone.item_bias()
    if bias is not None and bool(cold.any()) and not bool(cold.all()):
        bias = torch.where(cold, bias[~cold].mean(), bias)  # an item that was not learned has none
    return TableRanker(torch.where(cold[:, None], decoded, table), session.backbone.represent, bias)


def cascade_of(session: Session, reader: Ranker | None, retriever: Ranker | None = None) -> Cascade:
    """Something fast retrieves, the reader orders; a reader that ranks the whole catalogue does both.

    Args:
        session: a finished run.
        reader: None leaves the retriever's order.
        retriever: see :func:`retriever_of`, which is asked where None is given.
    """
    if reader is not None and scores_catalogue(reader):
        first, reader = reader, None
    else:
        first = retriever or retriever_of(session)[1]
    options, items = session.recipe.evaluate, session.data.split.train.num_items
    return Cascade(lambda q: first.score(q, None), reader, options.retrieve, items)
