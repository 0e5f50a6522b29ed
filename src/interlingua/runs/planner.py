"""``--dry-run``: the stages of a recipe, which are finished, and the memory and time that the rest will take.

A finished stage shows what it took; the others are estimated with this data on this machine
(:mod:`interlingua.runs.estimate`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from interlingua.data.prepared import Dataset
from interlingua.progress import duration
from interlingua.runs.estimate import Estimate, Estimator
from interlingua.runs.session import Session
from interlingua.storage import artifact

SHARED = ("prepare", "evaluate")
"""stages that members of ``[fuse]`` share with the run that joins them, or do not have"""


def describe(session: Session) -> list[dict[str, Any]]:
    """One row per stage, in the order in which they run; members of ``[fuse]`` come before the stage that joins them.

    Keys: stage, name, key, cached, parameters, memory, time, seconds, note.
    """
    return _rows(session)[0]


def _rows(
    session: Session, data: Dataset | None = None, skip: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], Dataset | None]:
    """The rows without the stages to ``skip``, and the prepared data, if any. ``data``: already prepared."""
    cached = {
        kind: artifact.find(session.root, stage.kind, stage.name, stage.key)
        for kind, stage in session.plan.items()
        if kind not in skip
    }
    estimator, estimates = Estimator(session, data), dict[str, Estimate]()
    if None in cached.values():
        estimates = estimator.all(skip)
    rows = []
    for kind, found in cached.items():
        if kind == "fuse":
            rows += _of_members(session, estimator.prepared)
        stage = session.plan[kind]
        row = {"stage": kind, "name": stage.name, "key": stage.key, "cached": found is not None}
        rows.append(row | (_known(found.card) if found is not None else _expected(estimates[kind])))
    return rows, estimator.prepared


def _of_members(session: Session, data: Dataset | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, member in enumerate(session.members, 1):
        own, data = _rows(member, data, SHARED)
        rows += [row | {"stage": f"{number}.{row['stage']}"} for row in own]
    return rows


def seconds_of_member(member: Session, data: Dataset) -> float:
    """Expected seconds of a member's own unfinished stages on the prepared data."""
    rows, _ = _rows(member, data, SHARED)
    return sum(row["seconds"][1] for row in rows if row["seconds"] is not None)


def total(rows: list[dict[str, Any]]) -> str:
    """One line: the time of all unfinished stages, with its range."""
    left = [row["seconds"] for row in rows if not row["cached"] and row["seconds"] is not None]
    low, expected, high = (sum(one[place] for one in left) for place in range(3))
    return f"about {duration(expected)} in all ({duration(low)} to {duration(high)})"


def _known(card: Mapping[str, Any]) -> dict[str, Any]:
    parameters = card.get("parameters")
    return {
        "parameters": count(int(parameters)) if parameters is not None else "",
        "memory": f"{(card['peak_memory_bytes'] or 0) / 2**30:.1f} GiB",
        "time": "0 s",
        "seconds": [0.0, 0.0, 0.0],
        "note": "",
    }


def _expected(one: Estimate) -> dict[str, Any]:
    known = math.isfinite(one.seconds)
    return {
        "parameters": count(one.parameters) if one.parameters else "",
        "memory": f"~{one.memory_bytes / 2**30:.1f} GiB" if known else "",
        "time": f"~{duration(one.seconds)}" if known else "not known",
        "seconds": [round(s, 2) for s in (one.low, one.seconds, one.high)] if known else None,
        "note": one.note,
    }


def count(parameters: int) -> str:
    """``1234567`` -> ``1.2M``."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if parameters >= size:
            return f"{parameters / size:.1f}{unit}"
    return str(parameters)
