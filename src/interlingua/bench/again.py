"""A trained ranker that is asked in another way: options that change nothing of what it learned, e.g. by texts."""

from __future__ import annotations

from typing import Any

from safetensors.torch import load_file

from interlingua.bench.spec import RowOptions
from interlingua.config import build
from interlingua.contracts.scorer import Scorer
from interlingua.errors import ConfigError
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.result import Report, load_report
from interlingua.runs.measuring import EvaluateConfig
from interlingua.runs.scorers import rerank_of
from interlingua.runs.session import Session, ranker_inputs
from interlingua.storage import artifact
from interlingua.training.checkpoint import load_trained


def again_key(evaluated: str, row: RowOptions, protocol: str, options: EvaluateConfig) -> str:
    """The key of a measurement; ``evaluated``: that of the run's own."""
    parts = {
        "evaluate": evaluated, "asked": row.ask, "protocol": protocol, "max_users": options.max_users,
        "seed": options.negatives_seed,
    }  # fmt: skip
    return artifact.content_key(parts)


def asked_again(session: Session, name: str, row: RowOptions, protocol: str) -> Report:
    """A trained ranker that is asked in another way: its reports lie beside the run's.

    Raises:
        ConfigError: the run has no ranker, or the options cannot be used.
    """
    part, options = session.recipe.ranker, session.recipe.evaluate
    if part is None or "rank" not in session.done:
        raise ConfigError(f"{name}: the run of {row.of!r} has no ranker that could be asked in another way")
    key, kind = again_key(session.done["evaluate"].key, row, protocol, options), "asked"
    place = session.recipe.name
    with artifact.locked(session.root, kind, place, key):
        made = artifact.find(session.root, kind, place, key)
        if made is None:
            config = build(part.cls.Config, part.config.model_dump() | dict(row.ask), name)
            ranker: Any = part.cls(config, ranker_inputs(session))
            path = session.done["rank"].path / "weights.safetensors"
            load_trained(ranker, load_file(path), str(path))
            scorer: Scorer = ranker.eval() if ranker.ranks_catalogue else rerank_of(session, ranker.eval())
            report = evaluate(
                scorer, session.data.split, options.part, protocol=protocol, max_users=options.max_users,
                seed=options.negatives_seed, label=f"{name}, {protocol}",
            )  # fmt: skip
            with artifact.writing(
                session.root, kind, place, key, parents={"rank": session.done["rank"]}, fields={"asked": row.ask}
            ) as folder:
                report.save(folder)
            made = artifact.find(session.root, kind, place, key)
            assert made is not None
    return load_report(made.path)
