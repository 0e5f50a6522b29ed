"""Lists by the single stages of one run, to stand side by side: what popularity says, each member or the backbone, and
what the run recommends in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interlingua.contracts.scorer import Scorer, TableScorer
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, unknown
from interlingua.retrieval.best import best
from interlingua.runs.answers import Answer, Recommendation, Request
from interlingua.runs.lists import Lists
from interlingua.runs.neighbours import text_vectors
from interlingua.runs.newcomers import STAGE
from interlingua.runs.questions import Question
from interlingua.runs.scorers import scorer_of

POPULARITY, TEXTS, BACKBONE, MEMBER = "popularity", "texts", "backbone", "member"
RETRIEVED, SERVED = "retrieved", "served"


@dataclass(frozen=True)
class Column:
    """One of the lists that stand side by side."""

    id: str
    """what it is asked for by"""
    name: str
    """of the recipe or component"""
    about: str
    """what decides it, in words"""
    first: bool = True
    """whether it is shown at first: at most four are"""


def columns_of(lists: Lists) -> list[Column]:
    """The lists that a run can show; the last one is what it recommends."""
    session = lists.session
    found = [Column(POPULARITY, "popularity", "what most users had in training, the same for everybody")]
    recipe = session.recipe
    if recipe.fuse is not None:
        shown = _shown_members([member.recipe.text is not None for member in session.members])
        for number, member in enumerate(session.members):
            reads = "by events and texts" if member.recipe.text is not None else "by events alone"
            about = f"one of the members that are joined: {reads}"
            found.append(Column(f"{MEMBER}-{number + 1}", member.recipe.name, about, number in shown))
        about = f"all {len(session.members)} members joined ({recipe.fuse.name})"
    else:
        backbone = "model" if recipe.backbone is None else recipe.backbone.name
        stage = lists.retriever[0]
        about = f"the model {backbone}"
        if text_vectors(session) is not None:
            found.append(Column(TEXTS, "texts alone", "what is written like the history"))
        if lists.has_ranker or stage != "train":
            found.append(Column(BACKBONE, backbone, "the backbone alone"))
        if lists.has_ranker and stage != "train":
            found.append(Column(RETRIEVED, "aligned", "the backbone, with new items by their texts"))
        if lists.has_ranker and recipe.ranker is not None:
            about = f"the language model's order ({recipe.ranker.name})"
        elif stage != "train":
            about = "the backbone, with new items by their texts"
    return [*found, Column(SERVED, recipe.name, f"what is recommended: {about}")]


def _shown_members(reads_texts: list[bool]) -> set[int]:
    """Places of two members to begin with: the last by events alone (the others are simpler), the first with texts."""
    events = [place for place, reads in enumerate(reads_texts) if not reads]
    texts = [place for place, reads in enumerate(reads_texts) if reads]
    return {*events[-1:], *texts[:1]}


def column_answer(lists: Lists, column: str, request: Request, question: Question) -> Answer:
    """The list of one column for one question. A sentence (``request.text``) is read by what is recommended alone.

    Raises:
        ConfigError: a column that the run does not have.
    """
    _check(lists, column)
    if column == SERVED:
        return lists.answer(request, question)
    if column == RETRIEVED:
        return lists.answer(replace(request, rerank=False, text=None), question)
    return _by_scorer(lists, _scorer(lists, column), column, request, question)


def _check(lists: Lists, column: str) -> None:
    known = [each.id for each in columns_of(lists)]
    if column not in known:
        raise ConfigError(unknown("column", column, known))


def column_reasons(
    lists: Lists, language_model: Callable[[], Any], column: str, query: Queries, items: Sequence[int],
    text: str | None = None, text_weight: float = 0.5,
) -> list[Any]:  # fmt: skip
    """Reasons for items (indices) by the score of one column. What is recommended is worded as everywhere; the other
    columns by the rule. Popularity has none: it knows nothing of the user. A ``text`` is read by what is recommended.

    Raises:
        ConfigError: a column that the run does not have.
    """
    _check(lists, column)
    if column == POPULARITY:
        return []
    if column in (SERVED, RETRIEVED):
        said = (text, text_weight) if column == SERVED else ()
        return lists.explained(language_model, query, items, column == SERVED, *said)
    return list(lists.reasons.of(_scorer(lists, column), lambda: None, query, items, column))


def _scorer(lists: Lists, column: str) -> Scorer:
    session = lists.session
    if column == BACKBONE:
        return session.backbone
    if column.startswith(MEMBER):
        return scorer_of(session.members[int(column.removeprefix(f"{MEMBER}-")) - 1])
    if column == TEXTS:
        return _texts_alone(lists)
    counts = np.zeros(lists.train.num_items, np.float32)
    counts[: len(lists.train.item_counts)] = lists.train.item_counts
    return TableScorer(torch.from_numpy(counts)[:, None], lambda queries: torch.ones(len(queries), 1))


def _texts_alone(lists: Lists) -> Scorer:
    """The cosine of an item's text with the mean of the history's texts."""
    found = text_vectors(lists.session)
    assert found is not None
    table = torch.nn.functional.normalize(found.float(), dim=1)

    def users(queries: Queries) -> Tensor:
        owner = torch.from_numpy(np.repeat(np.arange(len(queries)), queries.lengths()))
        history = table[torch.from_numpy(np.asarray(queries.items, np.int64))]
        total = torch.zeros(len(queries), table.shape[1]).index_add_(0, owner, history)
        return torch.nn.functional.normalize(total, dim=1)

    return TableScorer(table, users)


def _by_scorer(lists: Lists, scorer: Scorer, stage: str, request: Request, question: Question) -> Answer:
    allowed = lists.questions.allowed(request)
    found = best(
        scorer, question.queries, request.k, allowed=allowed.mask, repeat=request.repeat, seen=question.seen,
        ties=lists.train.item_counts,
    )  # fmt: skip
    notes, named = list[str](), STAGE if stage == POPULARITY else stage
    if stage != POPULARITY and bool(lists.newcomers.among(question.queries).any()):
        notes.append("no history that tells the run anything")
    pairs = zip(found.indices[0], found.scores[0], strict=True)
    items = [
        Recommendation(str(lists.train.item_ids[row]), lists.titles[row], float(score), named)
        for row, score in pairs
        if row >= 0
    ]
    return Answer(items, tuple(notes))
