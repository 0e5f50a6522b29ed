"""The whole line on a planted world with tiny real models: data, encoder, backbone, alignment, ranker, answers, CLI."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from interlingua.errors import ConfigError, DataError
from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import scorers, stages
from interlingua.testing.tiny_models import build, tokenizer_of
from interlingua.testing.tiny_sentence_encoder import tiny_encoder

RECIPE = """
# A-LLMRec, as small as it gets
[data]
name = "planted"
options = {{ num_users = 60, num_items = 40 }}
[backbone]
name = "sasrec"
embedding_dim = 8
max_history = 10
fit = {{ epochs = 2 }}
[text]
name = "sbert"
model = "{encoder}"
trainable = true
[align]
name = "autoencoder"
latent_dim = 8
frozen = ["backbone"]
fit = {{ epochs = 2 }}
[ranker]
name = "soft-prompt"
model = "{lm}"
num_candidates = 5
max_title_tokens = 6
history_length = 3
fit = {{ epochs = 2, steps_per_epoch = 2, batch_size = 4 }}
[evaluate]
retrieve = 6
max_users = 20
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    build("smollm2").save_pretrained(folder / "lm")
    tokenizer_of(False).save_pretrained(folder / "lm")
    return {"lm": folder / "lm", "encoder": tiny_encoder(folder / "encoder")}


@pytest.fixture(scope="module")
def recipe(models, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE.format(**models), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    return stages.run(str(recipe), out=tmp_path_factory.mktemp("runs"), seed=3)


def test_every_stage_leaves_a_folder_with_card_config_and_no_pickle(run):
    assert set(run.done) == {"prepare", "train", "align", "rank", "evaluate"}
    for done in run.done.values():
        names = {p.name for p in done.path.rglob("*")}
        assert {"card.json", "config.toml"} <= names
        assert not {p for p in names if p.endswith((".pt", ".pkl", ".bin", ".joblib"))}
    read = run.done["rank"]
    assert read.card["samples"] == 2 * 2 * 4
    assert (read.path / "weights.safetensors").stat().st_size < 2_000_000  # the language model is named, not copied


def test_a_reopened_run_scores_like_the_one_in_memory(run):
    opened = Recommender.load(run.done["evaluate"].path)
    query = run.data.split.queries("test").slice(0, 3)
    items = np.tile(np.arange(5), (3, 1))
    np.testing.assert_array_equal(opened.session.ranker.score(query, items), run.ranker.score(query, items))


def test_recommend_for_known_users_histories_and_newcomers(run):
    recommender = Recommender(run)
    ids = [str(i) for i in run.data.split.train.item_ids]
    user = str(run.data.split.train.user_ids[0])
    seen = {str(i) for i in run.data.interactions.item_ids[run.data.interactions.history(0)]}
    for answers in (
        recommender.recommend(user=user, k=4),
        recommender.recommend(history=ids[:3], k=4),
        recommender.recommend(history=[], k=4),
    ):
        assert len({a.item_id for a in answers}) == 4
        assert all(a.stage in ("soft-prompt", "popularity") and a.title for a in answers)
        assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)
    assert not seen & {a.item_id for a in recommender.recommend(user=user, k=6)}
    plain = recommender.recommend(history=ids[:3], k=4, rerank=False)
    assert {a.stage for a in plain} == {"sasrec"}
    best = plain[0].item_id
    assert best not in {a.item_id for a in recommender.recommend(history=ids[:3], k=4, rerank=False, exclude=[best])}
    mixed = recommender.recommend(history=ids[:3], k=4, rerank=False, diversity=50.0)
    assert mixed[0] == plain[0]

    def kinds(answers):
        return len({recommender.session.data.catalogue.categories[recommender.item_row(a.item_id)] for a in answers})

    assert kinds(mixed) == 4 or kinds(mixed) > kinds(plain)


def test_wrong_questions_are_answered_with_what_to_do(run):
    recommender = Recommender(run)
    with pytest.raises(DataError, match="give a history of item ids instead"):
        recommender.recommend(user="nobody")
    (left_out, _) = recommender.answer(history=[str(run.data.split.train.item_ids[0]) + "x"]).notes
    assert "did you mean" in left_out
    with pytest.raises(ConfigError, match="either a user or a history"):
        recommender.recommend()
    with pytest.raises(ConfigError, match="k must be at least 1"):
        recommender.recommend(history=[], k=0)
    with pytest.raises(ConfigError, match="diversity"):
        recommender.recommend(history=[], diversity=-1.0)


def test_a_reader_that_orders_a_list_has_no_vectors_to_write(run):
    from interlingua.runs.export import towers

    with pytest.raises(ConfigError, match="'soft-prompt' orders what another stage retrieved"):
        towers(run)


def test_explanations_name_only_evidence(run):
    recommender = Recommender(run)
    query = run.data.split.queries("test").slice(0, 1)
    answer = recommender.explain_query(query, 7)
    assert answer.sentence
    history = set(query.history(0).tolist())
    assert all(row in history and influence > 0 for row, influence in answer.support)
    allowed = {run.data.catalogue.titles[row] for row in history | {7}}
    ids = run.data.split.train.item_ids
    asked = recommender.explain(str(ids[7]), history=[str(ids[row]) for row in query.history(0)])
    assert asked.sentence == answer.sentence
    assert [(each.item_id, each.title, each.influence) for each in asked.support] == [
        (str(ids[row]), run.data.catalogue.titles[row], influence) for row, influence in answer.support
    ]
    others = [t for t in run.data.catalogue.titles if t not in allowed]
    assert not [t for t in others if t in answer.sentence]


def test_aligned_retrieval_moves_only_items_without_training_events(recipe, run):
    changed = stages.run(recipes.load(str(recipe), ["evaluate.candidate_source=aligned"]), out=run.root, seed=3)
    assert changed.reused == {"prepare", "train", "align", "rank"}
    cold = run.data.split.train.item_counts == 0
    assert cold.any()
    query = run.data.split.queries("test").slice(0, 2)
    by_backbone, by_alignment = run.backbone.score(query), scorers.aligned_scorer(changed).score(query)
    np.testing.assert_allclose(by_alignment[:, ~cold], by_backbone[:, ~cold], rtol=1e-5, atol=1e-5)
    assert not np.allclose(by_alignment[:, cold], by_backbone[:, cold])


@pytest.mark.parametrize("override", ["ranker.scoring=generate", "ranker.slots.user=none", "ranker.slots.item=random"])
def test_ablations_share_the_trained_backbone_and_alignment(recipe, run, override):
    session = stages.run(recipes.load(str(recipe), [override]), out=run.root, seed=3)
    assert {"prepare", "train", "align"} <= session.reused
    assert session.done["rank"].key != run.done["rank"].key


def test_json_on_stdout_is_one_object_and_progress_stays_on_stderr(recipe, run, cli):
    code, out, err = cli("run", str(recipe), "--out", str(run.root), "--seed", "3", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["run"] == str(run.done["evaluate"].path)
    assert answer["metrics"]["full"].keys() >= {"recall@10", "ndcg@10"}
    assert set(answer["seconds"]) == set(answer["stages"]) == set(run.done)
    assert "reusing" in err


def test_dry_run_shows_the_plan_and_runs_nothing(recipe, tmp_path, cli):
    code, out, _ = cli("run", str(recipe), "--out", str(tmp_path / "none"), "--dry-run", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["stage"] for row in rows] == ["prepare", "train", "align", "rank", "evaluate"]
    assert not any(row["cached"] for row in rows)
    assert not (tmp_path / "none").exists()


def test_recommend_explain_and_runs_on_the_command_line(run, cli):
    path = str(run.done["evaluate"].path)
    code, out, _ = cli("recommend", path, "--history", "", "--no-rerank", "-k", "3", "--json")
    answers = json.loads(out)
    assert code == 0
    assert len(answers) == 3
    history = ",".join(str(i) for i in run.data.split.train.item_ids[:4])
    code, out, _ = cli("explain", path, answers[0]["item_id"], "--history", history, "--json")
    assert code == 0
    assert json.loads(out)["sentence"]
    code, out, _ = cli("runs", "--out", str(run.root), "--stages", "--json")
    assert path in {row["path"] for row in json.loads(out)}


def test_bad_input_exits_2_with_a_message_and_debug_shows_where(run, cli):
    path = str(run.done["evaluate"].path)
    code, _, err = cli("recommend", path, "--user", "nobody")
    assert code == 2
    assert err.startswith("error: unknown user 'nobody'")
    assert "Traceback" not in err
    assert cli("recommend", "nowhere", "--history", "")[0] == 2
    assert cli("run", "no-such-recipe")[0] == 2
    assert cli("run", "--no-such-option")[0] == 2
    with pytest.raises(DataError, match="unknown user"):
        cli("--debug", "recommend", path, "--user", "nobody")
