"""A saved model opens elsewhere, with the data and the runs folder gone, answers as before, and holds nobody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from safetensors.torch import load_file

import interlingua
from interlingua.data.sources.planted import generate
from interlingua.errors import ArtifactError, ConfigError, DataError
from interlingua.lm.template import FOLDER
from interlingua.recommender import Recommender
from interlingua.runs import pretrained, stages
from interlingua.runs import recipe as recipes
from interlingua.storage import artifact

WORLD = generate(num_users=50, num_items=40, seed=5)
USER, TIME = "customer-{}-zebra", 987_650_000
EVENTS = pl.DataFrame(
    {
        "user_id": [USER.format(u) for u in WORLD.interactions.users],
        "item_id": [f"i{i}" for i in WORLD.interactions.items],
        "timestamp": WORLD.interactions.times + TIME,
    }
)
ITEMS = WORLD.catalogue.items.with_columns(pl.Series("item_id", [f"i{i}" for i in range(40)]))
FIT = {"epochs": 1, "patience": None}
MF = {"name": "mf", "embedding_dim": 6, "fit": FIT}
LSA = {"name": "lsa", "dim": 8}
SASREC = {"name": "sasrec", "embedding_dim": 8, "max_history": 6, "num_blocks": 1, "fit": FIT}
STEPS = FIT | {"steps_per_epoch": 2, "batch_size": 8}
SOFT = {
    "name": "soft-prompt",
    "model": "LM",
    "history_length": 3,
    "num_candidates": 4,
    "max_title_tokens": 4,
    "fit": STEPS,
}
KV = {"name": "kv-prompt", "model": "LM", "history_length": 3, "fraction": 1.0, "fit": STEPS}
RIDGE = {"text": LSA, "align": {"name": "ridge", "frozen": ["backbone"]}}
METHODS: dict[str, dict[str, Any]] = {
    "pop": {"backbone": {"name": "pop"}},
    "itemknn": {"backbone": {"name": "itemknn"}},
    "ease": {"backbone": {"name": "ease"}},
    "mf": {"backbone": MF},
    "lightgcn": {"backbone": {"name": "lightgcn", "embedding_dim": 6, "fit": FIT}},
    "sasrec": {"backbone": SASREC},
    "textknn": {"backbone": {"name": "textknn"}, "text": LSA},
    "given": {"backbone": {"name": "pretrained", "items": "VECTORS", "users": "USERS"}},
    "aligned": {"backbone": MF, **RIDGE, "evaluate": {"candidate_source": "aligned", "protocols": ["full"]}},
    "joint": {"backbone": MF, "text": LSA | {"users": "items"}, "align": {"name": "contrastive", "frozen": []}},
    "texts": {"backbone": SASREC, "texts": {"more": LSA}},
    "soft": {"backbone": MF, **RIDGE, "ranker": SOFT | {"template": "TEMPLATE"}},
    "lora": {"backbone": SASREC, **RIDGE, "ranker": SOFT | {"tune": "lora"}},
    "kv": {"backbone": MF, "ranker": KV},
    "fused": {"fuse": {"name": "sum", "members": [{"backbone": {"name": "itemknn"}}, {"backbone": MF}]}},
}
HISTORY = ["i3", "i8", "i21"]


@dataclass
class Saved:
    """A model away from home, and what the run answered at home."""

    folder: Path
    options: dict[str, Any]
    answers: Any


def answers(recommender: Recommender) -> Any:
    return (
        recommender.recommend(history=HISTORY, k=8),
        recommender.recommend(histories={"a": HISTORY, "b": ["i1"]}, k=5).to_dicts(),
        recommender.recommend(history=[], k=3),
        recommender.similar_items("i3", k=12),
        recommender.session.metrics,
        recommender.session.intervals,
    )


def values_of(name: str, given: dict[str, str]) -> dict[str, Any]:
    values = {"evaluate": {"protocols": ["full"], "retrieve": 8}, "data": {"name": given["DATA"]}} | METHODS[name]
    text = json.dumps(values)
    for word, place in given.items():
        text = text.replace(f'"{word}"', json.dumps(place))
    return json.loads(text)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The raw data and everything else that lies on the customer's machine."""
    from interlingua.data.memory import as_source
    from interlingua.testing.tiny_models import build, tokenizer_of

    home = tmp_path_factory.mktemp("secret-home")
    build("smollm2").save_pretrained(home / "small-lm")
    tokenizer_of(False).save_pretrained(home / "small-lm")
    rows = np.random.default_rng(0)
    for side, ids in (("items", ITEMS["item_id"]), ("users", EVENTS["user_id"].unique(maintain_order=True))):
        vectors = rows.normal(size=(len(ids), 5)).astype(np.float32)
        pl.DataFrame({"id": ids, "vector": vectors.tolist()}).write_parquet(home / f"{side}.parquet")
    shutil.copyfile(FOLDER / "next-item.txt", home / "mine.txt")
    with (home / "mine.txt").open("a", encoding="utf-8") as stream:
        stream.write("Choose well. ")
    data = as_source({"interactions": EVENTS, "items": ITEMS}, home / "frames")
    places = {"LM": "small-lm", "TEMPLATE": "mine.txt", "VECTORS": "items.parquet", "USERS": "users.parquet"}
    return {"DATA": str(data), **{word: str(home / name) for word, name in places.items()}}


@pytest.fixture(scope="module", autouse=True)
def tiny_reasons(given: dict[str, str]) -> Iterator[None]:
    """Reasons of runs without a language model are said by the tiny one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interlingua.recommender.DEFAULT_MODEL", given["LM"])
        yield


@pytest.fixture(scope="module")
def saved(given: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """Runs a method, saves it, moves the folder away and deletes the runs."""
    known: dict[str, Saved] = {}

    def make(name: str) -> Saved:
        if name not in known:
            root = tmp_path_factory.mktemp("runs")
            recipe = recipes.resolve(values_of(name, given), name)
            recommender = interlingua.load(stages.run(recipe, out=root / "runs", seed=3, device="cpu"))
            before = answers(recommender)
            recommender.save_pretrained(root / "model")
            away = tmp_path_factory.mktemp("away") / "model"
            shutil.move(root / "model", away)
            shutil.rmtree(root)
            lm = tmp_path_factory.mktemp("other") / "small-lm"
            shutil.copytree(given["LM"], lm)
            known[name] = Saved(away, {"models": {"./small-lm": str(lm)}, "device": "cpu"}, before)
        return known[name]

    return make


@pytest.mark.parametrize("name", METHODS)
def test_it_answers_as_at_home(name: str, saved: Callable[[str], Saved]) -> None:
    made = saved(name)
    opened = interlingua.from_pretrained(made.folder, **made.options)
    assert answers(opened) == made.answers
    assert made.answers[3], "nothing is similar: the comparison would say nothing"
    assert opened.source == str(made.folder)
    with pytest.raises(DataError, match="saved without its users"):
        opened.recommend(user=USER.format(3))
    with pytest.raises(DataError, match="saved without its users"):
        opened.similar_users("nobody")


def contents(folder: Path) -> str:
    """All that can be read in a folder: bytes, and the cells of its tables."""
    text = []
    for path in folder.rglob("*"):
        if path.is_file():
            text.append(str(path) + path.read_bytes().decode("latin-1"))
        if path.suffix == ".parquet":
            text.append(pl.read_parquet(path).write_json())
    return "\n".join(text)


@pytest.mark.parametrize("name", METHODS)
def test_nobody_is_in_it(name: str, saved: Callable[[str], Saved]) -> None:
    folder = saved(name).folder
    text = contents(folder)
    assert "zebra" not in text  # part of every user id
    assert "secret-home" not in text  # part of every place at home
    assert (
        str(TIME)[:4] not in pl.read_parquet(next(folder.glob("prepare-*/dataset/interactions.parquet"))).write_json()
    )
    assert not [*folder.rglob("*.npz"), *folder.rglob("*.jsonl"), *folder.rglob("config.toml")]
    events = pl.read_parquet(next(folder.glob("prepare-*/dataset/interactions.parquet")))
    assert events["user_id"].unique().to_list() == ["nobody"]
    assert events["timestamp"].unique().to_list() == [0]
    for path in folder.rglob("*.safetensors"):
        sizes = {key: tuple(value.shape) for key, value in load_file(path).items()}
        assert not [key for key, shape in sizes.items() if 50 in shape], (path, sizes)  # there are 50 users


def test_with_events_users_come_along(given: dict[str, str], tmp_path: Path) -> None:
    session = stages.run(recipes.resolve(values_of("mf", given), "mf"), out=tmp_path / "runs", seed=3, device="cpu")
    home = interlingua.load(session)
    folder = home.save_pretrained(tmp_path / "model", events=True)
    away = interlingua.from_pretrained(folder)
    who = USER.format(7)
    assert away.recommend(user=who) == home.recommend(user=who)
    assert away.similar_users(who) == home.similar_users(who)
    assert "secret-home" not in contents(folder)
    assert "are inside this folder" in (folder / "README.md").read_text()
    again = away.save_pretrained(tmp_path / "again")
    assert "zebra" not in contents(again)
    with pytest.raises(ConfigError, match="leave out events=True"):
        interlingua.from_pretrained(again).save_pretrained(tmp_path / "more", events=True)


def test_a_model_that_reads_events_is_refused_before_anything_is_written(given: dict[str, str], tmp_path: Path) -> None:
    values = values_of("mf", given) | {"backbone": {"name": "ncf", "embedding_dim": 8, "fit": FIT}}
    home = interlingua.load(stages.run(recipes.resolve(values, "ncf"), out=tmp_path / "runs", seed=3, device="cpu"))
    (tmp_path / "closed").mkdir()
    with pytest.raises(ConfigError, match=r"'ncf' reads the training events whenever it scores .*events=True"):
        home.save_pretrained(tmp_path / "closed" / "model")
    assert not [*(tmp_path / "closed").iterdir()]
    opened = interlingua.from_pretrained(home.save_pretrained(tmp_path / "model", events=True))
    assert opened.recommend(history=HISTORY) == home.recommend(history=HISTORY)


def test_saved_again_it_is_the_same(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    for name in ("itemknn", "lightgcn", "kv"):
        made = saved(name)
        opened = interlingua.from_pretrained(made.folder, **made.options)
        again = interlingua.from_pretrained(opened.save_pretrained(tmp_path / name), **made.options)
        assert answers(again) == made.answers


@pytest.mark.parametrize(
    "victim", ["train-*/weights.safetensors", "prepare-*/dataset/items.parquet", "train-*/card.json"]
)
def test_a_tampered_folder_is_refused(saved: Callable[[str], Saved], tmp_path: Path, victim: str) -> None:
    shutil.copytree(saved("mf").folder, tmp_path / "model")
    path = next((tmp_path / "model").glob(victim))
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(bytes(found))
    with pytest.raises(ArtifactError, match=r"changed after it was written|damaged"):
        interlingua.from_pretrained(tmp_path / "model")


def test_a_strangers_model_imports_nothing(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    shutil.copytree(saved("mf").folder, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    card_path = tmp_path / "model" / config["run"] / artifact.CARD
    card = json.loads(card_path.read_text())
    card["recipe"]["backbone"]["name"] = "evil_module:Evil"
    card[artifact.CARD_HASH] = artifact._card_hash(card)
    card_path.write_text(json.dumps(card))
    with pytest.raises(ConfigError, match=r"is not trusted: it imports 'evil_module:Evil'"):
        interlingua.from_pretrained(tmp_path / "model")
    for run in ("../elsewhere", "train-mf", 3, "/etc"):
        (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"run": run}))
        with pytest.raises(ArtifactError, match="no stage beside it"):
            interlingua.from_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(ArtifactError, match="has format 99"):
        interlingua.from_pretrained(tmp_path / "model")


def test_what_lies_there_is_not_overwritten(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    opened = interlingua.from_pretrained(saved("pop").folder)
    folder = opened.save_pretrained(tmp_path / "model")
    first = (folder / "config.json").read_bytes()
    with pytest.raises(ConfigError, match=r"holds a saved model.*overwrite=True"):
        interlingua.from_pretrained(saved("mf").folder).save_pretrained(folder)
    assert (folder / "config.json").read_bytes() == first
    interlingua.from_pretrained(saved("mf").folder).save_pretrained(folder, overwrite=True)
    assert interlingua.from_pretrained(folder).recommend(history=HISTORY, k=8) == saved("mf").answers[0]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds something else than a saved model \(notes.txt\)"):
        opened.save_pretrained(folder, overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"library_name": "transformers"}')
    with pytest.raises(ConfigError, match="holds something else than a saved model"):
        opened.save_pretrained(tmp_path / "other", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "other"]


def test_an_interrupted_save_leaves_nothing(
    saved: Callable[[str], Saved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = interlingua.from_pretrained(saved("mf").folder)
    folder = opened.save_pretrained(tmp_path / "model")
    before = contents(folder)

    def stop(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, "front_page", stop)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            opened.save_pretrained(target, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert contents(folder) == before


def test_a_lacking_language_model_is_named(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    made = saved("kv")
    with pytest.raises(
        ArtifactError, match=r"ranker.model = './small-lm' is not here any more \(needed: sha256 .*models="
    ):
        interlingua.from_pretrained(made.folder, device="cpu")
    other = tmp_path / "other"
    shutil.copytree(made.options["models"]["./small-lm"], other)
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    with pytest.raises(ArtifactError, match="holds something else now"):
        interlingua.from_pretrained(made.folder, models={"./small-lm": str(other)})
    page = (made.folder / "README.md").read_text()
    assert "| `ranker.model` | `./small-lm` | sha256 " in page
    assert "pip install 'interlingua[llm]'" in page


def test_adapters_travel_in_pefts_layout(saved: Callable[[str], Saved]) -> None:
    (folder,) = saved("lora").folder.glob("rank-*/adapters")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "small-lm"
    assert load_file(folder / "adapter_model.safetensors")


def test_the_page_says_what_it_is(saved: Callable[[str], Saved]) -> None:
    page = (saved("aligned").folder / "README.md").read_text(encoding="utf-8")
    _, front, body = page.split("---\n", 2)
    read = yaml.safe_load(front)
    assert read["library_name"] == "interlingua"
    assert {"mf", "lsa", "ridge"} <= set(read["tags"])
    (result,) = read["model-index"][0]["results"]
    stored = {each["name"]: each["value"] for each in result["metrics"]}
    metrics = saved("aligned").answers[4]["full"]
    assert stored == {f"{name} (full)": round(value, 4) for name, value in metrics.items()}
    assert "50 users, 40 items" in body
    assert "No event, no id of a user" in body
    low, high = saved("aligned").answers[5]["full"]["ndcg@10"]
    assert f"| ndcg@10 | {metrics['ndcg@10']:.4f} | {low:.4f} to {high:.4f} |" in body
    assert "protocol `full; split=" in body


def test_the_page_is_one_that_the_hub_reads(saved: Callable[[str], Saved]) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(saved("mf").folder / "README.md")
    assert card.data.library_name == "interlingua"
    assert any(result.metric_type == "ndcg@10" for result in card.data.eval_results)


def test_commands_take_the_folder(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from interlingua.cli.main import app

    folder = saved("itemknn").folder
    found = CliRunner().invoke(app, ["recommend", str(folder), "--history", ",".join(HISTORY), "--json"])
    assert found.exit_code == 0, found.output
    assert saved("itemknn").answers[0][0].item_id in found.output
    made = CliRunner().invoke(app, ["save", str(folder), str(tmp_path / "copy")])
    assert made.exit_code == 0, made.output
    assert interlingua.from_pretrained(tmp_path / "copy").recommend(history=HISTORY, k=8) == saved("itemknn").answers[0]
