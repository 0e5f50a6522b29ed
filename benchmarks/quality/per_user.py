"""Every user's Recall@20 of every run, in one small file beside the results: tests need no run folder.

Recall is a count over a user's held-out items, so a run is one byte a user. ``runs`` names the rows as in the results'
``rows``; ``population`` is the hash of users and targets, so that other splits are refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.result import Report

METRIC = "recall@20"


class UserHits:
    """Hits among the first 20 of each user, by run."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.population, self.protocol = "", ""
        self.targets: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self.hits: dict[str, npt.NDArray[np.uint8]] = {}
        if file.is_file():
            with np.load(file, allow_pickle=False) as stored:
                self.population, self.protocol = str(stored["population"]), str(stored["protocol"])
                self.targets = stored["targets"]
                self.hits = dict(zip(stored["runs"].tolist(), stored["hits"], strict=True))

    def add(self, run: str, report: Report) -> None:
        """Takes one run's values and rewrites the file."""
        assert report.ranks is not None
        targets = np.diff(report.ranks.offsets).astype(np.int32)
        if self.hits and (report.population, report.protocol) != (self.population, self.protocol):
            raise SystemExit(f"{run} was measured on other users or by another protocol than {self.file} holds")
        hits = np.rint(report.per_user[METRIC] * targets)
        if not np.allclose(hits / targets, report.per_user[METRIC], atol=1e-9) or hits.max(initial=0) > 255:
            raise SystemExit(f"{run}: {METRIC} is no count over a user's targets")
        self.population, self.protocol, self.targets = report.population, report.protocol, targets
        self.hits[run] = hits.astype(np.uint8)
        names = sorted(self.hits)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            self.file, population=np.array(self.population), protocol=np.array(self.protocol), targets=self.targets,
            runs=np.array(names), hits=np.stack([self.hits[name] for name in names]),
        )  # fmt: skip

    def report(self, run: str) -> Report:
        """The run as :func:`interlingua.evaluate.compare.compare` takes it, with this metric alone."""
        values = self.hits[run] / self.targets
        return Report(
            self.protocol, "test", self.population, {METRIC: float(values.mean())}, {}, len(values),
            int(self.targets.sum()), 0.0, per_user={METRIC: values},
        )  # fmt: skip
