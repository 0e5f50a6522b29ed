"""How stages hand things on: what a ranker is given, what it is calibrated on, which vectors of new items count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from interlingua.contracts.scorer import TableScorer
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.recommender import Recommender
from interlingua.retrieval.cascade import Candidates, RetrieveThenRerank, diversified
from interlingua.runs import recipe as recipes
from interlingua.runs import scorers, stages
from interlingua.runs.export import towers
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session, ranker_inputs

FIT: dict[str, Any] = {"epochs": 2, "batch_size": 64}
LATENT: dict[str, Any] = {"name": "autoencoder", "latent_dim": 6, "frozen": ["backbone"], "fit": FIT}
HEAD: dict[str, Any] = {
    "name": "soft-prompt", "lm_weights": "none", "template": "sequence", "scoring": "head", "head_weight": 1.0,
    "fuse_scores": True, "history_length": 3, "fit": {"epochs": 2, "steps_per_epoch": 2, "batch_size": 8},
}  # fmt: skip


def ran(folder: Path, **sections: Any) -> Session:
    values: dict[str, Any] = {
        "data": {"name": "planted", "options": {"num_users": 80, "num_items": 60}},
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": FIT},
        "text": {"name": "lsa", "dim": 8},
        "evaluate": {"protocols": ["full"], "max_users": 10},
    }  # fmt: skip
    return stages.run(recipes.resolve(values | sections, "wired"), out=folder, seed=3, device="cpu")


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Backbone, alignment, and a head that mixes in the backbone and the texts (no language model)."""
    return ran(tmp_path_factory.mktemp("read"), align=LATENT, ranker=HEAD)


@pytest.fixture(scope="module")
def ridged(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return ran(tmp_path_factory.mktemp("ridge"), align={"name": "ridge"})


def test_calibration_asks_what_validation_asks_and_nothing_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Queries, np.ndarray]] = []
    from interlingua.rankers.sequence_head import SequenceHead

    monkeypatch.setattr(SequenceHead, "calibrate", lambda self, queries, targets: asked.append((queries, targets)))
    split = ran(tmp_path, align=LATENT, ranker=HEAD).data.split
    ((queries, targets),) = asked
    np.testing.assert_array_equal(np.asarray(targets), split.valid.items)
    held = dict(zip(split.valid.users.tolist(), split.valid.items.tolist(), strict=True))
    for row, user in enumerate(queries.users.tolist()):
        np.testing.assert_array_equal(queries.history(row), split.train.history(user))
        assert held[user] == int(targets[row])


def test_a_reader_is_given_the_tables_of_its_run(read: Session) -> None:
    inputs, train = ranker_inputs(read), read.data.split.train
    unseen = train.item_counts == 0
    assert unseen.any()
    np.testing.assert_array_equal(inputs.cold_items, unseen)
    aligned = read.aligned
    assert aligned.items_from_text is not None
    assert inputs.items_from_text is not None
    assert torch.equal(inputs.items[~unseen], aligned.items[~unseen])
    assert torch.equal(
        inputs.items[unseen], aligned.items_from_text[unseen]
    )  # what its texts say, not untrained vectors
    assert not torch.equal(aligned.items[unseen], aligned.items_from_text[unseen])
    assert torch.equal(inputs.items_from_text, aligned.items_from_text)
    assert inputs.titles == read.data.catalogue.titles
    assert inputs.texts is not None
    assert inputs.texts.shape == (train.num_items, 8)
    queries = read.data.split.queries("valid").slice(0, 5)
    assert inputs.user_embeddings is not None
    assert inputs.base_score is not None
    assert inputs.base_items is not None
    users, (items, bias) = inputs.user_embeddings(queries), inputs.base_items
    assert inputs.user_dim == users.shape[1]
    assert bias is not None
    np.testing.assert_allclose(
        inputs.base_score(queries, None), (users @ items.T + bias).detach(), rtol=1e-4, atol=1e-5
    )
    assert inputs.categories == read.data.catalogue.items["categories"].to_list()


def test_without_an_alignment_a_reader_is_given_the_backbones_items(tmp_path: Path) -> None:
    session = ran(tmp_path, ranker=HEAD)
    inputs = ranker_inputs(session)
    assert torch.equal(inputs.items, session.backbone.item_embeddings())
    assert inputs.items_from_text is None


def test_items_without_events_have_the_mean_bias_of_those_with_some(ridged: Session) -> None:
    scorer = scorers.aligned_scorer(ridged)
    counts = ridged.data.split.train.item_counts
    bias = ridged.backbone.item_bias()
    assert bias is not None
    assert scorer.bias is not None
    assert torch.equal(scorer.bias[counts > 0], bias[counts > 0])
    assert bool((scorer.bias[counts == 0] == bias[counts > 0].mean()).all())
    assert not bool((bias[counts == 0] == bias[counts > 0].mean()).any())


def test_a_frozen_backbone_is_not_trained_along(read: Session) -> None:
    made = load_file(read.done["align"].path / "weights.safetensors")
    assert made
    assert not [name for name in made if name.startswith("backbone.") and "buffer" not in name and _trained(read, name)]
    learned = sum(p.numel() for p in read.aligner.parameters())
    assert read.done["align"].card["parameters"] == learned
    again = open_session(read.done["evaluate"].path, "cpu")
    for name, value in load_file(read.done["train"].path / "weights.safetensors").items():
        assert torch.equal(again.backbone.state_dict()[name], value)


def _trained(session: Session, name: str) -> bool:
    return name.removeprefix("backbone.") in dict(session.backbone.named_parameters())


def test_diversity_compares_with_every_chosen_item() -> None:
    """After an X and a Y the Z is preferred to a second Y, though both are unlike the first."""
    categories = [frozenset({"x"}), frozenset({"y"}), frozenset({"y"}), frozenset({"z"})]
    listed = Candidates(np.arange(4)[None], np.array([[4.0, 3.9, 3.8, 3.7]], np.float32), np.zeros((1, 4), np.float32))
    assert diversified(listed, categories, 3, 5.0).items.tolist() == [[0, 1, 3]]


def test_a_diverse_list_is_chosen_from_far_more_items_than_it_has(
    ridged: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    original = RetrieveThenRerank.candidates

    def counted(self: RetrieveThenRerank, queries: Any, n: Any = None, *rest: Any, **options: Any) -> Any:
        widths.append(n)
        return original(self, queries, n, *rest, **options)

    monkeypatch.setattr(RetrieveThenRerank, "candidates", counted)
    recommender, retrieve = Recommender(ridged), ridged.recipe.evaluate.retrieve
    known = [ridged.data.split.train.item_ids[0]]
    recommender.recommend(history=known, k=3, diversity=1.0)
    recommender.recommend(history=known, k=retrieve, diversity=1.0)
    assert widths == [max(15, retrieve), 5 * retrieve]


def test_without_a_reader_candidates_get_the_retrievers_scores() -> None:
    table = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    scorer = TableScorer(torch.as_tensor(table.T), lambda queries: torch.eye(2)[: len(queries)])
    cascade = RetrieveThenRerank(scorer, None, 3)
    candidates = np.array([[5, 0], [2, 2]])
    found = cascade.score(Queries.of([[], [1]]), candidates)
    np.testing.assert_array_equal(found, np.take_along_axis(table, candidates, 1))


def test_the_demo_shows_simple_methods_first_then_the_backbone_ours_and_its_control() -> None:
    from interlingua.report.demo import BACKBONE, CONTROL, DEMO, METHOD

    labels = [method.label for method in DEMO]
    assert labels[-3:] == [BACKBONE, METHOD, CONTROL]
    assert {"popularity", "EASE"} <= set(labels[:-3])


def test_lines_of_the_demos_table_follow_its_methods(tmp_path: Path) -> None:
    from interlingua.report.side_by_side import Method, run_methods

    recipe = tmp_path / "{}.toml"
    for name in ("pop", "itemknn"):
        text = f'# {name}\n[data]\nname = "planted"\noptions = {{ num_users = 60, num_items = 40 }}\n'
        Path(str(recipe).format(name)).write_text(text + f'[backbone]\nname = "{name}"\n', encoding="utf-8")
    methods = [Method(name, str(recipe).format(name)) for name in ("itemknn", "pop")]
    assert [r.method.label for r in run_methods(methods, out=tmp_path / "runs", seed=3)] == ["itemknn", "pop"]


def test_sums_over_neighbours_are_not_taken_for_a_dot_product(tmp_path: Path) -> None:
    """``textknn`` has vectors, but its variant ``item`` does not score by them."""
    for variant, dot in (("user", True), ("item", False)):
        session = ran(tmp_path, backbone={"name": "textknn", "variant": variant}, evaluate={"protocols": ["full"]})
        assert (ranker_inputs(session).base_items is not None) == dot
        if dot:
            assert towers(session).items.shape[0] == session.data.split.train.num_items
        else:
            with pytest.raises(ConfigError, match="scores by another function than one dot product"):
                towers(session)


def test_each_protocol_of_a_recipe_is_measured_by_itself(tmp_path: Path) -> None:
    session = ran(tmp_path, evaluate={"protocols": ["full", "sampled-20"], "max_users": 30})
    full, sampled = (session.reports[name] for name in ("full", "sampled-20"))
    assert full.protocol != sampled.protocol
    assert "sampled" in sampled.protocol
    assert sampled.metrics["hit@10"] > full.metrics["hit@10"]  # 21 candidates instead of the whole catalogue
