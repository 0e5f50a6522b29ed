"""No alignment: the backbone alone, its vectors as they are."""

from __future__ import annotations

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError


class BackboneAlone(Aligner):
    """The aligner ``none``: what :class:`Aligner` does by itself; there is nothing to train."""

    def solve(self, backbone: Backbone, text: Text | None, train: Interactions) -> None:
        """Nothing.

        Raises:
            ConfigError: the backbone waits to be trained along with the aligner.
        """
        if any(parameter.requires_grad for parameter in backbone.parameters()):
            raise ConfigError(
                "the aligner 'none' trains nothing: leave out [align], or set align.frozen = ['backbone']"
            )
