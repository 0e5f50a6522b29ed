"""No alignment: the backbone alone, with its vectors unchanged."""

from __future__ import annotations

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError


class BackboneAlone(Aligner):
    """No alignment: the backbone's vectors, unchanged; nothing is trained."""

    closed_form = True

    def fit(self, job: Fitting) -> FitLog:
        """Nothing.

        Raises:
            ConfigError: the backbone must be trained together with the aligner.
        """
        assert job.backbone is not None
        if any(parameter.requires_grad for parameter in job.backbone.parameters()):
            raise ConfigError(
                "the aligner 'none' trains nothing: leave out [align], or set align.frozen = ['backbone']"
            )
        return FitLog.untrained()
