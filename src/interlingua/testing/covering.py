"""Few combinations that hold every pair: a covering design of strength two over what may be combined.

Greedy, as in Cohen et al., "The AETG System" (IEEE TSE 1997), but over combinations that are known to be permitted,
so that no constraint is solved for: the next combination is the one with the most pairs that none had so far.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations

Combination = tuple[Hashable, ...]
Places = tuple[tuple[int, Hashable], ...]
"""(position, value), as often as the design's strength"""


def parts(combination: Combination, strength: int = 2) -> set[Places]:
    """Parts of a combination: values by their positions, ``strength`` at once."""
    return set(combinations(enumerate(combination), strength))


def held(permitted: Iterable[Combination], strength: int = 2) -> set[Places]:
    """Parts of all combinations together."""
    return {part for each in permitted for part in parts(each, strength)}


def covering(permitted: Sequence[Combination], strength: int = 2) -> list[Combination]:
    """Some of the combinations, which hold all that the permitted ones hold.

    Args:
        permitted: combinations of the same length; of equally good ones the earlier is taken.
        strength: 2 covers every pair of values in two positions, 1 every value.
    """
    left, chosen = held(permitted, strength), []
    own = [(each, parts(each, strength)) for each in permitted]
    while left:
        best = max(own, key=lambda pair: len(pair[1] & left))
        left -= best[1]
        chosen.append(best[0])
    return chosen
