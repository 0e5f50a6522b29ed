"""The result of one evaluation: means, intervals, slices and every user's values, as a folder of JSON and NPZ."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interlingua.errors import ArtifactError, ConfigError, unknown
from interlingua.evaluate.accuracy import Ranks, Values
from interlingua.evaluate.named import compute, mean

METRICS_FILE = "metrics.json"
USERS_FILE = "per_user.npz"


@dataclass(frozen=True)
class SliceResult:
    """The metrics of one slice."""

    definition: str
    n_users: int
    n_targets: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Report:
    """One scorer under one protocol on one part of a split."""

    protocol: str
    """id that encodes every choice; numbers with different ids are not comparable"""
    part: str
    """``test``: the sealed part was opened for this report; ``valid``: it was not"""
    population: str
    """hash of the users and targets: two reports compare only if it is equal"""
    metrics: dict[str, float]
    """means over users, or one number for all of them together (``coverage@10``)"""
    intervals: dict[str, tuple[float, float]]
    """95 % bootstrap intervals over users"""
    n_users: int
    n_targets: int
    seconds: float
    """of scoring and counting, without intervals"""
    slices: dict[str, SliceResult] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    undefined: dict[str, str] = field(default_factory=dict)
    """metric without a number (NaN; null in JSON) -> why"""
    opened: str = ""
    """when the part was opened (UTC)"""
    users: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    """(M,) user indices"""
    per_user: dict[str, Values] = field(default_factory=dict, repr=False)
    """metric -> (M,), NaN if it is undefined for a user; without metrics that have no value per user"""
    ranks: Ranks | None = field(default=None, repr=False)
    """(T,) position of every target"""
    target_items: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32), repr=False)
    """(T,) item indices of the targets"""
    masks: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict, repr=False)
    """slice -> (T,) True for its targets"""

    def to_json(self) -> dict[str, Any]:
        """Everything except the per-user arrays, as plain values; undefined values are null."""
        found = {
            "protocol": self.protocol,
            "part": self.part,
            "population": self.population,
            "n_users": self.n_users,
            "n_targets": self.n_targets,
            "metrics": dict(self.metrics),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "slices": {
                name: {
                    "definition": s.definition,
                    "n_users": s.n_users,
                    "n_targets": s.n_targets,
                    "metrics": dict(s.metrics),
                    "intervals": {metric: list(pair) for metric, pair in s.intervals.items()},
                }
                for name, s in self.slices.items()
            },
            "warnings": list(self.warnings),
            "undefined": dict(self.undefined),
            "opened": self.opened,
            "seconds": round(self.seconds, 3),
        }
        strict: dict[str, Any] = _null(found)
        return strict

    def save(self, folder: Path | str) -> Path:
        """Writes ``metrics.json`` and ``per_user.npz`` into a folder (made if missing).

        Raises:
            ArtifactError: the folder cannot be written.
        """
        folder = Path(folder)
        arrays: dict[str, npt.NDArray[Any]] = {"users": self.users, "target_items": self.target_items}
        arrays |= {f"metric/{name}": values for name, values in self.per_user.items()}
        arrays |= {f"slice/{name}": mask for name, mask in self.masks.items()}
        if self.ranks is not None:
            arrays |= {"first": self.ranks.first, "last": self.ranks.last, "offsets": self.ranks.offsets}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(folder / USERS_FILE, **arrays)  # type: ignore[arg-type]
            text = json.dumps(self.to_json(), indent=1, ensure_ascii=False)
            (folder / METRICS_FILE).write_text(text, encoding="utf-8")
        except OSError as error:
            raise ArtifactError(f"cannot write the report in {folder}: {error.strerror or error}") from error
        return folder


def _null(value: Any) -> Any:
    """Nested plain values with None for NaN, which is no JSON."""
    if isinstance(value, dict):
        return {key: _null(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_null(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: _number(value) for name, value in values.items()}


def at_slice(report: Report, name: str) -> Report:
    """The report of a single slice, for comparing runs on it; the slice is part of the protocol id.

    Raises:
        ConfigError: the report has no such slice.
    """
    if name not in report.masks or report.ranks is None:
        raise ConfigError(unknown("slice", name, report.masks, "the report"))
    ranks, indices = report.ranks.keep(report.masks[name])
    part = report.slices[name]
    return replace(
        report, protocol=f"{report.protocol}; slice={name}", metrics=part.metrics, intervals=part.intervals,
        n_users=part.n_users, n_targets=part.n_targets, slices={}, users=report.users[indices],
        per_user=compute(ranks, list(report.per_user)), ranks=ranks,
        target_items=report.target_items[report.masks[name]], masks={},
    )  # fmt: skip


def load_report(folder: Path | str) -> Report:
    """Reads a folder that :meth:`Report.save` wrote.

    Raises:
        ArtifactError: a file is missing or damaged, or the two do not belong together.
    """
    folder = Path(folder)
    try:
        values = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        with np.load(folder / USERS_FILE, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        report = _from(values, arrays)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{folder} holds no evaluation report: {Path(str(error.filename)).name} is missing; "
            "run interlingua evaluate, or name the folder of a finished run"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"the report in {folder} is damaged ({error!r}); evaluate the run again") from None
    for name, each in report.per_user.items():
        found = mean(each)
        if len(each) != report.n_users or not _same(found, report.metrics.get(name, math.inf)):
            raise ArtifactError(
                f"{folder}: {USERS_FILE} gives {name} = {found:.6f} over {len(each)} users, {METRICS_FILE} says "
                f"{report.metrics.get(name)} over {report.n_users}; one of them was changed: evaluate the run again"
            )
    return report


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))


def _from(values: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Report:
    ranks = Ranks(arrays["first"], arrays["last"], arrays["offsets"]) if "first" in arrays else None
    return Report(
        protocol=str(values["protocol"]),
        part=str(values["part"]),
        population=str(values["population"]),
        metrics=_numbers(values["metrics"]),
        intervals=_pairs(values["intervals"]),
        n_users=int(values["n_users"]),
        n_targets=int(values["n_targets"]),
        seconds=float(values["seconds"]),
        slices={
            name: SliceResult(
                s["definition"], s["n_users"], s["n_targets"], _numbers(s["metrics"]), _pairs(s["intervals"])
            )
            for name, s in values["slices"].items()
        },
        warnings=tuple(values["warnings"]),
        undefined=dict(values.get("undefined", {})),
        opened=str(values["opened"]),
        users=arrays["users"],
        per_user={n.removeprefix("metric/"): a for n, a in arrays.items() if n.startswith("metric/")},
        ranks=ranks,
        target_items=arrays["target_items"],
        masks={n.removeprefix("slice/"): a for n, a in arrays.items() if n.startswith("slice/")},
    )


def _pairs(values: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: (_number(low), _number(high)) for name, (low, high) in values.items()}
