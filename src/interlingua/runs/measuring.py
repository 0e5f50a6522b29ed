"""Options of the section [evaluate], and which of them fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from interlingua.config import Config, build
from interlingua.data.split import Split
from interlingua.errors import DataError
from interlingua.evaluate.named import parse
from interlingua.evaluate.rules import check_metrics, parse_protocol


class EvaluateConfig(Config):
    """How a run is measured."""

    protocols: list[str] = ["full", "sampled-20"]
    """protocol names (``interlingua list protocols``), e.g. ``full``, ``sampled-20``, ``labelled``; each once"""
    metrics: list[str] = []
    """measured beside each protocol's own where it judges what they read (``interlingua list metrics``), e.g.
    ``["coverage@10", "novelty@10"]``"""
    part: Literal["valid", "test"] = "test"
    """``valid`` while options are being chosen; ``test`` once, for the numbers that are reported"""
    max_users: int | None = Field(default=None, ge=1)
    """measure a deterministic random sample of the users (for slow rankers; part of the protocol id)"""
    retrieve: int = Field(default=50, ge=1)
    """full ranking with a language model: the backbone retrieves so many items, the model orders them"""
    candidate_source: Literal["backbone", "aligned"] = "backbone"
    """``aligned``: items without a training event are retrieved through their texts, in the backbone's space"""
    negatives_seed: int = Field(default=7, ge=0)
    """seed of sampled candidates and of the user sample: the same for every method that is compared"""

    @field_validator("protocols", "metrics")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        return list(dict.fromkeys(names))


def check_labels(options: EvaluateConfig, split: Split) -> None:
    """Refuses data without labels where a protocol judges labelled pairs, before anything is trained.

    Raises:
        DataError: the data have none.
    """
    for name in options.protocols:
        if "labels" in parse_protocol(name).judges:
            try:
                split.pairs("valid")
            except DataError as error:
                raise DataError(f"the protocol {name!r} cannot be measured: {error}") from None


def evaluate_options(values: Mapping[str, Any], where: str, *, stored: bool = False) -> EvaluateConfig:
    """Checked options of [evaluate]. A stored run opens even if a metric's plug-in is gone.

    Raises:
        ConfigError: options that cannot be used, or metrics that no protocol of theirs can judge.
    """
    options = build(EvaluateConfig, values, where)
    if options.metrics and not stored:
        check_metrics(options.protocols, options.metrics)
    return options


def unread_metrics(options: EvaluateConfig, *, has_text: bool, where: str) -> list[str]:
    """Metrics that read text vectors which the recipe does not make."""
    reading = [] if has_text else [name for name in options.metrics if "vectors" in parse(name)[0].needs]
    lack = "reads text vectors, and this recipe has no [text] section of its own"
    return [f"{where} [evaluate].metrics: {name!r} {lack}; leave it out, or add one" for name in reading]
