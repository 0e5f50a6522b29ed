"""Which frozen language model a ranker asks for, its control with shuffled weights, and what they make of titles.

Shape key: I items, H input width.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from interlingua.lm.load import load
from interlingua.lm.locate import identity
from interlingua.lm.models import LanguageModel, Precision
from interlingua.lm.variants import shuffled, truncated
from interlingua.runtime.repeatable import undisturbed


@lru_cache(maxsize=1)
@undisturbed()
def _loaded(model: str, precision: Precision, revision: str | None, contents: str) -> LanguageModel:
    """Half a gigabyte is read once for the ranker, its controls and the explanations; other contents are read anew."""
    return load(model, precision=precision, device="cpu", revision=revision)


def language_model(config: Any) -> LanguageModel | None:
    """The frozen model that a ranker's options ask for (:class:`VectorRankerConfig`); None: the control without one."""
    if config.lm_weights == "none":
        return None
    found = _loaded(config.model, config.precision, config.revision, identity(config.model, config.revision))
    if config.num_layers is not None:
        found = truncated(found, config.num_layers)
    return shuffled(found, seed=0) if config.lm_weights == "shuffled" else found


def whole_model(config: Any) -> LanguageModel:
    """The model that options name, with all layers and its own weights: it writes texts."""
    return _loaded(config.model, config.precision, config.revision, identity(config.model, config.revision))


def title_embeddings(lm: LanguageModel, titles: list[str]) -> Tensor:
    """(I, H) mean input embedding of each title's tokens: where an item's soft token should land."""
    ids = [lm.tokenize(title) or [lm.eos_token_id] for title in titles]
    lengths = torch.tensor([len(i) for i in ids])
    flat = lm.embed(torch.tensor([token for i in ids for token in i])).float().cpu()
    owners = torch.repeat_interleave(torch.arange(len(ids)), lengths)
    return torch.zeros(len(ids), flat.shape[1]).index_add(0, owners, flat) / lengths[:, None]


def state_width(lm: LanguageModel) -> int:
    """Width of the last hidden state (not H where a model projects its embeddings, as OPT-350m does)."""
    probe = torch.zeros(1, 1, lm.hidden_size, device=lm.device)
    with torch.no_grad():
        return int(lm.forward(probe).states.shape[-1])
