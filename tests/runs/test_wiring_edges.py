"""Edges of how stages hand things on: what is refused before it starts, what is named, users beyond the first block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from interlingua import progress, registry
from interlingua.backbones.pop import Pop, PopConfig
from interlingua.errors import ConfigError
from interlingua.evaluate.protocol import validation_metrics
from interlingua.rankers.sequence_head import SequenceHead
from interlingua.recommender import Recommender
from interlingua.retrieval.best import mask_seen, top_items
from interlingua.runs import building, export, stages
from interlingua.runs import recipe as recipes
from interlingua.runs.measuring import EvaluateConfig
from interlingua.runs.session import Session
from interlingua.storage.contents import MISSING
from interlingua.text.lsa import Lsa
from interlingua.training import loop as fit
from interlingua.vectors.tables import load_tables

FIT: dict[str, Any] = {"epochs": 2, "batch_size": 64, "patience": None}
WORLD: dict[str, Any] = {"name": "planted", "options": {"num_users": 60, "num_items": 40}}
HEAD: dict[str, Any] = {
    "name": "soft-prompt", "lm_weights": "none", "template": "sequence", "scoring": "head", "head_weight": 1.0,
    "fuse_scores": True, "history_length": 3, "fit": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 8},
}  # fmt: skip


def resolved(name: str = "edge", **sections: Any) -> recipes.Recipe:
    values: dict[str, Any] = {
        "data": WORLD,
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": FIT},
        "text": {"name": "lsa", "dim": 8},
        "evaluate": {"protocols": ["full"], "max_users": 10},
    }
    return recipes.resolve(values | sections, name)


def ran(folder: Path, **sections: Any) -> Session:
    return stages.run(resolved(**sections), out=folder, seed=3, device="cpu")


class NamesAModel(Pop):
    """A backbone from outside whose model is found on no machine."""

    class Config(PopConfig):
        """Its options."""

        model: str = "somewhere"
        """what is missing"""
        named_models = {"model": lambda name, revision: f"{MISSING}{name} is not on this machine"}


def test_a_model_of_a_component_from_outside_is_missed_before_anything_runs(tmp_path: Path) -> None:
    recipe = resolved(backbone={"name": f"{__name__}:NamesAModel"})
    with pytest.raises(ConfigError, match=r"backbone\.model: somewhere is not on this machine. Give a folder"):
        stages.run(recipe, out=tmp_path / "runs", seed=3, device="cpu")
    assert not [*(tmp_path / "runs").glob("*-*")]


def test_asked_later_for_vectors_by_texts_a_run_says_which_part_makes_none(tmp_path: Path) -> None:
    by_texts = EvaluateConfig(protocols=["full"], candidate_source="aligned")
    masked = ran(tmp_path, align={"name": "masked", "fit": FIT}, text={"name": "lsa", "dim": 8, "users": "items"})
    with pytest.raises(ConfigError, match="the aligner 'masked' makes no item vectors from texts alone"):
        stages.reevaluate(masked, by_texts)
    sums = ran(tmp_path, backbone={"name": "textknn", "variant": "item"}, align={"name": "none"})
    with pytest.raises(ConfigError, match="the backbone 'textknn' does not score by one dot product"):
        stages.reevaluate(sums, by_texts)


@pytest.mark.parametrize("frozen", [["backbone"], []])
def test_users_are_exported_by_the_stage_that_trained_them(frozen: list[str], tmp_path: Path) -> None:
    session = ran(tmp_path, align={"name": "autoencoder", "latent_dim": 6, "frozen": frozen, "fit": FIT})
    users = load_tables(session.done["align"].path).users
    train = session.data.split.train
    own = session.backbone.user_embeddings(train.queries(np.arange(train.num_users))).detach()
    if frozen:
        assert users is None
        users = load_tables(session.done["train"].path).users
    assert users is not None
    torch.testing.assert_close(users, own)


def test_the_vectors_of_every_user_are_written_however_many_blocks_they_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ran(tmp_path)
    whole = export.embed(session, tmp_path / "one", "npy").path
    monkeypatch.setattr(export, "USER_BLOCK", 7)
    blocks = export.embed(session, tmp_path / "many", "npy").path
    found = np.load(blocks / "users.npy")
    assert len(found) == len(json.loads((blocks / "user_ids.json").read_text(encoding="utf-8")))
    np.testing.assert_allclose(found, np.load(whole / "users.npy"), rtol=1e-6)


def test_nobody_asked_is_an_empty_frame(tmp_path: Path) -> None:
    found = Recommender(ran(tmp_path)).recommend(users=[])
    assert found.shape == (0, 5)
    assert found.columns == ["user_id", "item_id", "score", "rank", "stage"]


class Draws(Lsa):
    """A text source from outside that draws its vectors."""

    def __init__(self, config: Any, texts: Any, **rest: Any) -> None:
        super().__init__(config, texts, **rest)
        self.items.copy_(torch.randn_like(self.items))


def test_vectors_that_are_drawn_depend_on_the_seed_alone(tmp_path: Path) -> None:
    found = []
    for at, (before, seed) in enumerate(((1, 3), (2, 3), (2, 4))):
        recipe = resolved(text={"name": f"{__name__}:Draws", "dim": 8}, align={"name": "ridge"})
        torch.manual_seed(before)
        torch.rand(before)
        session = stages.run(recipe, out=tmp_path / str(at), seed=seed, device="cpu")
        found.append(load_tables(session.done["embed"].path).items)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_every_stage_asks_for_the_device_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = fit.accelerator

    def noted(device: str = "auto", precision: str = "no") -> Any:
        asked.append(device)
        return original(device, precision)

    monkeypatch.setattr(fit, "accelerator", noted)
    ran(tmp_path, align={"name": "autoencoder", "latent_dim": 6, "fit": FIT}, ranker=HEAD)
    assert len(asked) >= 6  # training, alignment and reading ask twice each
    assert set(asked) == {"cpu"}


def test_a_device_that_does_not_exist_is_refused_before_a_session_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown device 'tpu'"):
        Session(resolved(), tmp_path, 3, "tpu")


def test_no_more_users_are_measured_than_were_asked_for(tmp_path: Path) -> None:
    session = ran(tmp_path, evaluate={"protocols": ["full"], "max_users": 7})
    assert session.reports["full"].n_users == 7


def test_a_language_model_that_reads_with_few_layers_writes_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    from interlingua.testing.tiny_models import build, tokenizer_of

    build("llama", layers=3).save_pretrained(tmp_path / "lm")
    tokenizer_of().save_pretrained(tmp_path / "lm")
    ranker: dict[str, Any] = {
        "name": "soft-prompt", "model": str(tmp_path / "lm"), "history_length": 3, "num_candidates": 3,
        "max_title_tokens": 3, "fit": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 4},
    }  # fmt: skip
    for layers in (None, 1):
        found = Recommender(ran(tmp_path / "runs", ranker=ranker | {"num_layers": layers}))
        assert found.session.ranker.lm.num_layers == (layers or 3)
        assert found.language_model.num_layers == 3
        assert (found.language_model is found.session.ranker.lm) == (layers is None)


def test_a_run_lists_ten_by_default_and_says_which_run_it_is(tmp_path: Path) -> None:
    session = ran(tmp_path)
    made = Recommender(session)
    item, user = str(session.data.split.train.item_ids[0]), str(session.data.split.train.user_ids[0])
    assert len(made.recommend(user)) == len(made.similar_items(item)) == len(made.similar_users(user)) == 10
    assert len(made.recommend(history=[item], k=1)) == 1
    assert session.done["evaluate"].key.startswith(made.version)
    assert len(made.version) == 12


def test_an_item_without_categories_has_none(tmp_path: Path) -> None:
    made = Recommender(ran(tmp_path))
    items = made.session.data.catalogue.items
    texts = pl.Series("categories", ["a | b,", "", None, *["c"] * (len(items) - 3)])
    made.session.data.catalogue.__dict__["items"] = items.with_columns(texts)
    assert made.session.data.catalogue.categories[:4] == [{"a", "b"}, set(), set(), {"c"}]


def test_training_begins_where_the_aligner_says(tmp_path: Path) -> None:
    """``init``: item vectors are a linear map of their texts, which steps too small to see do not change."""
    slow = FIT | {"epochs": 1, "learning_rate": 1e-9}
    session = ran(tmp_path, backbone={"name": "mf", "embedding_dim": 4}, align={"name": "init", "fit": slow})
    items = session.backbone.item_embeddings().detach().double()
    texts = load_tables(session.done["embed"].path).items.double()
    source = torch.cat([texts, torch.ones(len(texts), 1)], 1)
    left = items - source @ torch.linalg.lstsq(source, items).solution
    assert float(left.norm() / items.norm()) < 1e-3


def test_one_user_and_many_at_once_are_too_many(tmp_path: Path) -> None:
    made = Recommender(ran(tmp_path))
    user = str(made.train.user_ids[0])
    for options in ({"user": user, "users": [user]}, {"user": user, "histories": [[]]}, {"users": [], "histories": []}):
        with pytest.raises(ConfigError, match="or many as users or histories"):
            made.recommend(**options)


def test_a_finished_run_is_measured_anew_when_its_source_is_gone(tmp_path: Path) -> None:
    rows = [f"u{user},i{(user * step + step) % 12},{step}" for user in range(20) for step in range(1, 9)]
    source = tmp_path / "events.csv"
    source.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n", encoding="utf-8")
    data = {"name": str(source), "filter": {"min_user": 1, "min_item": 1}}
    session = ran(tmp_path / "runs", data=data, backbone={"name": "pop"})
    source.unlink()
    again = stages.reevaluate(session, EvaluateConfig(protocols=["sampled-5"]))
    assert again.path != session.done["evaluate"].path
    assert again.parents == session.done["evaluate"].parents


def test_what_a_calibration_draws_depends_on_the_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run may have trained no epoch in this process: what was drawn before is another thing then."""
    drawn: list[Tensor] = []
    monkeypatch.setattr(SequenceHead, "calibrate", lambda self, queries, targets: drawn.append(torch.rand(3)))
    original, before = building.fit_best, 0

    def after_other_draws(*arguments: Any, **options: Any) -> Any:
        log = original(*arguments, **options)
        torch.rand(before)
        return log

    monkeypatch.setattr(building, "fit_best", after_other_draws)
    for before in (0, 5):
        ran(tmp_path / str(before), ranker=HEAD)
    assert torch.equal(drawn[0], drawn[1])


def test_python_and_the_command_make_the_same_run_unless_told_otherwise(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from interlingua.cli.main import app

    world = "data.options={num_users=60, num_items=40}"
    asked = ["run", "pop", "--data", "planted", "--set", world, "--out", str(tmp_path)]
    assert CliRunner().invoke(app, asked, catch_exceptions=False).exit_code == 0
    assert stages.run("pop", out=tmp_path, data="planted", overrides=[world]).reused == {"prepare", "train", "evaluate"}


def test_a_reader_with_two_towers_has_vectors_for_an_index(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from interlingua.testing.tiny_models import build, tokenizer_of

    build("smollm2").save_pretrained(tmp_path / "lm")
    tokenizer_of(False).save_pretrained(tmp_path / "lm")
    ranker: dict[str, Any] = {
        "name": "kv-prompt", "model": str(tmp_path / "lm"), "history_length": 3, "fraction": 0.5, "readout": 8,
        "fit": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 4},
    }  # fmt: skip
    session = ran(tmp_path / "runs", backbone={"name": "sasrec", "embedding_dim": 8, "fit": FIT}, ranker=ranker)
    made, queries = export.towers(session), session.data.split.queries("test").slice(0, 9)
    assert made.source == "rank"
    found = made.users(queries) @ made.items.T
    np.testing.assert_allclose(found.numpy(), session.ranker.score(queries), rtol=1e-4, atol=1e-5)


def test_the_backbone_that_is_kept_is_the_one_that_validated_best(tmp_path: Path) -> None:
    patient = FIT | {"epochs": 80, "learning_rate": 0.3, "patience": 2, "patience_steps": 1, "metric": "ndcg@10"}
    session = ran(tmp_path, backbone={"name": "mf", "embedding_dim": 8, "fit": patient})
    lines = (session.done["train"].path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    *epochs, last = (json.loads(line) for line in lines)
    assert len(epochs) == last["best_epoch"] + 2
    assert last["best"] == max(epoch["valid"]["ndcg@10"] for epoch in epochs)
    assert validation_metrics(session.backbone, session.data.split)["ndcg@10"] == pytest.approx(last["best"])


def test_a_head_over_the_catalogue_retrieves_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "FIRST_AFTER_S", 0.0)
        session = ran(tmp_path, ranker=HEAD, evaluate={"protocols": ["full"], "max_users": 10, "retrieve": 2})
    assert {"train: 2/2", "rank: 1/1"} <= {line.split(",")[0] for line in capsys.readouterr().err.splitlines()}
    users = session.data.interactions.queries(np.arange(8))
    scores = np.array(session.ranker.score(users), np.float32)
    mask_seen(scores, users)
    made = Recommender(session)
    for row, best in enumerate(top_items(scores, 6)):
        found = made.recommend(str(made.train.user_ids[row]), k=6)
        assert [each.item_id for each in found] == [str(made.train.item_ids[item]) for item in best]


@pytest.mark.parametrize(
    ("ranker", "option"), [("soft-prompt", "slots.user"), ("sequence-head", "slots.user"), ("kv-prompt", "maps")]
)
def test_a_ranker_declares_how_it_does_without_user_vectors(ranker: str, option: str) -> None:
    """The remedy that is named is the one that helps."""
    from interlingua.backbones.mf import Mf
    from interlingua.runs.pairs import misfits
    from interlingua.runs.section import Section

    class ItemsOnly(Mf):
        @classmethod
        def makes(cls, config: Any) -> frozenset[str]:
            return super().makes(config) - {"users"}

    def said(**options: Any) -> list[str]:
        cls = registry.find("ranker", ranker)
        parts = Section("backbone", "mf", ItemsOnly, Mf.Config()), Section("ranker", ranker, cls, cls.Config(**options))
        return misfits(parts[0], None, None, parts[1], frozen=True, candidate_source="backbone")

    table: Any = "none"
    for key in reversed(option.split(".")):
        table = {key: table}
    assert any(f"set ranker.{option} = 'none'" in line for line in said())
    assert not any("user vectors" in line for line in said(**table))
