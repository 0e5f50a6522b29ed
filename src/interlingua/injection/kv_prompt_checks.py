"""Checks that settings of key/value prompts fit each other, the language model and the backbone's vectors."""

from __future__ import annotations

from typing import Any

from interlingua.contracts.ranker import RankerInputs
from interlingua.errors import ConfigError
from interlingua.lm.abilities import Abilities


def check(config: Any, inputs: RankerInputs, causal: bool, layers: int, abilities: Abilities) -> None:
    """Raises one :class:`ConfigError` that lists every setting that cannot work.

    ``config``: :class:`interlingua.rankers.kv_prompt.KvPromptConfig`, whose fields the problems name.
    """
    problems = of_model(config, causal, layers, abilities)
    uses_ids = config.injection != "none" and config.maps != "none"
    if uses_ids and inputs.user_embeddings is None:
        problems.append("ranker.maps needs user vectors: choose a backbone that has them, or ranker.maps = 'none'")
    for option, chosen in (("fuse_scores", config.fuse_scores), ("distill_weight", config.distill_weight > 0)):
        if chosen and inputs.base_score is None:
            problems.append(f"ranker.{option} needs a backbone that scores")
    refuse(problems)


def of_model(config: Any, causal: bool, layers: int, abilities: Abilities) -> list[str]:
    """Settings that contradict each other, or that the language model does not support."""
    problems = []
    if config.injection in ("kv", "direct") and not abilities.prompts:
        problems.append(
            f"ranker.injection = {config.injection!r} puts keys and values into every layer of ranker.model = "
            f"{config.model!r}, which has none to put them into ({abilities.reasons.get('prompts', 'not exact')}); use "
            "ranker.injection = 'input', or a model with a yes under 'prompts' in docs/results/language-models.md"
        )
    if config.pooling == "cls" and causal:
        problems.append(
            "ranker.pooling = 'cls' is for encoders: a decoder's first token sees nothing; use 'last' or 'mean'"
        )
    if config.injection != "none" and config.maps == "none" and not config.prefix_length:
        problems.append(
            "ranker.maps = 'none' with ranker.prefix_length = 0 leaves no prompt; use ranker.injection = 'none'"
        )
    if config.injection == "none" and not config.readout and config.tune == "none":
        problems.append(
            "ranker.injection = 'none' has nothing to train; give ranker.readout, e.g. 64, or ranker.tune = 'lora'"
        )
    if config.injection == "none" and "none" in (config.user_template, config.item_template):
        problems.append("ranker.injection = 'none' reads texts only; user_template and item_template cannot be 'none'")
    if config.soft_epochs and config.injection == "none":
        problems.append("ranker.soft_epochs trains the soft prompt, which ranker.injection = 'none' lacks; set it to 0")
    if config.prompted_layers is not None and not set(config.prompted_layers) <= set(range(layers)):
        problems.append(f"ranker.prompted_layers = {config.prompted_layers}: the model has layers 0 to {layers - 1}")
    if config.prompted_layers == []:
        problems.append("ranker.prompted_layers is empty; use ranker.injection = 'none'")
    if config.align_weight > 0 and config.injection == "direct":
        problems.append(
            "ranker.injection = 'direct' has no vectors in the width of a layer: set ranker.align_weight = 0"
        )
    return problems


def refuse(problems: list[str]) -> None:
    """Raises: ConfigError: there is any."""
    if problems:
        raise ConfigError("\n".join(problems))
