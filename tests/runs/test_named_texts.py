"""Text encoders that learn by themselves, and further texts by name: ``[texts.NAME]``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import interlingua
from interlingua import registry
from interlingua.config import Config, FitConfig
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError, DataError
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.named_texts import errors_name
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.frozen import FrozenRows
from interlingua.vectors.tables import load_tables

WORLD = {"name": "planted", "options": {"num_users": 40, "num_items": 30}}
EVALUATE = {"protocols": ["full"], "max_users": 10}


class SqueezedConfig(TextConfig):
    """Options of :class:`Squeezed`."""

    fit: FitConfig = FitConfig(epochs=3, batch_size=8, learning_rate=0.05)


class Squeezed(FrozenRows):
    """Letters of a text through a linear layer that learns to bring neighbours in histories together."""

    kind = "text"
    Config = SqueezedConfig

    def __init__(self, config: SqueezedConfig, texts: Any, **_: Any) -> None:
        counts = np.array([[t.count(c) for c in "abcdefghij"] for t in texts], np.float32)
        super().__init__(counts)
        self.config = config
        self.layer = nn.Linear(10, 4, bias=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        left, right = self.layer(self.items[batch.users]), self.layer(self.items[batch.positives])
        return {"apart": (left - right).square().mean() + (left.std() - 1).square()}

    def fit(self, job: Fitting) -> FitLog:
        """On pairs of neighbours of the training part."""
        train = job.train
        same = train.users[1:] == train.users[:-1]
        pairs = np.stack([train.items[:-1][same], train.items[1:][same]], 1)

        def batches(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            order = generator.permutation(len(pairs))
            for at in range(0, len(order), self.config.fit.batch_size):
                rows = torch.as_tensor(pairs[order[at : at + self.config.fit.batch_size]].astype(np.int64))
                yield Batch(rows[:, 0], rows[:, 1])

        return job.by_gradient(batches, self.config.fit)

    def rows(self, side: Any, ids: Tensor | None = None) -> Tensor:
        return self.layer(super().rows(side, ids))


class Reads(Backbone):
    """Scores by the length of one named text's vectors."""

    Config = Config
    sampling = "none"

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        return frozenset({"texts"})

    def __init__(self, config: Any, train: Any) -> None:
        super().__init__(config, train)
        self.register_buffer("seen", torch.zeros(train.num_items))

    def fit(self, job: Fitting) -> FitLog:
        self.seen.copy_(job.texts["short"].rows("items").norm(dim=1) + 10 * len(job.texts))
        return FitLog.untrained()

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        table = np.tile(self.seen.numpy(), (len(queries), 1))
        return table if items is None else np.take_along_axis(table, items, axis=1)


def run(out: Path, **sections: Any) -> Session:
    values = {"data": WORLD, "backbone": {"name": "pop"}, "evaluate": EVALUATE} | sections
    return stages.run(recipes.resolve(values, "named"), out=out, seed=3, device="cpu")


OWN = f"{__name__}:Squeezed"


def test_an_encoder_that_learns_is_fitted_before_it_encodes(tmp_path: Path) -> None:
    sections = {"backbone": {"name": "textknn"}, "text": {"name": OWN, "fields": ["title"]}}
    made = run(tmp_path / "one", **sections)
    stage = made.done["embed"]
    losses = [json.loads(line) for line in (stage.path / "log.jsonl").read_text().splitlines()]
    first, last = losses[0]["losses"]["apart"], losses[2]["losses"]["apart"]
    assert last < first
    assert stage.card["epochs"] == 3
    assert (stage.path / "weights.safetensors").is_file()
    assert made.data is not None
    again = run(tmp_path / "two", **sections)
    assert torch.equal(load_tables(stage.path).items, load_tables(again.done["embed"].path).items)
    assert load_tables(stage.path).items.shape[1] == 4
    frozen = run(tmp_path / "three", **sections | {"text": {"name": "lsa", "dim": 4}}).done["embed"]
    assert not (frozen.path / "weights.safetensors").exists()  # it has none: its vectors are all that is read of it


def test_named_texts_are_stages_of_their_own_and_reach_who_asks(tmp_path: Path) -> None:
    texts = {"short": {"name": "lsa", "dim": 6, "fields": ["title"]}, "long_one": {"name": OWN}}
    made = run(tmp_path, backbone={"name": f"{__name__}:Reads"}, texts=texts)
    assert list(made.done) == ["prepare", "short.embed", "long_one.embed", "train", "evaluate"]
    short = load_tables(made.done["short.embed"].path).items
    torch.testing.assert_close(made.backbone.seen, short.norm(dim=1) + 20)
    assert "short.embed" in made.done["train"].parents
    opened = open_session(made.path, "cpu", trust=True)
    assert set(opened.texts) == {"short", "long_one"}
    other = texts | {"short": {"name": "lsa", "dim": 5, "fields": ["title"]}}
    changed = run(tmp_path, backbone={"name": f"{__name__}:Reads"}, texts=other)
    assert changed.done["train"].key != made.done["train"].key
    assert changed.done["long_one.embed"].key == made.done["long_one.embed"].key


def test_a_changed_encoder_behind_a_name_is_said_and_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with [text]: its vectors lie in its stage, and the encoder is not read again."""
    sections = {"texts": {"short": {"name": "lsa", "dim": 6}}, "backbone": {"name": f"{__name__}:Reads"}}
    made = run(tmp_path, **sections)
    monkeypatch.setattr(registry.find("text", "lsa"), "version", 99)
    opened = open_session(made.path, "cpu", trust=True)
    assert torch.equal(opened.texts["short"].rows("items"), made.texts["short"].rows("items"))
    again = run(tmp_path, **sections)
    assert again.done["short.embed"].key != made.done["short.embed"].key


def test_a_fit_sees_no_text_that_its_key_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    original = Squeezed.fit
    monkeypatch.setattr(Squeezed, "fit", lambda self, job: seen.append(set(job.texts)) or original(self, job))
    texts = {"short": {"name": "lsa", "dim": 6}, "second": {"name": OWN}}
    run(tmp_path, backbone={"name": f"{__name__}:Reads"}, texts=texts)
    assert seen == [set()]


def test_a_dry_run_of_who_reads_named_texts(tmp_path: Path) -> None:
    from interlingua.runs.planner import describe

    values = {
        "data": WORLD, "backbone": {"name": f"{__name__}:Reads"}, "texts": {"short": {"name": "lsa"}},
        "evaluate": EVALUATE,
    }  # fmt: skip
    rows = describe(Session(recipes.resolve(values), tmp_path, 3, "cpu"))
    assert [row["stage"] for row in rows] == ["prepare", "short.embed", "train", "evaluate"]


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"texts": {"Short": {"name": "lsa"}}}, "small letters"),
        ({"texts": {"short": "lsa"}}, "texts.short.name=lsa"),
        ({"texts": {"short": {"name": "lsaa"}}}, "lsa"),
        ({"texts": {"short": {"name": "lsa", "dims": 3}}}, "dims"),
        ({"backbone": {"name": f"{__name__}:Reads"}}, "further texts by name"),
        ({"texts": {"short": {"name": "sbert", "trainable": True}}}, "trained along"),
        ({"texts": {"short": {"name": "lsa"}}}, r"nothing here reads \[texts.NAME\] \('pop' read"),
        (
            {"texts": {"short": {"name": "lsa"}}, "backbone": {"name": "textknn"}, "text": {"name": "lsa"}},
            r"nothing here reads \[texts.NAME\]",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recipes.resolve({"data": WORLD, "backbone": {"name": "pop"}} | sections)


def test_an_error_names_the_section_that_holds_the_wrong_option(tmp_path: Path) -> None:
    for wrong, words in (
        ({"name": "lsa", "fields": ["titel"]}, r"unknown catalogue column 'titel' in texts\.short\.fields"),
        ({"name": "lsa", "fields": []}, r"^texts\.short\.fields is empty"),
        ({"name": "lsa", "users": "texts", "user_fields": ["bio"]}, r"'bio' in texts\.short\.user_fields"),
        ({"name": "lsa", "dim": 4, "reduce": 400}, r"^texts\.short\.reduce = 400"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(tmp_path, backbone={"name": f"{__name__}:Reads"}, texts={"short": wrong})
    with pytest.raises(ConfigError, match=r"in text\.fields"):
        run(tmp_path, backbone={"name": "textknn"}, text={"name": "lsa", "fields": ["titel"]})


def test_a_weight_of_texts_that_are_not_there_is_refused_before_anything_runs() -> None:
    values = {
        "data": {"name": "planted"}, "text": {"name": "lsa"}, "texts": {"title": {"name": "lsa"}},
        "backbone": {"name": "l3ae", "weights": {"title": 1.0, "image": 0.5}},
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"'l3ae' reads the texts 'image', and there are text, title; add e\.g\."):
        recipes.resolve(values)
    for weights, words in (({"text": 0.0}, "leaves no source"), ({"title": -1.0}, "at least 0")):
        with pytest.raises(ConfigError, match=words):
            recipes.resolve(values | {"backbone": {"name": "l3ae", "weights": weights}})


def test_what_reads_texts_is_said_where_no_item_has_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [{"user_id": f"u{u}", "item_id": f"i{(u + n) % 9}"} for u in range(12) for n in range(5)]
    own = {"user_id": [e["user_id"] for e in events], "item_id": [e["item_id"] for e in events]}
    members = 'fuse.members=["pop", {name="words", backbone={name="textknn"}, text={name="lsa", dim=4}}]'
    sets = ['fuse.name="rrf"', members, "data.filter.min_user=0", "data.filter.min_item=0"]
    interlingua.run("all-round", data=own, overrides=sets, out=tmp_path, device="cpu")
    said = capsys.readouterr().err
    assert "warning: [text] of the member words (lsa) reads title, categories, description, and no item has any" in said
    assert said.index("no item has any") < said.index("embed lsa: running")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("text.path is empty; or text.name = 'lsa'", "texts.title.path is empty; or texts.title.name = 'lsa'"),
        ("/data/text.npy has 3 rows", "/data/text.npy has 3 rows"),
        (r"C:\data\text.path has 3 rows", r"C:\data\text.path has 3 rows"),
        ("my.text.path and context.path and text.npy", "my.text.path and context.path and text.npy"),
    ],
)  # fmt: skip
def test_an_errors_options_are_renamed_and_nothing_else(said: str, expected: str) -> None:
    with pytest.raises(DataError) as caught, errors_name("texts.title", registry.find("text", "npy").Config(path="x")):
        raise DataError(said)
    assert str(caught.value) == expected
