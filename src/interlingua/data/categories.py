"""Categories of items as a matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse as sp


def category_matrix(categories: Sequence[Iterable[str]]) -> sp.csr_matrix | None:
    """(I, G) 1 where an item has a category, columns in alphabetical order; None where no item has any.

    Args:
        categories: (I,) each item's, as :attr:`interlingua.data.catalogue.Catalogue.categories`.
    """
    own = [sorted(set(names)) for names in categories]
    columns = {name: place for place, name in enumerate(sorted({name for names in own for name in names}))}
    if not columns:
        return None
    offsets = np.concatenate([[0], np.cumsum([len(names) for names in own])])
    places = np.array([columns[name] for names in own for name in names], np.int64)
    return sp.csr_matrix((np.ones(len(places), np.float32), places, offsets), (len(own), len(columns)))
