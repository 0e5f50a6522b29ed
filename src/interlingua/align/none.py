"""No alignment: the backbone alone, its vectors as they are."""

from __future__ import annotations

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError


class BackboneAlone(Aligner):
    """The aligner ``none``: what :class:`Aligner` does by itself; there is nothing to train."""

    closed_form = True

    def fit(self, job: Fitting) -> FitLog:
        """Nothing.

        Raises:
            ConfigError: the backbone waits to be trained along with the aligner.
        """
        assert job.backbone is not None
        if any(parameter.requires_grad for parameter in job.backbone.parameters()):
            raise ConfigError(
                "the aligner 'none' trains nothing: leave out [align], or set align.frozen = ['backbone']"
            )
        return FitLog.untrained()
