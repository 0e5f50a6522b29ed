"""A run that was trained on one dataset asked about another: only what is a function of texts can be carried over.

Source: A-LLMRec (arXiv 2404.11343), table 7; LLM-SRec (arXiv 2502.13909). The other dataset's items stand behind the
run's own as items that came after training, known by their texts alone; its users are unknown, with histories of such
items; only its own items are candidates. **What is said of each run** (:attr:`Across.notes`), since the papers are
silent: whether the user's vector is made by the run's backbone over inputs from texts or is the mean of the history's
item vectors from texts, and that a method of ids alone has equal scores for all items, which is exactly chance.

Shape key: B queries, I items of the run, J items of the other dataset, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import Scorer
from interlingua.data.prepare import DataConfig, prepare_config
from interlingua.data.prepared import Dataset
from interlingua.data.queries import IntArray, Queries
from interlingua.data.split import Part
from interlingua.errors import ConfigError
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.result import Report, load_report
from interlingua.evaluate.rules import measured_under
from interlingua.progress import say
from interlingua.retrieval.cascade import RetrieveThenRerank
from interlingua.runs.carried import notes_of
from interlingua.runs.grown import grown
from interlingua.runs.scorers import retriever_of, scorer_of
from interlingua.runs.session import Session
from interlingua.storage import artifact

VERSION = 2
"""raised when the same run and data give other numbers, or notes (2: items without texts, what is left behind)"""


@dataclass(frozen=True)
class Across:
    """A run measured on another dataset."""

    reports: dict[str, Report]
    """protocol -> report"""
    notes: tuple[str, ...]
    """what was carried over, and what could not be"""
    path: Path


class OtherDomain(Scorer):
    """A scorer over the J items that stand behind its own I, for users whom it does not know."""

    def __init__(self, scorer: Scorer, start: int, num_items: int) -> None:
        self.scorer, self.start, self.num_items = scorer, start, num_items
        self.ranks_catalogue = scorer.ranks_catalogue

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) or (B, J)."""
        unknown = np.full(len(queries), -1, np.int64)
        behind = replace(queries, users=unknown, items=queries.items + np.int32(self.start))
        if items is None:
            return np.ascontiguousarray(self.scorer.score(behind)[:, self.start :])
        return self.scorer.score(behind, np.asarray(items) + self.start)


class EqualScores(Scorer):
    """Knows nothing of any item."""

    def __init__(self, num_items: int) -> None:
        self.num_items = num_items

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) or (B, J) zeros."""
        return np.zeros((len(queries), self.num_items) if items is None else np.shape(items), np.float32)


def other_data(session: Session, name: str, overrides: Mapping[str, Any] | None = None) -> Dataset:
    """Another dataset, filtered and split as the run's own was.

    Args:
        session: a finished run.
        name: the dataset's name, a file or a folder.
        overrides: options of [data] that are others there.
    """
    own: DataConfig = session.recipe.data
    values = own.model_dump() if own.as_prepared else own.model_dump(include={"filter", "split", "clean", "label"})
    values.pop("as_prepared", None)
    return prepare_config(DataConfig.model_validate({**values, "name": name, **(overrides or {})}), session.seed)


def scorer_over(session: Session, other: Dataset) -> tuple[Scorer, tuple[str, ...]]:
    """A scorer of the run over the other dataset's items, and what it carries over.

    Args:
        session: a finished run.
        other: the prepared dataset.
    """
    start, count, prefix = session.data.split.train.num_items, len(other.catalogue), _prefix(session, other)
    try:
        found = grown(session, _lines(session, other, prefix))
    except ConfigError as error:
        why = "all items have equal scores, which is chance"
        return EqualScores(count), (f"nothing is carried over, so {why}: {str(error).splitlines()[0]}",)
    scorer, notes = scorer_of(found), notes_of(found, other, prefix)
    if not scorer.ranks_catalogue or ("rank" in found.done and not found.ranker.ranks_catalogue):
        first = OtherDomain(retriever_of(found)[1], start, count)
        ranker = OtherDomain(found.ranker, start, count)
        return RetrieveThenRerank(first, ranker, session.recipe.evaluate.retrieve), notes
    return OtherDomain(scorer, start, count), notes


def measure_across(
    session: Session, other: Dataset, protocols: Sequence[str], *, max_users: int | None = None, seed: int = 7,
    part: Part = "test", metrics: Sequence[str] = (),
) -> Across:  # fmt: skip
    """Measures a run on another dataset; what was measured before is reused.

    Args:
        session: a finished run.
        other: the prepared dataset.
        protocols: names; equal scores are shared out evenly (``+expected``) whatever they say.
        max_users: a random subset of the users.
        seed: of sampled candidates and of the subset.
        part: of the other dataset.
        metrics: beside the protocols' own; those that need the items' vectors or categories are refused.
    """
    names = [name if "+expected" in name else f"{name}+expected" for name in protocols]
    parts = {
        "run": {kind: made.key for kind, made in session.done.items() if kind != "evaluate"},
        "retrieve": session.recipe.evaluate.retrieve, "source": session.recipe.evaluate.candidate_source,
        "data": other.fingerprint, "protocols": names, "max_users": max_users, "seed": seed, "version": VERSION,
        "part": part, "metrics": list(metrics),
    }  # fmt: skip
    key, name = artifact.content_key(parts), f"{session.recipe.name}-on-{Path(str(other.card['name'])).stem}"
    with artifact.locked(session.root, "across", name, key):
        made = artifact.find(session.root, "across", name, key)
        if made is None:
            scorer, notes = scorer_over(session, other)
            fields = {"notes": list(notes), "protocols": names, "data_fingerprint": other.fingerprint}
            with artifact.writing(
                session.root, "across", name, key, parents={"evaluate": session.done["evaluate"]}, fields=fields
            ) as folder:
                for protocol in names:
                    report = evaluate(
                        scorer, other.split, part, protocol=protocol, max_users=max_users, seed=seed,
                        metrics=measured_under(protocol, metrics)[0],
                        label=f"{session.recipe.name} on {other.card['name']}, {protocol}",
                    )  # fmt: skip
                    report.save(folder / "protocols" / protocol)
            made = artifact.find(session.root, "across", name, key)
            assert made is not None
        else:
            say(f"across {name}: reusing {made.path}")
    reports = {each: load_report(made.path / "protocols" / each) for each in names}
    return Across(reports, tuple(made.entry("notes", list)), made.path)


def _prefix(session: Session, other: Dataset) -> str:
    """What begins ids that the run's own items cannot have."""
    prefix = f"{other.card['name']}/"
    while any(str(item).startswith(prefix) for item in session.data.catalogue.items["item_id"]):
        prefix = f"other/{prefix}"
    return prefix


def _lines(session: Session, other: Dataset, prefix: str) -> pl.DataFrame:
    """(J) lines of the run's catalogue: the other's texts."""
    own, items = session.data.catalogue.items, other.catalogue.items
    lines = items.with_columns((pl.lit(prefix) + pl.col("item_id")).alias("item_id"))
    missing = [pl.lit(None, pl.String).alias(column) for column in own.columns if column not in lines.columns]
    return lines.with_columns(missing).select(own.columns)
