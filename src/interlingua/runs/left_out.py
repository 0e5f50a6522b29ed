"""Which parts of a finished run belong to its users, and how a model is given away without them.

A dataset keeps its items and the count of each; a backbone loses its rows of users and keeps its other numbers. Whether
that is enough is tested: the backbone is made again without any events and must score histories as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from interlingua.contracts.backbone import Backbone
from interlingua.data.anonymous import to_give_away
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, first_line
from interlingua.injection.id_vectors import user_scale
from interlingua.runs.session import Session, ranker_inputs
from interlingua.runtime.repeatable import undisturbed

TRIED = 16
"""number of histories on which a backbone without events is compared with the original"""
LONGEST = 8
"""events of such a history, at most"""
REMEDY = "save it with events=True (--events), and give the folder to nobody who may not see them"
INSIDE = "backbone."
"""prefix of a backbone's tensors in the weights of an align stage"""


def check(session: Session) -> None:
    """Refuses to give away a run that cannot score without its users' events.

    Raises:
        ConfigError: its backbone or ranker reads them, or the backbone does not say which numbers belong to users.
    """
    for member in session.members:
        check(member)
    ranker = session.recipe.ranker
    if ranker is not None and ranker.cls.reads_events(ranker.config):
        raise ConfigError(
            f"the ranker {ranker.name!r} reads the training events whenever it scores, so it cannot be saved without "
            f"them; {REMEDY}"
        )
    part = session.recipe.backbone
    if part is None:
        return
    if "user_table" in session.backbone.makes(part.config) and not session.backbone.user_rows():
        raise ConfigError(
            f"the backbone {part.name!r} has one row per user and does not say in which tensors (user_rows), so it is "
            f"not saved without them; {REMEDY}"
        )
    why = _differs(session.backbone, part, to_give_away(session.data).split.train)
    if why:
        raise ConfigError(
            f"the backbone {part.name!r} reads the training events whenever it scores ({why}), so it cannot be saved "
            f"without them; {REMEDY}"
        )


def _differs(backbone: Backbone, part: Any, train: Interactions) -> str:
    """Why a backbone made without events differs; empty if it does not."""
    try:
        with undisturbed():
            made: Backbone = part.cls(part.config, train)
        made.load_state_dict(backbone.given_away())
        queries = some_histories(backbone.num_items)
        before, after = backbone.score(queries), made.eval().score(queries)
    except Exception as error:  # of whatever a backbone does with a dataset of one user
        return f"without them: {first_line(error)}"
    same = np.allclose(before, after, rtol=1e-5, atol=1e-6, equal_nan=True)
    return "" if same else "without them the same history gets other scores"


def some_histories(num_items: int) -> Queries:
    """Made-up histories, the empty one first."""
    generator = np.random.default_rng(0)
    lengths = [0, *(1 + np.arange(TRIED - 1) % LONGEST)]
    return Queries.of([generator.integers(0, num_items, length).tolist() for length in lengths])


def without_users(state: Mapping[str, Tensor], kind: str, session: Session) -> dict[str, Tensor]:
    """A stage's weights, without what the backbone knows of users.

    Args:
        state: name -> tensor, as the stage stores them.
        kind: of the stage.
        session: the run.
    """
    if session.recipe.backbone is None or kind not in ("train", "align"):
        return dict(state)
    if kind == "train":
        return session.backbone.given_away()
    rest = {name: held for name, held in state.items() if not name.startswith(INSIDE)}
    joint = "train" not in session.done  # else the backbone's numbers are read from its own stage
    return rest | ({INSIDE + k: v for k, v in session.backbone.given_away().items()} if joint else {})


def scale_of_users(session: Session) -> float:
    """The one number that a ranker takes from the training users' vectors when it is made."""
    return float(user_scale(ranker_inputs(session)))
