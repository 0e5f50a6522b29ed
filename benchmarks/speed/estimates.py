"""What ``--dry-run`` expects (parameters, memory, time) beside what runs took, per recipe and dataset.

    python benchmarks/speed/estimates.py --out benchmarks/speed/results/estimates.json

Estimate and run are processes of their own with one thread; memory is the most that the system saw each hold, time the
sum of the stages. All seconds are the process's own processor time (its clock is replaced), so that other work on the
machine does not count. A run that is expected to take longer than ``--whole-below`` is not run whole: some steps of
each training stage and some users of the evaluation are, and their rates are scaled to the estimate's own steps,
epochs and users. Such a cell (``how``: rates) says whether a step is as quick as expected, not when early stopping
ends. A whole run is given up at eight times its estimate. Cells that are in the file already are kept; ``--estimate``
makes only the estimates again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from header import header

from interlingua.storage.environment import git_commit

RECIPES = ("pop", "itemknn", "ease", "mf", "sasrec", "lightgcn", "rlmrec-con", "a-llmrec")
DATA = ("movielens-small", "amazon-beauty-2014", "ml-1m")
TRAINED = {"train": "backbone", "align": "align", "rank": "ranker"}
"""stages with a training loop -> the recipe's section whose ``fit`` it follows"""
STEPS, ROUNDS, USERS = 40, 3, 200
"""of a run by rates: steps of a round, rounds, users that are measured; with a language model a tenth of both"""
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--whole-below", type=float, default=180.0, help="seconds")
    parser.add_argument("--estimate", action="store_true", help="make only the estimates again")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        time.perf_counter = time.process_time
        if options.arguments is not None:
            from interlingua.cli.main import main as interlingua

            sys.argv = ["interlingua", *options.arguments]
            interlingua()
        options.out.write_text(json.dumps(expected(*options.child.split("/"))), encoding="utf-8")
        return
    cells = kept(options.out)
    for name in options.recipes:
        for data in options.data:
            cell = cells.setdefault(f"{name}/{data}", {})
            if "estimate" not in cell or options.estimate:
                cell["estimate"] = estimated(name, data)
            if "actual" not in cell and not options.estimate:
                cell["actual"] = measured(name, data, cell["estimate"], options.whole_below)
            write(options.out, cells)


def kept(file: Path) -> dict[str, Any]:
    """Cells of an earlier call."""
    return dict(json.loads(file.read_text(encoding="utf-8"))["cells"]) if file.is_file() else {}


def expected(name: str, data: str) -> dict[str, Any]:
    """Stage -> seconds, parameters, bytes, as the dry run has them."""
    from dataclasses import asdict

    from interlingua.runs import recipe as recipes
    from interlingua.runs.estimate import Estimator
    from interlingua.runs.session import Session

    with TemporaryDirectory() as folder:
        session = Session(recipes.load(name, data=data), Path(folder), SEED, "cpu")
        return {stage: asdict(one) for stage, one in Estimator(session).all().items()}


def process(words: list[str], limit_s: float | None = None) -> dict[str, float]:
    """One process to its end: seconds, processor seconds, peak bytes, exit status (-1: given up at the limit)."""
    with TemporaryDirectory() as cache, Path(os.devnull).open("w") as nowhere:
        fresh_cache(Path(cache))
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "INTERLINGUA_CACHE": cache}
        started = time.monotonic()
        child = subprocess.Popen([sys.executable, __file__, *words], env=variables, stdout=nowhere)
        status: int | None = None
        while status is None:
            pid, code, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                status = os.waitstatus_to_exitcode(code)
            elif limit_s is not None and time.monotonic() - started > limit_s:
                child.kill()
                _, _, usage = os.wait4(child.pid, 0)
                status = -1
            else:
                time.sleep(0.05)
        child.returncode = status
        seconds = time.monotonic() - started
    peak = usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "bytes": peak, "status": status}


def fresh_cache(folder: Path) -> None:
    """The user's converted language models, and no vectors of texts: encoding them is part of what is measured."""
    from interlingua.vectors.cache import user_cache

    for part in ("models", "probes"):
        if (user_cache() / part).is_dir():
            (folder / part).symlink_to(user_cache() / part)


def estimated(name: str, data: str) -> dict[str, Any]:
    """The estimate of a process of its own."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "estimate.json"
        done = process(["--child", f"{name}/{data}", "--out", str(file)])
        if done["status"]:
            raise SystemExit(f"the estimate of {name} on {data} ended with {done['status']}")
        return {"stages": json.loads(file.read_text(encoding="utf-8")), "took": rounded(done)}


def measured(name: str, data: str, estimate: Mapping[str, Any], whole_below: float) -> dict[str, Any]:
    """What the run takes: whole where that is short, else by rates."""
    hoped = sum(stage["seconds"] for stage in estimate["stages"].values())
    whole = hoped <= whole_below
    with TemporaryDirectory() as folder:
        sets = [] if whole else few_steps(name, data)
        words = ["run", name, "--data", data, "--out", folder, "--device", "cpu", "--seed", str(SEED)]
        words += [word for one in sets for word in ("--set", one)]
        before = ["--child", f"{name}/{data}", "--out", folder, "--arguments"]
        done = process([*before, *words], 8 * hoped + 60 if whole else None)
        if done["status"] > 0:
            raise SystemExit(f"interlingua {shlex.join(words)} ended with {done['status']}")
        found = stages_of(Path(folder))
    result: dict[str, Any] = {"how": "whole" if whole else "rates", "took": rounded(done), "stages": found}
    result["commit"] = git_commit()
    if done["status"] < 0:
        return result | {"how": "given up", "seconds": round(done["cpu"], 1)}
    return result


def seconds_of(name: str, data: str, actual: Mapping[str, Any], stages: Mapping[str, Any]) -> float:
    """What the whole run takes: measured, or scaled from some steps and users to those of the estimate."""
    if actual["how"] == "given up":
        return float(actual["seconds"])
    rates = actual["how"] == "rates"
    return sum(
        scaled(stage, one, stages[stage], name, data) if rates else float(one["seconds"])
        for stage, one in actual["stages"].items()
    )


def loaded(name: str, data: str) -> Any:
    """The recipe on that data."""
    from interlingua.runs import recipe as recipes

    return recipes.load(name, data=data)


def fits(name: str, data: str) -> dict[str, Any]:
    """Stage -> the options of its training loop."""
    recipe = loaded(name, data)
    joint = recipe.align is not None and not recipe.frozen_backbone
    found = {} if joint or recipe.backbone.cls.sampling == "none" else {"train": recipe.backbone.config.fit}
    if recipe.align is not None and "fit" in type(recipe.align.config).model_fields:
        found["align"] = recipe.align.config.fit or recipe.backbone.config.fit
    if recipe.ranker is not None:
        found["rank"] = recipe.ranker.config.fit
    return found


def few_steps(name: str, data: str) -> list[str]:
    """Overrides that end each training after some rounds of some steps, and the evaluation after some users."""
    recipe, sets = loaded(name, data), []
    slow = 10 if recipe.ranker is not None else 1
    for stage, config in fits(name, data).items():
        section = TRAINED[stage]
        if stage == "align" and recipe.align.config.fit is None:
            section = "backbone"
        steps = STEPS // (slow if stage != "train" else 1)
        sets += [f"{section}.fit.epochs={ROUNDS}", f"{section}.fit.steps_per_epoch={steps}"]
        sets += [f"{section}.fit.evaluate_every=1"]
        sets += [f"{section}.fit.{name}=1" for name in ("second_stage_epochs",) if name in type(config).model_fields]
    return [*sets, f"evaluate.max_users={USERS // slow}"]


def stages_of(root: Path) -> dict[str, Any]:
    """Stage -> seconds, parameters, peak bytes and training records, from the cards of a run."""
    found: dict[str, Any] = {}
    for card in sorted(root.glob("*/card.json")):
        values = json.loads(card.read_text(encoding="utf-8"))
        one = {"seconds": values["seconds"], "parameters": values.get("parameters", 0)}
        one |= {key: values[key] for key in ("epochs", "best_epoch", "steps") if key in values}
        log = card.parent / "log.jsonl"
        if log.is_file():
            records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()][:-1]
            one["rounds"] = [{"seconds": r["seconds"], "steps": r["steps"]} for r in records]
            one["validated"] = sum("valid" in r for r in records)
        found[values["kind"]] = one
    return found


def scaled(stage: str, one: Mapping[str, Any], estimate: Mapping[str, Any], name: str, data: str) -> float:
    """Seconds of a whole stage, from some rounds of it (the first one, which also builds things, counts once)."""
    if stage == "evaluate":
        users = int(str(estimate["note"]).split()[0].replace(",", ""))
        return float(one["seconds"] * users / min(users, USERS // (10 if loaded(name, data).ranker is not None else 1)))
    rounds = one.get("rounds")
    if not rounds:
        return float(one["seconds"])
    config = fits(name, data)[stage]
    later = rounds[1:] or rounds
    rate = sum(r["seconds"] for r in later) / sum(r["steps"] for r in later)
    rest = one["seconds"] - sum(r["seconds"] for r in rounds)
    epochs, steps = estimate["epochs"], estimate["steps"]
    checks = math.ceil(epochs / config.evaluate_every) / one["validated"] if one["validated"] else 1.0
    return float(epochs * steps * rate + checks * rest)


def rounded(done: Mapping[str, float]) -> dict[str, float]:
    """A process's use, for the file."""
    return {key: round(value, 2) for key, value in done.items() if key != "status"}


def rows(cells: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per cell: estimate, actual value and their ratio; a cell that was left out says why (``left_out``)."""
    found: list[dict[str, Any]] = []
    for label, cell in cells.items():
        name, data = label.split("/")
        if "left_out" in cell and "actual" not in cell:
            found.append({"recipe": name, "data": data, "how": f"not measured: {cell['left_out']}"})
        if not {"estimate", "actual"} <= set(cell):
            continue
        stages, actual = cell["estimate"]["stages"], cell["actual"]
        memory = max(stage["memory_bytes"] for stage in stages.values()) / 2**30
        took = sum(stage["seconds"] for stage in stages.values())
        seconds = seconds_of(name, data, actual, stages)
        counted = [sum(s["parameters"] for s in one.values()) for one in (stages, actual["stages"])]
        real = actual["took"]["bytes"] / 2**30
        found.append({
            "recipe": name, "data": data, "parameters est.": counted[0], "parameters": counted[1],
            "GiB est.": round(memory, 2), "GiB": round(real, 2), "GiB ratio": round(memory / real, 2),
            "s est.": round(took, 1), "s": round(seconds, 1), "s ratio": round(took / seconds, 2),
            "epochs est.": epochs_in(stages), "epochs": epochs_in(actual["stages"]) if actual["how"] == "whole" else "",
            "how": actual["how"],
        })  # fmt: skip
    return found


def epochs_in(stages: Mapping[str, Any]) -> str:
    """Epochs of each training stage, joined."""
    return " + ".join(str(one["epochs"]) for one in stages.values() if one.get("epochs"))


def within(found: list[dict[str, Any]], column: str) -> str:
    """How many ratios lie between a half and two."""
    ratios = [row[column] for row in found if column in row]
    return f"{sum(0.5 <= ratio <= 2 for ratio in ratios)} of {len(ratios)}"


def write(file: Path, cells: Mapping[str, Any]) -> None:
    """The whole file anew, moved into its place."""
    found = rows(cells)
    full = [row for row in found if "parameters" in row]
    report = {
        **header(__file__),
        "threads": 1,
        "parameters_exact": f"{sum(r['parameters est.'] == r['parameters'] for r in full)} of {len(full)}",
        "memory_within_2": within(found, "GiB ratio"),
        "time_within_2": within(found, "s ratio"),
        "rows": found,
        "cells": cells,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    shutil.move(temporary, file)
    if found:
        print(json.dumps(found[-1]), file=sys.stderr)


if __name__ == "__main__":
    main()
