"""Trials of a recipe's options, measured on the validation part, in a study that outlives the process.

Optuna proposes (TPE, Bergstra et al. 2011; or at random) and keeps the study in SQLite. Each proposal is drawn with a
seed of its own, (seed, number of the trial), and a trial that a killed process left is taken up again with its options
and its checkpoint: a study that was interrupted goes the way of one that was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from math import isfinite
from pathlib import Path
from typing import Any

from interlingua.errors import ConfigError, InterlinguaError, MissingExtraError, first_line, shown, unknown
from interlingua.evaluate.named import lower_is_better
from interlingua.progress import say, task
from interlingua.runs import stages
from interlingua.runs.recipe import Recipe
from interlingua.runs.session import Session
from interlingua.training.listeners import listening
from interlingua.training.loop import derive_seed
from interlingua.tune.request import Request, Sampler
from interlingua.tune.results import TrialResult, Tuned
from interlingua.tune.space import Choices, Space, written

FITTED = ("train", "align", "rank")
"""stages that may be trained by gradient"""
PRUNE_AFTER = 5
"""finished trials before a training may be ended early"""
PRUNE_FROM = 3
"""validations of a training before it may be ended: slow starters are not losers"""


class PrunedError(InterlinguaError):
    """A training that is worse than the median of the others so far."""


def tune(request: Request, trials: int, seconds: float | None = None) -> Tuned:
    """Goes on with the study until it has so many trials, or the time is over (then the trial at hand is finished).

    Raises:
        ConfigError: the recipe, the data or the space cannot be used, another process is at the study, or no trial of
            all has ended with a value.
        MissingExtraError: Optuna is not installed.
    """
    if trials < 1:
        raise ConfigError(f"trials is {shown(trials)}; give at least 1")
    recipe, began = request.check(), time.monotonic()
    with _opened(request, recipe) as (study, place):
        made = _results(study)
        if made:
            say(f"tune: {len(made)} of {trials} trials are there from an earlier call")
        with task("tune: trials", trials) as progress:
            progress.start_at(min(len(made), trials))
            while len(made) < trials and (seconds is None or time.monotonic() - began < seconds):
                made.append(_one_trial(study, request))
                progress.advance(note=_in_words(made[-1], request.metric))
    found = Tuned(recipe.name, request.metric, request.protocol, made, str(place))
    if found.best is None and made:
        raise ConfigError(f"none of {len(made)} trials has a value; the last: {made[-1].why}")
    return found


@contextmanager
def _opened(request: Request, recipe: Recipe) -> Iterator[tuple[Any, Path]]:
    """The study, held by this process alone; its trials that a killed process left are still ``RUNNING``."""
    from filelock import FileLock, Timeout

    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "optuna", "tune", "interlingua tune") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    key = request.key(recipe)
    place = request.storage or request.out / "tune" / f"{recipe.name.replace('/', '-')}-{key[:8]}.db"
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f".{place.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"another process tunes with {place}; wait for it, or give another --storage") from None
    try:
        pruner = optuna.pruners.MedianPruner(PRUNE_AFTER, PRUNE_FROM) if request.prune else None
        study = optuna.create_study(
            storage=f"sqlite:///{place}", study_name=key, load_if_exists=True,
            direction="minimize" if lower_is_better(request.metric) else "maximize",
            pruner=pruner or optuna.pruners.NopPruner(),
        )  # fmt: skip
        if not study.trials and (first := _as_it_stands(request.space, recipe)) is not None:
            study.enqueue_trial(first)
        yield study, place
    finally:
        lock.release()


def _as_it_stands(space: Space, recipe: Recipe) -> dict[str, Any] | None:
    """The recipe's own values of all options of the space, as proposals; None: one of them is outside."""
    own: dict[str, Any] = {}
    for name, entry in space.items():
        value: Any = recipe.resolved()
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(entry, Choices):
            inside = value in entry.values
        else:
            inside = isinstance(value, int | float) and entry.low <= value <= entry.high
            inside = inside and (entry.step is None or ((value - entry.low) / entry.step) % 1 == 0)
        if not inside:
            say(f"note: the recipe's {name} = {shown(value)} is outside the search space, so it is no trial itself")
            return None
        own[name] = written(value) if isinstance(entry, Choices) else value
    return own


def _proposed(trial: Any, space: Space) -> dict[str, Any]:
    """The options of a trial: those that it has, and what the sampler proposes for the others."""
    out: dict[str, Any] = {}
    for name, entry in space.items():
        if isinstance(entry, Choices):
            words = {written(value): value for value in entry.values}
            out[name] = words[trial.suggest_categorical(name, list(words))]
        elif entry.whole:
            out[name] = trial.suggest_int(name, entry.low, entry.high, log=entry.log, step=entry.step or 1)
        else:
            out[name] = trial.suggest_float(name, entry.low, entry.high, log=entry.log, step=entry.step)
    return out


def _next(study: Any, request: Request) -> Any:
    """A trial that was begun by a process that is gone, else a new one."""
    import optuna

    left = [each for each in study.get_trials(deepcopy=False) if each.state == optuna.trial.TrialState.RUNNING]
    number = left[0].number if left else len(_results(study))
    seed = derive_seed(request.seed, "trial", number) % 2**32
    kinds: dict[Sampler, Callable[..., Any]] = {
        "tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler,
    }  # fmt: skip
    study.sampler = kinds[request.sampler](seed=seed)
    return optuna.trial.Trial(study, left[0]._trial_id) if left else study.ask()


def _one_trial(study: Any, request: Request) -> TrialResult:
    """Runs one trial and tells the study; whatever ends it by error or by pruning is written down."""
    from optuna.trial import TrialState

    trial, began = _next(study, request), time.monotonic()
    options = _proposed(trial, request.space)
    said: dict[str, Any] = {}
    value, state = None, TrialState.COMPLETE
    try:
        session = Session(request.resolved(options), request.out, request.seed, request.device)
        said["run"], value, said["interval"] = _measured(session, request, trial)
    except PrunedError as end:
        state, said["why"] = TrialState.PRUNED, str(end)
    except InterlinguaError as error:
        state, said["why"] = TrialState.FAIL, first_line(error)
    said["seconds"] = round(time.monotonic() - began, 3)
    for name, each in said.items():
        trial.set_user_attr(name, each)
    study.tell(trial, value, state)
    return _results(study)[-1]


def _measured(session: Session, request: Request, trial: Any) -> tuple[str, float, Any]:
    """(run's folder, value, interval) of a trial's recipe on the validation part."""
    last = next((kind for kind in reversed(session.plan) if kind in FITTED), None)
    heard = listening(_pruner(trial, last, request.metric)) if request.prune and last else nullcontext()
    with heard:
        made = stages.run(session.recipe, out=request.out, seed=request.seed, device=request.device)
    report = json.loads((made.path / "metrics.json").read_text(encoding="utf-8"))[request.protocol]
    value = report["metrics"].get(request.metric)
    if request.metric not in report["metrics"]:
        raise ConfigError(unknown("metric", request.metric, report["metrics"], f"the protocol {request.protocol}"))
    if value is None or not isfinite(value):
        raise ConfigError(f"{request.metric} has no value on the validation part; give more users or another --metric")
    return str(made.path), float(value), report["intervals"].get(request.metric)


def _pruner(trial: Any, stage: str, metric: str) -> Callable[[str, Mapping[str, Any]], None]:
    """Hears the trainings of a trial; ends that of the last stage if its validation is below the others' median."""
    reported = len(trial.storage.get_trial(trial._trial_id).intermediate_values)

    def heard(label: str, record: Mapping[str, Any]) -> None:
        nonlocal reported
        values = record.get("valid", {})
        if label != stage or metric not in values:
            return
        trial.report(values[metric], reported)
        reported += 1
        if trial.should_prune():
            raise PrunedError(
                f"{metric} {values[metric]:.4f} after epoch {record['epoch']}: worse than the others' median"
            )

    return heard


def _results(study: Any) -> list[TrialResult]:
    """All trials that have ended, in their order."""
    from optuna.trial import TrialState

    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    out = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state not in names:
            continue
        options = {name: json.loads(value) if isinstance(value, str) else value for name, value in trial.params.items()}
        said = dict(trial.user_attrs)
        interval = said.pop("interval", None)
        value = trial.value if trial.state == TrialState.COMPLETE else None
        out.append(TrialResult(
            trial.number, names[trial.state], options, value, None if interval is None else tuple(interval), **said,
        ))  # fmt: skip
    return out


def _in_words(trial: TrialResult, metric: str) -> str:
    value = trial.state if trial.value is None else f"{metric} {trial.value:.4f}"
    return f"trial {trial.number}: {value}"
