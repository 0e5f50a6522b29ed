"""Results of a run: its numbers per protocol, read from its folder on demand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlingua.errors import ConfigError
from interlingua.storage.artifact import load

if TYPE_CHECKING:
    from interlingua.evaluate.result import Report
    from interlingua.storage.artifact import Artifact


class Measured:
    """The numbers of a :class:`interlingua.runs.session.Session` whose evaluate stage is done.

    Every property raises :class:`interlingua.errors.ConfigError` where nothing has been measured yet.
    """

    done: dict[str, Artifact]

    @property
    def path(self) -> Path:
        """The run's folder (``runs/evaluate-...``): what ``interlingua.load`` and every command take."""
        if "evaluate" not in self.done:
            raise ConfigError(
                f"nothing has been measured yet: the finished stages are {', '.join(self.done) or 'none'}; "
                "interlingua.run(...) runs them all"
            )
        return self.done["evaluate"].path

    @property
    def reports(self) -> dict[str, Report]:
        """Protocol name -> the whole report: users, ranks, intervals, warnings."""
        from interlingua.runs.reports import load_run

        return load_run(self.path).reports

    @property
    def summary(self) -> dict[str, Any]:
        """Protocol name -> everything except the values of single users, which a saved model does not have."""
        run = load(self.path)
        found: dict[str, Any] = json.loads((run.path / "metrics.json").read_text(encoding="utf-8"))
        return found

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Protocol name -> metric -> mean over users, e.g. ``session.metrics["full"]["ndcg@10"]``."""
        return {name: report["metrics"] for name, report in self.summary.items()}

    @property
    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Protocol name -> metric -> 95 % interval."""
        return {
            name: {metric: (low, high) for metric, (low, high) in report["intervals"].items()}
            for name, report in self.summary.items()
        }

    @property
    def slices(self) -> dict[str, dict[str, dict[str, float]]]:
        """Protocol name -> slice -> metric -> mean, e.g. ``session.slices["full"]["cold items"]["hit@10"]``."""
        return {
            name: {part: found["metrics"] for part, found in report["slices"].items()}
            for name, report in self.summary.items()
        }
