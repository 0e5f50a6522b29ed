"""The split ``item-cold``."""

from __future__ import annotations

import numpy as np

from interlingua.data.item_cold import divided, first_seen_from, fold_of_items, moment_of
from interlingua.data.split_options import TEST, UNUSED, VALID, SplitConfig
from interlingua.data.splitter import Dividing, Division, Splitter
from interlingua.errors import DataError


class ItemCold(Splitter):
    """Every event of some items is a test target: items that nobody has chosen yet."""

    def divide(self, task: Dividing) -> Division:
        """See :mod:`interlingua.data.item_cold`."""
        config, events, until = task.config, task.interactions, None
        if config.by == "time":
            task.needs_times('split "item-cold" by = "time"')
            until = moment_of(events.times, config.test) if config.test_from is None else config.test_from
            cold = first_seen_from(events, until)
        else:
            cold = fold_of_items(events, config.folds, config.fold, task.seed)
        if not cold.any():
            raise DataError(
                f'split "item-cold": no item is first seen at second {until} or later; give an earlier split.test_from'
            )
        test, valid, unused = divided(events, cold, until)
        parts = np.zeros(len(events), np.int8)
        for code, mask in ((VALID, valid), (TEST, test), (UNUSED, unused)):
            parts[mask] = code
        task.log.decide("cold items, every event of which is held out", int(cold.sum()), "split.fold, split.folds")
        about: dict[str, str | int] = {"seed": task.seed} if config.by == "random" else {}
        return Division(
            parts, about=about, unused=("events of users or times without a training event, in no part", "split.by")
        )

    def id(self, config: SplitConfig, seed: int) -> str:
        """e.g. ``item-cold-0-of-5-seed7``."""
        moment = f"{config.test:g}" if config.test_from is None else f"from{config.test_from}"
        which = f"{config.fold}-of-{config.folds}-seed{seed}" if config.by == "random" else f"time-{moment}"
        return f"item-cold-{which}"
