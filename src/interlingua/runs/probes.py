"""Measured times of the real steps on this data and machine, from a small part of it: the basis of estimates."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from interlingua.config import FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.text import Text
from interlingua.data.prepared import Dataset
from interlingua.runs.session import own_items
from interlingua.training.deploy import aligner_for
from interlingua.training.joint import Joint
from interlingua.training.loop import accelerator, make_optimizer, seed_all
from interlingua.training.steps import count
from interlingua.vectors.readable import ReadableRows

PROBE_S = 1.5
"""seconds that steps are timed for"""
LONG_S = 5.0
"""seconds after which a measurement is not repeated for the sake of precision"""
WIDTH = 384
"""T of text vectors whose width is not known before they are made"""


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def step_seconds(module: torch.nn.Module, batches: Any, config: FitConfig, device: str) -> tuple[float, int, float]:
    """(seconds of a training step, steps of an epoch, seconds of what only the first step makes or loads).

    The module is changed by the steps that are timed.
    """
    steps = count(batches, 0, config.steps_per_epoch, most_s=8.0)
    place = accelerator(device).device
    module.to(place).train()
    optimizer = make_optimizer(module, config)
    seed_all(0)
    taken: list[float] = []
    started = time.perf_counter()
    made = iter(itertools.islice(batches(0, np.random.default_rng(0)), config.steps_per_epoch))
    while True:  # the time between two steps is part of them: batches are made there
        before = time.perf_counter()
        batch = next(made, None)
        if batch is None:
            break
        losses = module(batch.to(place))
        optimizer.zero_grad(set_to_none=True)
        torch.stack([value.float() for value in losses.values()]).sum().backward()
        optimizer.step()
        float(next(iter(losses.values())).detach())  # an accelerator has finished when its number is here
        taken.append(time.perf_counter() - before)
        spent = time.perf_counter() - started
        if spent > PROBE_S and len(taken) > (1 if spent > LONG_S else 2):
            break
    counted = taken[1:] or taken  # the first one also builds what is built once
    usual = float(np.mean(counted)) if counted else 0.0
    return usual, steps or 0, max(taken[0] - usual, 0.0) if taken else 0.0


def table_of(data: Dataset, width: int, users: bool) -> ReadableRows:
    """Random text vectors, as many as the real ones: their values do not change the cost of a step."""
    generator = torch.Generator().manual_seed(0)
    tables = [
        torch.randn(n, width, generator=generator) for n in (data.split.train.num_items, data.split.train.num_users)
    ]
    titles = data.catalogue.titles
    return ReadableRows(
        tables[0], tables[1] if users else None, titles=titles, texts=titles,
        encode=lambda texts: torch.randn(len(texts), width, generator=generator),
    )  # fmt: skip


def solve_seconds(
    backbone: Backbone, data: Dataset, text: Text | None, texts: Mapping[str, Text], most_users: int = 2000
) -> float:
    """Seconds of a closed-form fit: its own estimate, or measured on some users and scaled by pairs of events."""
    train = data.split.train
    own = backbone.expected_seconds(train)
    if own is not None:
        return own
    if train.num_users <= most_users:
        return timed(lambda: backbone.fit(Fitting(train, text, texts=texts)))
    drawn = np.zeros(train.num_users, bool)
    drawn[np.random.default_rng(0).permutation(train.num_users)[:most_users]] = True
    counts = train.user_counts.astype(float)
    scale = float((counts**2).sum() / max((counts[drawn] ** 2).sum(), 1.0))
    return timed(lambda: backbone.fit(Fitting(train.filter(drawn[train.users]), text, texts=texts))) * scale


def joined(part: Any, backbone: Backbone, text: Text | None, *, frozen: bool) -> Joint:
    """Backbone and aligner as the stage ``align`` builds them."""
    aligner = aligner_for(part.cls, part.config, backbone, text)
    joint = Joint(backbone, aligner, text, frozen_backbone=frozen)
    if not part.cls.closed_form:
        aligner.start(backbone, text)
    return joint


def alone(backbone: Backbone) -> Joint:
    """A backbone as the stage ``train`` builds it."""
    return Joint(backbone, Aligner(Aligner.Config(), 0, 0))


def ranker_inputs(
    data: Dataset, backbone: Backbone, text: Text | None, latent: int | None, texts: Mapping[str, Text]
) -> RankerInputs:
    """The inputs of a ranker, with random vectors of the right shapes."""
    train = data.split.train
    own = own_items(backbone)
    items = own if latent is None else torch.randn(len(own), latent, generator=torch.Generator().manual_seed(1))
    makes = type(backbone).makes(backbone.config)
    return RankerInputs(
        titles=data.catalogue.titles,
        domain=data.catalogue.domain,
        train=train,
        items=items,
        items_from_text=None if latent is None else items,
        user_embeddings=backbone.user_embeddings if "users" in makes else None,
        user_dim=int(backbone.user_embeddings(train.queries(np.zeros(1, np.int64))).shape[1])
        if "users" in makes
        else 0,
        base_score=backbone.score,
        base_items=(own, backbone.item_bias()) if "dot_product" in makes else None,
        cold_items=train.item_counts == 0,
        texts=None if text is None else text.frozen,
        categories=data.catalogue.items["categories"].to_list(),
        columns=data.catalogue.properties,
        descriptions=data.catalogue.items["description"].to_list(),
        named_texts={name: each.rows("items") for name, each in texts.items()},
        item_codes=None if latent is None else torch.arange(len(own))[:, None],
        has_times=data.has_times,
    )
