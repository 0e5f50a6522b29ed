"""No alignment: the backbone alone, its vectors as they are."""

from __future__ import annotations

from interlingua.core import Aligner


class BackboneAlone(Aligner):
    """The aligner ``none``: what :class:`interlingua.core.Aligner` does by itself."""
