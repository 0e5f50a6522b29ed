"""A real recommender whose reasons take a known time, in steps as a language model takes them."""

from __future__ import annotations

import time
from typing import Any

from interlingua.explain.explain import Explanation
from interlingua.recommender import Recommender
from interlingua.runtime import cancel

STEP_S, STEPS = 0.01, 10


class SlowRecommender(Recommender):
    """Each reason takes a tenth of a second; counts the steps."""

    steps = 0

    def explain_items(self, items: Any, *_: Any, **__: Any) -> list[Explanation[Any]]:
        for _step in range(STEPS * len(items)):
            cancel.check()
            time.sleep(STEP_S)
            self.steps += 1
        return [Explanation("Because.", [], from_template=True) for _ in items]
