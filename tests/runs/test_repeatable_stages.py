"""Equal keys, equal bits: each stage of each kind of recipe, killed inside, made again alone, or beside reused ones."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from interlingua.runs import building, session, stages
from interlingua.runs import recipe as recipes
from interlingua.runs.opening import open_session
from interlingua.storage import artifact
from interlingua.testing.tiny_models import build, tokenizer_of
from interlingua.testing.tiny_sentence_encoder import tiny_encoder
from interlingua.training import loop as fit

WORLD = {"name": "planted", "options": {"num_users": 60, "num_items": 40}}
LABELLED = {
    "name": "planted", "label": {"at_least": 4.0},
    "options": {"num_users": 60, "num_items": 40, "ratings": True, "noise": 0.5},
}  # fmt: skip
SASREC = {"name": "sasrec", "embedding_dim": 8, "max_history": 10, "dropout": 0.2, "fit": {"epochs": 2}}
LM: dict[str, Any] = {"fit": {"epochs": 2, "steps_per_epoch": 2, "batch_size": 4}, "history_length": 3, "model": "LM"}
EVALUATE = {"protocols": ["full"], "retrieve": 6, "max_users": 20}
RECIPES: dict[str, dict[str, Any]] = {
    "fine-tuned texts and titles": {
        "backbone": SASREC,
        "text": {"name": "sbert", "model": "ENCODER", "trainable": True},
        "align": {"name": "autoencoder", "latent_dim": 8, "frozen": ["backbone"], "fit": {"epochs": 2}},
        "ranker": {**LM, "name": "soft-prompt", "num_candidates": 5, "max_title_tokens": 6, "dropout": 0.1},
    },
    "closed forms and a head": {
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 2, "patience": 1}},
        "text": {"name": "lsa", "dim": 16},
        "align": {"name": "ridge"},
        "ranker": {**LM, "name": "soft-prompt", "template": "sequence", "scoring": "head", "head_weight": 1.0,
                "fuse_scores": True, "cold_dropout": 0.2},
    },
    "two towers": {
        "backbone": SASREC,
        "text": {"name": "lsa", "dim": 16},
        "ranker": {**LM, "name": "kv-prompt", "fraction": 0.5, "readout": 8, "id_vectors": "random",
                "fuse_scores": True, "id_dropout": 0.3},
    },
    "two stages, yes or no": {
        "data": LABELLED,
        "backbone": {"name": "hash-mf", "embedding_dim": 8, "fit": {"epochs": 2, "patience": None}},
        "ranker": {**LM, "name": "binllm", "max_title_words": 3,
                "fit": {**LM["fit"], "patience": 1, "patience_steps": 0, "metric": "auc"}},
        "evaluate": {"protocols": ["labelled"]},
    },
    "few shots, yes or no": {
        "data": LABELLED,
        "backbone": {"name": "pop"},
        "ranker": {**LM, "name": "tallrec", "labels": "data", "samples": 9, "max_title_tokens": 4, "num_layers": 1},
        "evaluate": {"protocols": ["labelled"]},
    },
    "own examples, drawn answers": {
        "backbone": {"name": "pop"},
        "ranker": {**LM, "name": "rec-icl", "demonstrations": 2, "max_title_words": 3,
                "fit": {**LM["fit"], "patience": 1, "patience_steps": 0}},
        "evaluate": {"protocols": ["sampled-20"], "max_users": 10},
    },
    "vectors step by step": {
        "backbone": SASREC,
        "ranker": {**LM, "name": "llara", "num_candidates": 5, "max_title_tokens": 4, "num_layers": 1},
        "evaluate": {"protocols": ["sampled-20"], "max_users": 10},
    },
    "a graph in two stages": {
        "backbone": {"name": "sr-gnn", "embedding_dim": 8, "dropout": 0.2, "fit": {"epochs": 2}},
        "ranker": {**LM, "name": "llmgr", "max_title_tokens": 4, "num_layers": 1},
    },
    "two hops and a queue of keys": {
        "backbone": SASREC,
        "ranker": {**LM, "name": "gal-rec", "max_title_tokens": 4, "num_layers": 1, "neighbours": 2, "queue_size": 30},
    },
    "codes read and written": {
        "backbone": {"name": "textknn"},
        "text": {"name": "lsa", "dim": 12},
        "align": {"name": "rq-vae", "frozen": ["backbone"], "same_codes": 0, "sinkhorn": 0.003,
                "quantiser": {"levels": 2, "size": 8, "hidden": [8], "code_dim": 4, "epochs": 5}},
        "ranker": {**LM, "name": "lc-rec", "mix": "even", "fit": {**LM["fit"], "patience": 1, "patience_steps": 0}},
    },
    "experts of a searched shape": {
        "backbone": {"name": "pop"},
        "ranker": {**LM, "name": "mixrec", "max_title_tokens": 4, "cf_dim": 8, "first_epochs": 2, "trials": 2},
    },
    "outputs, validated": {
        "backbone": SASREC,
        "ranker": {**LM, "name": "llm-srec", "hidden_dim": 16, "output_dim": 8,
                "fit": {**LM["fit"], "patience": 2, "schedule": "exponential"}},
    },
    "trained along with texts": {
        "backbone": {"name": "simgcl", "embedding_dim": 8, "num_layers": 2, "fit": {"epochs": 2, "batch_size": 256}},
        "text": {"name": "lsa", "dim": 16, "users": "items", "control": "noise"},
        "align": {"name": "masked"},
    },
    "a history by items and by texts": {
        "backbone": {"name": "dmrec", "embedding_dim": 8, "latent_dim": 4, "text_hidden_dim": 8,
                "fit": {"epochs": 2, "batch_size": 32, "patience": None, "evaluate_every": 1}},
        "text": {"name": "lsa", "dim": 16, "users": "items"},
    },
    "a mix of ids and texts": {
        "backbone": {"name": "faerec", "embedding_dim": 8, "num_heads": 1, "num_blocks": 1, "max_history": 8,
                "fit": {"epochs": 2, "batch_size": 32}},
        "text": {"name": "lsa", "dim": 16},
    },
    "learned beside whitened texts": {
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 2}},
        "text": {"name": "lsa", "dim": 16, "users": "items"},
        "align": {"name": "alphafuse", "users": "texts"},
    },
    "a text tower with a queue of keys": {
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 2, "batch_size": 64}},
        "text": {"name": "lsa", "dim": 16, "users": "items"},
        "align": {"name": "gal-style", "queue_size": 50},
    },
    "an encoder at its own rate": {
        "backbone": {**SASREC, "loss": "in-batch"},
        "text": {"name": "sbert", "model": "ENCODER", "trainable": True, "train_layers": 1},
        "align": {"name": "morec", "fit": {"epochs": 2, "encoder_learning_rate": 0.001}},
    },
    "sentences through an encoder that learns": {
        "backbone": {**SASREC, "fit": {"epochs": 2, "steps_per_epoch": 2, "batch_size": 32}},
        "text": {"name": "sbert", "model": "ENCODER", "trainable": True, "train_layers": 1},
        "align": {"name": "ctrl", "prefixes": 2, "fit": {"epochs": 2, "steps_per_epoch": 2, "batch_size": 16,
                "warmup_steps": 3, "encoder_learning_rate": 0.001}},
    },
    "attributes of items": {
        "backbone": {"name": "recformer", "embedding_dim": 8, "num_blocks": 1, "max_history": 8, "max_tokens": 40,
                "fit": {"epochs": 3, "pretrain_epochs": 1, "second_stage_epochs": 1, "warmup_steps": 0,
                        "schedule": "constant"}},
    },
    "an encoder fitted on attributes": {
        "backbone": SASREC,
        "text": {"name": "scft", "model": "ENCODER", "train_layers": 1, "reduce": 8,
                "fit": {"epochs": 2, "batch_size": 16}},
        "align": {"name": "llmemb"},
    },
    "neighbours of texts": {"backbone": {"name": "textknn"}, "text": {"name": "sbert", "model": "ENCODER"}},
}  # fmt: skip
CASES = [(name, kind) for name, recipe in RECIPES.items() for kind in recipe if kind not in ("data", "evaluate")]
SET_LEARNING_RATE = fit._set_learning_rate
STAGE = {"backbone": "train", "text": "embed", "align": "align", "ranker": "rank"}


class Killed(BaseException):
    """Stands for the end of the process: nothing here may catch it."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    build("smollm2").save_pretrained(folder / "lm")
    tokenizer_of(False).save_pretrained(folder / "lm")
    return {"LM": str(folder / "lm"), "ENCODER": str(tiny_encoder(folder / "encoder"))}


@pytest.fixture(scope="module")
def run(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path | None], Any]:
    """(recipe's name, runs folder) -> the session; without a folder the undisturbed run, which is made once."""

    def make(name: str, out: Path) -> session.Session:
        values = {"data": WORLD, "evaluate": EVALUATE} | {k: dict(v) for k, v in RECIPES[name].items()}
        for section in ("text", "ranker"):
            if "model" in values.get(section, {}):
                values[section]["model"] = models[values[section]["model"]]
        torch.manual_seed(int(np.random.default_rng().integers(1 << 30)))  # whatever this process drew before
        return stages.run(recipes.resolve(values, "small"), out=out, seed=3, device="cpu")

    @functools.cache
    def whole(name: str) -> session.Session:
        return make(name, tmp_path_factory.mktemp("whole"))

    return lambda name, out=None: whole(name) if out is None else make(name, out)


def bits(done: session.Session) -> dict[str, Any]:
    """sha256 of every tensor file, and the metrics."""
    found = {
        f"{kind}/{path.name}": artifact.file_hash(path)
        for kind, stage in done.done.items()
        for path in stage.path.rglob("*")
        if path.suffix in (".safetensors", ".parquet")
    }
    reports = json.loads((done.done["evaluate"].path / "metrics.json").read_text(encoding="utf-8"))
    return found | {f"metrics of {name}": report["metrics"] for name, report in reports.items()}


def without(done: session.Session, out: Path, *kinds: str) -> Path:
    """A copy of a runs folder in which some stages are missing."""
    shutil.copytree(done.root, out)
    for kind in kinds:
        shutil.rmtree(out / done.plan[kind].folder, ignore_errors=True)
    return out


@pytest.mark.parametrize(("name", "part"), CASES)
def test_a_stage_made_again_beside_reused_ones_has_the_same_bits(
    name: str, part: str, run: Any, tmp_path: Path
) -> None:
    whole, kind = run(name), STAGE[part]
    if kind not in whole.plan:  # trained along in another stage, which has a case of its own
        return
    again = run(name, without(whole, tmp_path / "runs", kind, "evaluate"))
    assert again.reused == set(whole.plan) - {kind, "evaluate"}
    assert bits(again) == bits(whole)


@pytest.mark.parametrize(("name", "part"), CASES)
def test_a_stage_killed_in_the_middle_and_at_the_end_has_the_same_bits(
    name: str, part: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, kind = run(name), STAGE[part]
    if kind not in whole.plan:  # trained along in another stage, which has a case of its own
        return
    out = without(whole, tmp_path / "runs", kind, "evaluate")
    monkeypatch.setattr(building, "fit_best", functools.partial(fit.fit_best, checkpoint_every_s=0.0))
    if (whole.done[kind].path / "log.jsonl").exists():
        with monkeypatch.context() as inside:
            inside.setattr(fit, "_set_learning_rate", _killed_in_the_second_epoch)
            with pytest.raises(Killed):
                run(name, out)
        assert list(out.glob(f"{kind}-*.partial/**/state.json")), "there is a checkpoint to go on from"
    with monkeypatch.context() as inside:  # the whole work is done, the card is not written
        inside.setattr(session, "to_toml", _killed)
        with pytest.raises(Killed):
            run(name, out)
    assert bits(run(name, out)) == bits(whole)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("two stages, yes or no", "rank"),
        ("a graph in two stages", "rank"),
        ("experts of a searched shape", "rank"),
        ("sentences through an encoder that learns", "align"),
    ],
)
def test_a_stage_of_two_trainings_killed_in_the_second_goes_on_there(
    name: str, kind: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(name)
    out = without(whole, tmp_path / "runs", kind, "evaluate")
    monkeypatch.setattr(building, "fit_best", functools.partial(fit.fit_best, checkpoint_every_s=0.0))
    steps: list[tuple[int, int]] = []

    def killed_late(optimizer: Any, config: Any, epoch: int, step: int, done: int) -> None:
        steps.append((epoch, step))
        if steps.count((1, 0)) == 2:
            raise Killed
        SET_LEARNING_RATE(optimizer, config, epoch, step, done)

    with monkeypatch.context() as inside:
        inside.setattr(fit, "_set_learning_rate", killed_late)
        with pytest.raises(Killed):
            run(name, out)
    first = len(steps)

    def noted(optimizer: Any, config: Any, epoch: int, step: int, done: int) -> None:
        steps.append((epoch, step))
        SET_LEARNING_RATE(optimizer, config, epoch, step, done)

    with monkeypatch.context() as inside:
        inside.setattr(fit, "_set_learning_rate", noted)
        again = run(name, out)
    assert bits(again) == bits(whole)
    assert steps[first:] == [(1, 0), (1, 1)], "neither the first training nor the first epoch of the second is repeated"


def _killed(*_: Any) -> str:
    raise Killed


def _killed_in_the_second_epoch(optimizer: Any, config: Any, epoch: int, step: int, done: int) -> None:
    if epoch == 1:
        raise Killed
    SET_LEARNING_RATE(optimizer, config, epoch, step, done)


def test_the_order_in_which_a_session_is_asked_changes_nothing(run: Any) -> None:
    whole = run("closed forms and a head")
    queries = whole.data.split.queries("test").slice(0, 5)
    first, second = (open_session(whole.done["evaluate"].path, "cpu") for _ in range(2))
    assert second.backbone is not None
    torch.rand(3)
    assert np.array_equal(first.ranker.score(queries), second.ranker.score(queries))
