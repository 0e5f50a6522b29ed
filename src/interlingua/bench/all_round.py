"""The all-round measure of one dataset: simple methods and others, several splits, every kind of item and user."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interlingua.config import parse_overrides
from interlingua.errors import ConfigError, InterlinguaError, first_line, unknown
from interlingua.evaluate import all_round
from interlingua.evaluate.all_round import METRICS, AllRound, Standing
from interlingua.evaluate.result import load_report
from interlingua.progress import duration, each_line_once, say
from interlingua.report.side_by_side import Method
from interlingua.report.table import pipes
from interlingua.runs import stages
from interlingua.runs.planner import describe
from interlingua.runs.recipe import Recipe
from interlingua.runs.session import Session

NDCG = "ndcg@10"
"""shown beside the ratios, over all items and users"""
SENTENCES = ("text.name=sbert", 'text.fields=["title", "categories"]')
SIMPLE = (
    Method("popularity", "pop"),
    Method("popularity of late", "pop", ("backbone.last_share=0.1",)),
    Method("item kNN (cosine)", "itemknn"),
    Method("item kNN (BM25)", "bm25"),
    Method("EASE", "ease"),
    Method("text kNN (LSA)", "textknn"),
    Method("text kNN (MiniLM)", "textknn", SENTENCES),
    Method("MF (BPR)", "mf"),
    Method("LightGCN", "lightgcn"),
    Method("SASRec", "sasrec"),
)
"""What every other method is held against: no method here joins ids and texts"""
FURTHER = (Method("L3AE", "l3ae"), Method("all-round", "all-round"))
SPLITS: dict[str, tuple[str, ...]] = {
    "leave-one-out": ("data.split=leave-one-out",),
    "global-time": ("data.split=global-time",),
    "item-cold": ("data.split=item-cold",),
}
FILTER = "data.filter={ min_user = 5, min_item = 5 }"
"""the same for every method, as the shipped recipes have it; ``overrides`` may say otherwise"""
PROTOCOLS = {"item-cold": ("full", "cold")}
"""of a split; the others are measured under ``full``"""


@dataclass
class Measured:
    """What was measured."""

    data: str
    parts: dict[str, AllRound] = field(default_factory=dict)
    """split, or split and protocol -> standings"""
    failed: dict[str, str] = field(default_factory=dict)
    """``split: method`` or part -> why it is missing, e.g. texts that the data does not have"""
    left_out: dict[str, str] = field(default_factory=dict)
    """``split: method`` -> why the budget had no room for it"""
    planned: dict[str, float] = field(default_factory=dict)
    """``split: method`` -> seconds that it should take, where that was asked for"""
    runs: dict[str, dict[str, list[Path]]] = field(default_factory=dict)
    """split -> method -> the folder of each seed's run"""

    @property
    def failed_methods(self) -> dict[str, str]:
        """Those of :attr:`failed` that are methods on a split; the rest are parts with too little to compare."""
        return {name: why for name, why in self.failed.items() if ": " in name}

    def overall(self) -> dict[str, tuple[str, Standing]]:
        """Method -> its worst part and the standing there, best method first; only methods that are in every part."""
        names = [name for name in _names(self) if all(name in part.methods for part in self.parts.values())]
        found = {}
        for name in names:
            where = min(self.parts, key=lambda part: self.parts[part].methods[name].ratio)
            found[name] = (where, self.parts[where].methods[name])
        return dict(sorted(found.items(), key=lambda each: -each[1][1].ratio))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        methods = {}
        for name, (where, standing) in self.overall().items():
            methods[name] = _standing(standing) | {
                "part": where,
                "slices": {part: _slices(made.methods[name], made) for part, made in self.parts.items()},
            }
        parts = {
            name: {
                "protocol": part.protocol,
                "targets": part.targets,
                "ratios": {n: s.ratio for n, s in part.methods.items()},
            }
            for name, part in self.parts.items()
        }
        return {
            "data": self.data, "methods": methods, "parts": parts, "failed": self.failed, "left_out": self.left_out,
            "planned": self.planned,
        }  # fmt: skip

    def plan(self) -> str:
        """What would run, how long it may take, and against what the methods are held."""
        lines = [f"  {name}: {_expected(seconds)}{_role(name)}" for name, seconds in self.planned.items()]
        total = duration(sum(self.planned.values()))
        return "\n".join([f"will run {len(lines)} jobs, about {total} in all:", *lines, *self._absent()])

    def markdown(self) -> str:
        """One row for each method: its ratio overall, where, and in every part the ratio beside NDCG@10 of all."""
        rows = []
        for name, (where, standing) in self.overall().items():
            parts = [_ratio_and_ndcg(part.methods[name]) for part in self.parts.values()]
            low, high = standing.interval
            place = f"{where}: {standing.worst[0]}, {standing.worst[1]}, against {standing.against}"
            rows.append([name, f"{standing.ratio:.2f} [{low:.2f}, {high:.2f}]", *parts, place])
        heads = [f"{part}: ratio, NDCG@10" for part in self.parts]
        table = pipes(["method", "all-round ratio", *heads, "worst"], rows)
        return "\n\n".join([table, *(["\n".join(self._absent())] if self._absent() else [])])

    def _absent(self) -> list[str]:
        out = [f"* {name}: left out by the budget, {why}" for name, why in self.left_out.items()]
        return out + [f"* {name}: failed, {why.splitlines()[0]}" for name, why in self.failed.items()]


def measure(
    data: str,
    *,
    methods: Sequence[Method] = (*SIMPLE, *FURTHER),
    splits: Sequence[str] = tuple(SPLITS),
    seeds: Sequence[int] = (7,),
    out: Path | str = "runs",
    overrides: Sequence[str] = (),
    max_users: int | None = None,
    device: str = "auto",
    budget: float | None = None,
    dry_run: bool = False,
) -> Measured:
    """Runs every method on every split and seed (finished stages are reused) and compares them with the simple ones.

    What cannot be measured is named in :attr:`Measured.failed`, and the rest goes on: a method of which one seed fails
    is left out of the split, a part without a simple method or enough targets is left out altogether.

    Args:
        data: a dataset's name, file or folder.
        methods: those with a label in :data:`SIMPLE` are the simple ones.
        splits: of :data:`SPLITS`.
        seeds: of training; the first one also draws and divides the data, which are the same for all.
        out: the runs folder.
        overrides: overrides of ``[data]`` and ``[evaluate]`` for all.
        max_users: evaluate a random subset of the users.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        budget: seconds; a method that would take longer than what is left of it is left out of a split, and named.
        dry_run: say what would run and how long it may take, and run nothing.

    Raises:
        ConfigError: no seed, or an unknown split.
    """
    if not seeds:
        raise ConfigError("seeds: none given; give one or more, e.g. 7")
    for split in splits:
        if split not in SPLITS:
            raise ConfigError(unknown("split", split, SPLITS))
    made, clock = Measured(str(data)), Clock(budget, dry_run)
    with each_line_once() if dry_run else nullcontext():  # a plan reads the same data for every method
        for split in splits:
            protocols = PROTOCOLS.get(split, ("full",))
            options = [FILTER, *overrides, *SPLITS[split], f"evaluate.protocols={_toml(protocols)}"]
            options += [f"evaluate.metrics={_toml(['recall@100'])}"]
            options += [f"evaluate.max_users={max_users}"] if max_users else []
            done = made.runs.setdefault(split, {})
            for method in methods:
                say(f"== {split}, {method.label}")
                name = f"{split}: {method.label}"
                try:
                    why = clock.no_room(method.resolve(options, data), Path(out), seeds, device)
                    if why:
                        made.left_out[name] = why
                    elif dry_run:
                        made.planned[name] = clock.last
                    else:
                        done[method.label] = _runs(method, data, seeds, options, out, device)
                except InterlinguaError as error:
                    made.failed[name] = str(error)
                except Exception as error:  # another library's, or a fault of ours: the rest is not to be lost by it
                    say(traceback.format_exc())
                    made.failed[name] = f"{type(error).__name__}: {first_line(error)}"
                if name in made.failed:
                    say(f"{method.label} is left out: {made.failed[name]}")
            if not dry_run:
                _stand(made, split, protocols, done)
    return made


def _stand(made: Measured, split: str, protocols: Sequence[str], done: dict[str, list[Path]]) -> None:
    """Compares the runs of a split, under each of its protocols."""
    simple = {each.label for each in SIMPLE}
    for protocol in protocols:
        name = split if len(protocols) == 1 else f"{split}, {protocol}"
        found = {each: [load_report(p / "protocols" / protocol) for p in runs] for each, runs in done.items()}
        try:
            made.parts[name] = all_round.all_round(found, simple, metrics=METRICS)
        except ConfigError as error:
            say(f"{name} is left out: {error}")
            made.failed[name] = str(error)


def chosen(methods: Sequence[Method], names: Sequence[str]) -> tuple[Method, ...]:
    """The methods of the given labels; none: all.

    Raises:
        ConfigError: an unknown label.
    """
    labels = {each.label: each for each in methods}
    for name in names:
        if name not in labels:
            raise ConfigError(unknown("method", name, labels, "--methods"))
    return tuple(labels[name] for name in names) if names else tuple(methods)


class Clock:
    """What is left of a budget, and what a method is expected to take of it."""

    def __init__(self, budget: float | None, dry_run: bool) -> None:
        self.budget, self.dry_run, self.started = budget, dry_run, time.monotonic()
        self.planned = self.last = 0.0

    def no_room(self, recipe: Recipe, out: Path, seeds: Sequence[int], device: str) -> str:
        """Why a method does not fit; empty: it does. Without a budget nothing is estimated, but for a dry run."""
        if self.budget is None and not self.dry_run:
            return ""
        lines = describe(Session(recipe, out, seeds[0], device))
        seconds = len(seeds) * sum(line["seconds"][1] for line in lines if line["seconds"] is not None)
        self.last = seconds
        say(f"{recipe.name}: about {duration(seconds)}")
        spent = self.planned if self.dry_run else time.monotonic() - self.started
        if self.budget is not None and seconds > 0 and spent + seconds > self.budget:
            return f"needs about {duration(seconds)}, {duration(max(self.budget - spent, 0))} left"
        self.planned += seconds
        return ""


def _runs(
    method: Method, data: str, seeds: Sequence[int], overrides: Sequence[str], out: Path | str, device: str
) -> list[Path]:
    """The evaluate stage of each seed; the data that the first one draws and divides are those of all.

    Raises:
        InterlinguaError: one of them cannot be made.
    """
    paths: list[Path] = []
    prepared: Path | None = None
    for seed in seeds:
        say(f"= seed {seed}")
        if prepared is None:
            recipe = method.resolve(overrides, data)
        else:
            own = [each for each in overrides if "data" not in parse_overrides([each])]
            recipe = method.resolve(own, str(prepared))
        session = stages.run(recipe, out=out, seed=seed, device=device)
        prepared = prepared or session.done["prepare"].path / "dataset"
        paths.append(session.path)
    return paths


def _names(made: Measured) -> list[str]:
    return list(dict.fromkeys(name for part in made.parts.values() for name in part.methods))


def _expected(seconds: float) -> str:
    return f"about {duration(seconds)}" if seconds else "finished before"


def _role(name: str) -> str:
    """Whether others are held against it."""
    simple = any(name.endswith(f": {each.label}") for each in SIMPLE)
    return " (a reference: a simple method, others are held against the best of them)" if simple else ""


def _ratio_and_ndcg(standing: Standing) -> str:
    value = standing.values.get((all_round.ALL, NDCG))
    return f"{standing.ratio:.2f}, {'–' if value is None else f'{value:.4f}'}"


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "all_round": round(standing.ratio, 4),
        "interval": [round(value, 4) for value in standing.interval],
        "worst": {"slice": standing.worst[0], "metric": standing.worst[1], "against": standing.against},
    }


def _slices(standing: Standing, part: AllRound) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for (name, metric), value in standing.values.items():
        found.setdefault(name, {})[metric] = {
            "value": round(value, 5),
            "ratio": round(standing.ratios[name, metric], 4),
            "against": part.best[name, metric],
        }
    return found


def _toml(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
