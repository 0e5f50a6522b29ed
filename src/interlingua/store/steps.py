"""What served, as steps that can be taken back: a promotion goes one step on, a rollback goes back to an earlier one.

The steps that led to what serves are a stack. A promotion puts a version on top; of the version that serves already it
changes nothing. A rollback takes off what is above an earlier step. So repeated rollbacks go through all that served,
in whatever order it was promoted, and each promotion can be taken back.
"""

from __future__ import annotations

from collections.abc import Iterable

from interlingua.store.records import Promotion


def steps(history: Iterable[Promotion]) -> list[Promotion]:
    """The promotions that led to what serves, oldest first: the last one serves, the one before it served before.

    Args:
        history: promotions and rollbacks, oldest first.
    """
    done = list[Promotion]()
    for each in history:
        if each.back is None:
            done.append(each)
            continue
        while done and done[-1].number > each.back:
            done.pop()
    return done
