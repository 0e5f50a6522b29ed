"""Items that came after training: what a component may read of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from interlingua.contracts.fitting import Fitting
from interlingua.data.catalogue import Catalogue


@dataclass(frozen=True)
class AddedItems:
    """n items behind the I of a run, in their order; they have no event. None: nothing is known in that way."""

    count: int
    """n"""
    job: Fitting
    """what the component was fitted on: I items, their texts, and the exports of earlier stages in ``tables``"""
    lines: Catalogue | None = None
    """their n lines; what a sentence says is the title of the last one"""
    text: Tensor | None = None
    """(n, T) vectors of [text], made as those in ``job.text``"""
    texts: Mapping[str, Tensor] = field(default_factory=dict)
    """name -> (n, T) vectors of the sections [texts.NAME]"""
    inputs: Tensor | None = None
    """(n, D) inputs that an aligner makes of their texts, in place of the backbone's own"""
    items: Tensor | None = None
    """(n, D) vectors that an aligner makes of their texts, in the space of the backbone's item vectors"""
