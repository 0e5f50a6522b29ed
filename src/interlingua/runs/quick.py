"""The recipe that is there soonest and good enough to look at: for a first page while a better one is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interlingua.errors import ConfigError
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs.named_texts import textless
from interlingua.runs.preflight import check
from interlingua.runs.session import Session
from interlingua.runs.stages import prepare, run

LARGEST_CLOSED_FORM = 5_000
"""items up to which a closed form over all pairs of items is made within half a minute on one core"""


@dataclass(frozen=True)
class Quick:
    """A recipe, and when it will do."""

    name: str
    overrides: tuple[str, ...] = ()
    most_items: int | None = None
    """more would take too long; None: any number"""


CHOICES = (
    Quick("l3ae", most_items=LARGEST_CLOSED_FORM),
    Quick("l3ae", ('text={name="lsa"}',), LARGEST_CLOSED_FORM),
    Quick("textknn"),
    Quick("itemknn"),
)
"""in this order: with a sentence encoder, with words alone, in larger catalogues, without texts"""


def quick_run(data: str, out: Path, seed: int = 7, device: str = "auto", overrides: Sequence[str] = ()) -> Session:
    """The finished run of the first of :data:`CHOICES` that these data and this machine allow.

    Args:
        data: name, file or folder.
        out: the folder of runs; finished stages in it are reused.
        seed: every random number follows from it.
        device: where models go.
        overrides: of [data] and [evaluate], for whichever recipe it is.

    Raises:
        ConfigError: the data cannot be had, or an override does not hold for every choice.
        DataError: they cannot be used.
    """
    problems = []
    for quick in CHOICES:
        session = Session(recipes.load(quick.name, (*quick.overrides, *overrides), data), out, seed, device)
        why = _why_not(session, quick)
        if not why:
            return run(session.recipe, out=out, seed=seed, device=device)
        problems.append(why)
        say(f"note: not {quick.name}: {why}")
    raise ConfigError(f"no quick recipe can use these data: {'; '.join(problems)}")


def _why_not(session: Session, quick: Quick) -> str:
    """Why a recipe will not do; the data are prepared for that, once for all. Empty: it will."""
    prepare(session)
    data = session.data
    if quick.most_items is not None and len(data.catalogue) > quick.most_items:
        return f"{len(data.catalogue):,} items are more than the {quick.most_items:,} that are done in half a minute"
    part = session.recipe.text
    lines = [] if part is None else textless([("[text]", part)], data.catalogue)
    if lines:
        return lines[0]
    try:
        check([session])
    except ConfigError as error:
        return str(error).splitlines()[0]
    return ""
