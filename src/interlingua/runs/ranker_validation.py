"""What early stopping measures of a ranker on the validation part while it is fitted."""

from __future__ import annotations

from interlingua.config import FitConfig
from interlingua.contracts.fitting import Validate
from interlingua.contracts.ranker import Ranker
from interlingua.data.split import Split
from interlingua.errors import ConfigError
from interlingua.evaluate.protocol import evaluate, validation_metrics

MOST_USERS = 10_000
"""a random part of more users is measured (LLM-SRec's number)"""
AMONG_CANDIDATES = ("hit@1", "hit@5", "hit@10", "ndcg@5", "ndcg@10")


def check_of(ranker: Ranker, split: Split) -> Validate | None:
    """The measurement that the ranker's class asks for (:attr:`Ranker.validation`); None: none.

    Pairs with labels: ``auc``, and ``uauc`` where early stopping reads it. Lists: the metrics of a full ranking, or, of
    a ranker that must be given candidates, those among the answer and 19 sampled items.
    """
    if ranker.validation == "none":
        return None
    if ranker.validation == "pairs" and split.valid_pairs is None:
        _check_metric(ranker)
    options: FitConfig | None = ranker.config.training()
    decides = None if options is None else options.metric

    def measured(max_users: int | None = None) -> dict[str, float]:
        metrics: tuple[str, ...]
        most = MOST_USERS if max_users is None else max_users
        if ranker.validation == "pairs" and split.valid_pairs is not None:
            protocol, metrics = "labelled", ("auc", "uauc") if decides == "uauc" else ("auc",)
        elif ranker.ranks_catalogue:
            return validation_metrics(ranker, split, max_users=most)
        else:
            protocol, metrics = "sampled-20", AMONG_CANDIDATES
        report = evaluate(
            ranker, split, "valid", protocol=protocol, metrics=metrics, max_users=most, slices=False,
            resamples=0, label="validate",
        )  # fmt: skip
        return report.metrics

    return measured


def _check_metric(ranker: Ranker) -> None:
    """Before hours of training: without labels there is no AUC.

    Raises:
        ConfigError: early stopping is to read a metric that is not measured.
    """
    options: FitConfig | None = ranker.config.training()
    if options is not None and options.patience is not None and options.metric not in AMONG_CANDIDATES:
        raise ConfigError(
            f"ranker.fit.metric = {options.metric!r}, and these data have no labels, so that validation measures "
            f"{', '.join(AMONG_CANDIDATES)}: say what is liked (data.label.at_least = 4), or choose among these"
        )
