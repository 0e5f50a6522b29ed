"""Parameters, memory and time of the stages of a recipe on *this* data: counts of the data times measured rates.

Every stage's real step is run for a second or two with fresh weights (:mod:`interlingua.runs.probes`). Early stopping
cannot be predicted: the range goes from a best first validation to all epochs, and the geometric mean of the two is
what is expected (it is wrong by the square root of their ratio at most, and no other guess has a smaller worst error).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from interlingua.config import FitConfig
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.data.prepared import Dataset
from interlingua.errors import InterlinguaError
from interlingua.evaluate.protocol import evaluate as measure
from interlingua.evaluate.protocol import validation_metrics
from interlingua.progress import long_step, task
from interlingua.runs import probes
from interlingua.runs.measuring import check_labels
from interlingua.runs.readable import learning
from interlingua.runs.session import Session, make_text
from interlingua.storage.environment import peak_memory_bytes
from interlingua.training.joint import Joint
from interlingua.training.loop import accelerator


@dataclass(frozen=True)
class Estimate:
    """What a stage takes."""

    seconds: float
    low: float
    high: float
    parameters: int = 0
    memory_bytes: int = 0
    note: str = ""
    epochs: int = 0
    """expected epochs of the training loop"""
    steps: int = 0
    """steps of one epoch"""


def epochs_of(config: FitConfig, steps: int) -> tuple[int, int, int]:
    """(expected, fewest, most) epochs of a fit; ``steps`` is the length of an epoch."""
    if config.patience is None:
        return config.epochs, config.epochs, config.epochs
    per_epoch = max(min(steps, config.steps_per_epoch or steps), 1)
    wait = max(config.patience * config.evaluate_every, math.ceil(config.patience_steps / per_epoch))
    fewest = min(config.evaluate_every + wait, config.epochs)
    return round(math.sqrt(fewest * config.epochs)), fewest, config.epochs


class Estimator:
    """Estimates the unfinished stages of a session, in order. Later stages get untrained parts of earlier ones."""

    def __init__(self, session: Session, data: Dataset | None = None) -> None:
        """``data``: the prepared dataset; None: it is prepared when it is needed."""
        self.session, self.recipe = session, session.recipe
        self.text: Any = None
        self.backbone: Any = None
        self.ranker: Any = None
        self.joint: Joint | None = None
        self.prepared = data

    @property
    def data(self) -> Dataset:
        """The recipe's data, prepared once."""
        from interlingua.data.prepare import prepare_config

        if self.prepared is None:
            self.prepared = prepare_config(self.recipe.data, self.session.seed)
        return self.prepared

    def all(self, skip: Collection[str] = ()) -> dict[str, Estimate]:
        """Stage -> estimate, without the stages to ``skip``. If a stage cannot be tried, its note says why.

        Raises:
            InterlinguaError: the data cannot be prepared; the run would fail in the same way.
        """
        out: dict[str, Estimate] = {}
        of_stage = {
            "prepare": self._prepare, "embed": self._embed, "train": self._train, "align": self._align,
            "rank": self._rank, "fuse": self._fuse, "evaluate": self._evaluate,
        }  # fmt: skip
        kinds = [each for each in self.session.plan if each not in skip]
        if "evaluate" in kinds:
            check_labels(self.recipe.evaluate, self.data.split)
        with task(f"estimating {self.recipe.name}", len(kinds)) as shown:
            for kind in kinds:
                before = torch.get_rng_state()
                try:
                    with long_step(shown, kind):
                        out[kind] = self._named() if "." in kind else of_stage[kind]()
                except InterlinguaError as error:
                    if kind == "prepare":
                        raise
                    note = f"not estimated: {str(error).splitlines()[0]}"
                    out[kind] = Estimate(math.nan, math.nan, math.nan, note=note)
                    shown.advance()
                finally:
                    torch.set_rng_state(before)
        return out

    def _prepare(self) -> Estimate:
        """Times all of the stage but the card, including what the first stage of a run loads."""
        from interlingua.data.prepare import save

        def make() -> None:
            accelerator(self.session.device)
            with TemporaryDirectory() as folder:
                save(self.data, Path(folder) / "dataset")

        seconds = probes.timed(make)
        counts = self.data.card["counts"]
        return _fixed(seconds, note=", ".join(f"{counts[k]:,} {k}" for k in ("users", "items", "events")))

    def _embed(self) -> Estimate:
        """Times a few texts, then some more: the difference gives the rate."""
        part = self.recipe.text
        assert part is not None
        items = self.data.split.train.num_items
        few, more = (min(n, items) for n in (16, 144))
        small = probes.timed(lambda: self._some_texts(few))
        large = probes.timed(lambda: self._some_texts(more))
        rate = max(large - small, 0.0) / max(more - few, 1)
        width = int(self.text.dim) if self.text is not None else probes.WIDTH
        width = min(width, part.config.reduce or width)
        learning, note = self._text_fit(items)
        self.text = probes.table_of(self.data, width, part.config.users != "none")
        return _fixed(small + rate * (items - few) + learning, note=f"{items:,} texts, width {width}{note}")

    def _text_fit(self, items: int) -> tuple[float, str]:
        """Seconds in which an encoder that learns by itself is fitted, and words for them; 0 for all others."""
        part = self.recipe.text
        config = None if part is None else part.config.training()
        if config is None or self.text is None:
            return 0.0, ""
        seconds, _, once = probes.step_seconds(self.text, self.text.batches, config, self.session.device)
        steps = config.epochs * (config.steps_per_epoch or math.ceil(items / config.batch_size))
        return once + steps * seconds, f", {steps:,} steps, {seconds * 1000:.0f} ms each"

    def _some_texts(self, n: int) -> None:
        """The recipe's encoder over the first ``n`` items, without its cache."""
        part = self.recipe.text
        assert part is not None
        from interlingua.vectors.fields import item_texts

        texts = item_texts(self.data.catalogue, part.config)
        order = np.random.default_rng(0).permutation(len(texts))[:n]
        ids = [str(item) for item in self.data.catalogue.items["item_id"].to_list()]
        with TemporaryDirectory() as folder:
            self.text = part.cls(
                part.config, [texts[i] for i in order], item_ids=[ids[i] for i in order], cache=Path(folder)
            )
            self.text.rows("items")

    def _texts(self) -> dict[str, Text]:
        """The sections ``[texts.NAME]`` with random vectors."""
        return {
            name: probes.table_of(self.data, part.config.reduce or probes.WIDTH, part.config.users != "none")
            for name, part in self.recipe.texts.items()
        }

    def _fresh(self) -> Any:
        part = self.recipe.backbone
        assert part is not None
        if self.backbone is None:
            self.backbone = part.cls(part.config, self.data.split.train)
        return self.backbone

    def _train(self) -> Estimate:
        part, backbone = self.recipe.backbone, self._fresh()
        assert part is not None
        if backbone.sampling != "none":
            backbone.read_catalogue(self.data.catalogue)
            backbone.read_texts(self._texts())
            backbone.start_for_estimate(self.data.split.train, self.text)
        parameters = sum(p.numel() for p in backbone.parameters())
        if backbone.sampling == "none":
            seconds = probes.solve_seconds(backbone, self.data, self.text, self._texts())
            return _fixed(seconds, parameters=parameters, note="closed form")
        batches = backbone.batches(self.data.split.train, part.config.fit)
        return self._trained(probes.alone(backbone), batches, part.config.fit, parameters)

    def _trained(self, module: Any, batches: Any, config: FitConfig, parameters: int) -> Estimate:
        seconds, steps, once = probes.step_seconds(module, batches, config, self.session.device)
        module.cpu().eval()
        check = 0.0
        if config.patience is not None and len(self.data.split.valid):
            check = probes.timed(lambda: validation_metrics(module.backbone, self.data.split))
        totals = [
            once + n * steps * seconds + check * math.ceil(n / config.evaluate_every if check else 0)
            for n in epochs_of(config, steps)
        ]
        expected = epochs_of(config, steps)[0]
        note = f"{steps:,} steps an epoch, {seconds * 1000:.1f} ms each; {expected} of {config.epochs} epochs"
        if config.patience is not None:
            note += f" assumed (early stopping), validation {check:.1f} s"
        memory = peak_memory_bytes() or 0
        return Estimate(totals[0], totals[1], totals[2], parameters, memory, note, expected, steps)

    def _align(self) -> Estimate:
        part, source = self.recipe.align, self.recipe.backbone
        assert part is not None
        assert source is not None
        if self.text is None and self.recipe.text is not None:
            words = "text.encoder" in part.cls.needs(part.config)
            self.text = (learning if words else make_text)(self.recipe.text, self.data)  # it learns along
        backbone = self._fresh()
        joint = self.joint = probes.joined(part, backbone, self.text, frozen=self.recipe.frozen_backbone)
        aligner = joint.aligner
        if part.cls.closed_form:
            job = Fitting(self.data.split.train, self.text, backbone, texts=self._texts())
            own = aligner.expected_seconds(job)
            return _fixed(probes.timed(lambda: aligner.fit(job)) if own is None else own)
        options = part.config.fit or source.config.fit
        parameters = sum(p.numel() for p in joint.parameters() if p.requires_grad)
        batches = aligner.batches(backbone, self.data.split.train, options)
        found = self._trained(joint, batches, options, parameters)
        if not part.cls.backbone_follows:
            return found
        options = source.config.fit
        batches = backbone.batches(self.data.split.train, options)
        return _one_after_the_other(found, self._trained(probes.alone(backbone), batches, options, parameters))

    def _rank(self) -> Estimate:
        part = self.recipe.ranker
        assert part is not None
        latent = None if self.joint is None else self.joint.aligner.width(self._fresh().item_embeddings().shape[1])
        inputs = probes.ranker_inputs(self.data, self._fresh(), self.text, latent, self._texts())
        load = probes.timed(lambda: self._make_ranker(part, inputs))
        ranker, config = self.ranker, part.config.training()
        if config is None:
            return _fixed(load, note="nothing to learn")
        parameters = sum(p.numel() for p in ranker.parameters() if p.requires_grad)
        seconds, steps, once = probes.step_seconds(ranker, ranker.batches, config, self.session.device)
        ranker.cpu().eval()
        rounds = epochs_of(config, steps)[0] + ranker.earlier_epochs
        total = load + once + rounds * steps * seconds
        note = f"{rounds} rounds of {steps:,} steps, {seconds * 1000:.0f} ms each; calibration not counted"
        return replace(_fixed(total, parameters=parameters, note=note), epochs=rounds, steps=steps)

    def _make_ranker(self, part: Any, inputs: Any) -> None:
        self.ranker = part.cls(part.config, inputs)

    def _named(self) -> Estimate:
        return _fixed(math.nan, note="not estimated: a further text")

    def _fuse(self) -> Estimate:
        return _fixed(math.nan, note="not estimated: scores need what the members make")

    def _evaluate(self) -> Estimate:
        """Times some users, then more of them: the difference gives the time per user."""
        options = self.recipe.evaluate
        scorer = self.ranker or self.backbone
        if scorer is None:
            return _fixed(math.nan, note="not estimated: scores need what the training makes")
        split, total = self.data.split, 0.0
        users = len(split.targets(options.part))
        measured = min(users, options.max_users or users)
        few, more = (min(n, measured) for n in ((4, 20) if self.ranker else (64, 512)))
        for protocol in options.protocols:
            one = partial(measure, scorer, split, options.part, protocol=protocol, seed=options.negatives_seed)
            small = probes.timed(lambda one=one: one(max_users=few))  # type: ignore[misc]
            if small > probes.LONG_S:
                total += small / few * measured
                continue
            large = probes.timed(lambda one=one: one(max_users=more))  # type: ignore[misc]
            total += large + max(large - small, 0.0) / max(more - few, 1) * (measured - more)
        return _fixed(total, note=f"{measured:,} users, {', '.join(options.protocols)}")


def _one_after_the_other(first: Estimate, second: Estimate) -> Estimate:
    """Two trainings of one stage."""
    return replace(
        second, seconds=first.seconds + second.seconds, low=first.low + second.low, high=first.high + second.high,
        memory_bytes=max(first.memory_bytes, second.memory_bytes), note=f"{first.note}; then {second.note}",
    )  # fmt: skip


def _fixed(seconds: float, parameters: int = 0, note: str = "") -> Estimate:
    return Estimate(seconds, seconds / 1.5, seconds * 1.5, parameters, peak_memory_bytes() or 0, note)
