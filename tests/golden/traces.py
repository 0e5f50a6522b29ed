"""What a recipe gives at a fixed seed: losses, metrics and a hash of every tensor, in a small world with tiny models.

    python -m tests.golden.traces planted              # writes all traces of tests/golden/planted.json anew
    python -m tests.golden.traces planted itemknn      # those of some recipes
    python -m tests.golden.traces movielens-small

Each recipe keeps its own options but for what makes it small: the generated world, tiny language models of the same
families, three optimiser steps in each of two epochs. Names of weights are not part of a trace, nor those of stages:
a rename or a move of code must leave every trace as it is. ``movielens-small`` is the real dataset, with the README's
recipes, real models, and all options but the numbers of steps, of measured users and of layers of the language model.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interlingua.config import read_toml
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.storage.environment import versions

SEED = 11
WORLD: dict[str, Any] = {"name": "planted", "options": {"num_users": 60, "num_items": 40}, "split": "leave-one-out"}
FIT = {"epochs": 2, "steps_per_epoch": 3, "evaluate_every": 1}
FAMILIES = {
    "smollm2-135m": "smollm2", "facebook/opt-6.7b": "opt", "openai-community/gpt2-large": "gpt2",
    "meta-llama/Llama-3.2-3B-Instruct": "llama", "garage-bAInd/Platypus2-13B": "llama", "lmsys/vicuna-7b-v1.3": "llama",
    "huggyllama/llama-7b": "llama", "meta-llama/Llama-2-7b-hf": "llama",
}  # fmt: skip
ENCODERS = (
    "all-minilm-l6-v2", "nq-distilbert-base-v1", "google-bert/bert-base-uncased", "FacebookAI/roberta-base",
)  # fmt: skip
SMALL = {
    "soft_epochs": 1,
    "max_history": 12,
    "num_seeds": 10,
    "precision": "fp32",
    "num_layers": 2,
    "num_candidates": 6,
    "history_length": 5,
    "max_title_chars": 12,
    "reflections": 1,
    "demonstration_candidates": 4,
    "reduce": 36,
}
"""options that are set where a recipe has them"""
README = ("pop", "itemknn", "bm25", "ease", "textknn", "sasrec", "lightgcn", "rlmrec-con", "rlmrec-gen", "alpharec",
          "a-llmrec", "ra-rec", "aligned-mixture", "kv-mixture")  # fmt: skip
SLOW = ("a-llmrec", "ra-rec")


def models(folder: Path) -> dict[str, str]:
    """Names that recipes give -> folders of tiny models of random weights."""
    from interlingua.testing.tiny_models import build, tokenizer_of
    from interlingua.testing.tiny_sentence_encoder import tiny_encoder

    found = {}
    for name, family in FAMILIES.items():
        place = folder / family
        build(family).save_pretrained(place)
        tokenizer_of(family == "opt").save_pretrained(place)
        found[name] = str(place)
    encoder = str(tiny_encoder(folder / "encoder", dim=40))
    return found | dict.fromkeys(ENCODERS, encoder)


def small(name: str, models: dict[str, str]) -> recipes.Recipe:
    """A shipped recipe, made small."""
    return recipes.resolve(small_values(name, models), Path(name).name)


def small_values(name: str, models: dict[str, str]) -> dict[str, Any]:
    """The sections of a shipped recipe, made small."""
    values = read_toml(recipes.find(name))
    labelled = {"options": {**WORLD["options"], "ratings": True, "noise": 0.5}} if "label" in values["data"] else {}
    kept = {k: v for k, v in values["data"].items() if k in ("filter", "label")}
    values["data"] = {**kept, **WORLD, **labelled}
    values["evaluate"] = values.get("evaluate", {}) | {"max_users": 25, "retrieve": 8}
    if values.get("text", {}).get("name") == "npy":  # vectors that only the authors have
        values["text"] = {"name": "lsa", "dim": 36, "users": "items"}
    for section in values.values():
        if "model" in section:
            section["model"] = models[section["model"]]
        if "checkpoint" in section:  # whose tiny stand-in has 64 positions
            section |= {"checkpoint": models["all-minilm-l6-v2"], "max_tokens": 48}
        section.update({key: value for key, value in SMALL.items() if key in section})
        if section.get("quantiser", {}).get("epochs", 0) > 2000:
            section["quantiser"] |= {"epochs": 20}
        if section.get("template") in ("next-item", "next-item-titles", "llara", "tallrec"):
            section["max_title_tokens"] = 8  # the tiny tokenizer makes many tokens
        if "fit" in section:
            section["fit"] = section["fit"] | FIT | {"batch_size": min(section["fit"].get("batch_size", 64), 64)}
            section["fit"].update({k: 1 for k in ("second_stage_epochs",) if k in section["fit"]})
    return values


def shortened(name: str) -> recipes.Recipe:
    """A shipped recipe on its own data with its own models: few steps, few users."""
    values = read_toml(recipes.find(name))
    values["evaluate"] = values.get("evaluate", {}) | {"max_users": 4 if name in SLOW else 40, "retrieve": 8}
    for section in values.values():
        section.update({key: value for key, value in {"soft_epochs": 1}.items() if key in section})
        if "fit" in section:
            section["fit"] = section["fit"] | FIT | ({"batch_size": 4} if name in SLOW else {})
    if "ranker" in values:
        values["ranker"]["num_layers"] = 2
    return recipes.resolve(values, name)


def trace(recipe: recipes.Recipe, out: Path) -> dict[str, Any]:
    """Stages in their order, each with its losses, validations and hashes of tensors; and the final metrics."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        session = stages.run(recipe, out=out, seed=SEED, device="cpu")
    finally:
        torch.set_num_threads(before)
    reports = json.loads((session.done["evaluate"].path / "metrics.json").read_text(encoding="utf-8"))
    return {
        "stages": [_stage(a.path) for kind, a in session.done.items() if kind not in ("prepare", "evaluate")],
        "metrics": {name: report["metrics"] for name, report in reports.items()},
    }


def _stage(folder: Path) -> dict[str, Any]:
    out: dict[str, Any] = {"tensors": hash_of(folder), **size_of(folder)}
    if (folder / "log.jsonl").is_file():
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        epochs = [line for line in lines if "epoch" in line]
        out["losses"] = [{k: v for k, v in e.items() if k not in ("seconds", "epoch")} for e in epochs]
    return out


def hash_of(folder: Path) -> str:
    """One hash of all tensors below a folder, whatever their names are."""
    from safetensors.numpy import load_file

    found = []
    for path in folder.rglob("*.safetensors"):
        for tensor in load_file(path).values():
            head = f"{tensor.dtype.str}{tensor.shape}".encode()
            found.append(hashlib.sha256(head + np.ascontiguousarray(tensor).tobytes()).hexdigest())
    return hashlib.sha256("".join(sorted(found)).encode()).hexdigest()[:16]


def size_of(folder: Path) -> dict[str, float]:
    """What of the tensors can be compared on another machine: how many numbers there are, and their joint norm."""
    from safetensors.numpy import load_file

    tensors = [tensor for path in sorted(folder.rglob("*.safetensors")) for tensor in load_file(path).values()]
    squares = [float(np.square(tensor.astype(np.float64)).sum()) for tensor in tensors]
    return {"numbers": sum(tensor.size for tensor in tensors), "norm": round(math.sqrt(math.fsum(squares)), 6)}


def machine() -> dict[str, str]:
    """What equal bits hold for: versions of packages, and the processor's kind."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    told = dict(line.split("\t", 1) for line in lines[:10] if "\t" in line)  # of the first core
    words = [told[key].strip(": \t") for key in ("model name", "cpu family", "model", "stepping") if key in told]
    own = {k: v for k, v in versions().items() if k != "interlingua"}
    return own | {
        "machine": platform.machine(),
        "cpu": " ".join(words),
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }


def names_of(world: str) -> list[str]:
    """The recipes of a file of traces."""
    return recipes.shipped() if world == "planted" else list(README)


def file_of(world: str) -> Path:
    """Where the traces of a world are kept."""
    return Path(__file__).with_name(f"{world}.json")


def main() -> None:
    """Writes the traces of a world, or those of some recipes into what is there, each with its machine if another."""
    world, names = sys.argv[1], sys.argv[2:] or names_of(sys.argv[1])
    file = file_of(world)
    old = json.loads(file.read_text(encoding="utf-8")) if sys.argv[2:] and file.is_file() else {}
    kept, here = old.get("recipes", {}), machine()
    first = old.get("machine", here)
    with tempfile.TemporaryDirectory() as folder:
        tiny = models(Path(folder))
        for name in names:
            kept[name] = trace(small(name, tiny) if world == "planted" else shortened(name), Path(folder) / "runs")
            kept[name] |= {} if here == first else {"machine": here}
    rows = ",\n".join(f' "{name}": {json.dumps(kept[name])}' for name in sorted(kept))
    file.write_text(f'{{"machine": {json.dumps(first)},\n"recipes": {{\n{rows}\n}}}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
