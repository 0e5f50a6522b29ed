"""``--dry-run``: which stages a recipe has, what is cached, and how much memory and time the rest will take.

Memory and time are medians over earlier runs of the same component in the runs folder; a component that never ran there
says so instead of guessing.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from interlingua import artifact
from interlingua.progress import duration
from interlingua.session import Session


def describe(session: Session) -> list[dict[str, Any]]:
    """One row per stage: stage, name, key, cached, parameters, memory, time."""
    earlier = artifact.listing(session.root) if session.root.is_dir() else []
    rows = []
    for kind, stage in session.plan.items():
        same = [a.card for a in earlier if a.kind == kind and a.card["name"] == stage.name]
        cached = artifact.find(session.root, kind, stage.name, stage.key)
        own = [cached.card] if cached else same
        parameters = [c["parameters"] for c in own if "parameters" in c]
        rows.append(
            {
                "stage": kind,
                "name": stage.name,
                "key": stage.key,
                "cached": cached is not None,
                "parameters": _count(int(median(parameters))) if parameters else "",
                "memory": f"{median(c['peak_memory_bytes'] for c in own) / 2**30:.1f} GiB" if own else "",
                "time": _time(cached is not None, [c["seconds"] for c in own]),
            }
        )
    return rows


def _time(cached: bool, seconds: list[float]) -> str:
    if cached:
        return "0 s"
    return f"~{duration(median(seconds))}" if seconds else "never run here"


def _count(parameters: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if parameters >= size:
            return f"{parameters / size:.1f}{unit}"
    return str(parameters)
