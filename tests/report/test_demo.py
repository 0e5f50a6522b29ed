"""The demo's own code on a planted world with tiny real models: table, users, report, JSON, saved runs beside."""

import html
import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from interlingua.report import demo as showcase
from interlingua.report.side_by_side import Method
from interlingua.runs import stages
from interlingua.testing.tiny_models import build, tokenizer_of
from interlingua.testing.tiny_sentence_encoder import tiny_encoder

DATA = """[data]
name = "planted"
options = { num_users = 60, num_items = 40 }
"""
SASREC = '[backbone]\nname = "sasrec"\nembedding_dim = 8\nmax_history = 10\nfit = { epochs = 3 }\n'
RANKER = """[text]
name = "sbert"
model = "%s"
[align]
name = "autoencoder"
latent_dim = 8
fit = { epochs = 2 }
[ranker]
name = "soft-prompt"
model = "%s"
template = "sequence"
slots = { user = "none" }
scoring = "head"
head_weight = 1.0
fuse_scores = true
history_length = 5
fit = { epochs = 2, steps_per_epoch = 2, batch_size = 4 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("demo")
    build("smollm2").save_pretrained(place / "lm")
    tokenizer_of(False).save_pretrained(place / "lm")
    encoder = tiny_encoder(place / "encoder")
    for name, text in {
        "pop": '[backbone]\nname = "pop"\n',
        "mf": '[backbone]\nname = "mf"\nembedding_dim = 8\nfit = { epochs = 3 }\n',
        "sasrec": SASREC,
        "ranker": SASREC + RANKER % (encoder, place / "lm"),
    }.items():
        (place / f"{name}.toml").write_text(f"# {name}\n{DATA}{text}", encoding="utf-8")
    stages.run(str(place / "mf.toml"), out=place / "elsewhere", seed=7)
    return place


@pytest.fixture
def demo(folder, monkeypatch, capfd):
    """The command with a comparison of four small methods."""
    from interlingua.cli.main import main

    ranker, parts = str(folder / "ranker.toml"), showcase.RANKER
    methods = (
        Method("popularity", str(folder / "pop.toml")),
        Method(showcase.BACKBONE, str(folder / "sasrec.toml"), (), "the backbone alone", ("backbone",)),
        Method(showcase.METHOD, ranker, (), "read by a language model", parts),
        Method(showcase.CONTROL, ranker, (showcase.NO_LM,), "control", parts),
    )
    monkeypatch.setattr(showcase, "DEMO", methods)
    monkeypatch.chdir(folder)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["interlingua", "demo", "--data", "planted", "--out", "runs", *arguments])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capfd.readouterr())

    return call


def saved(folder: Path) -> str:
    return str(next((folder / "elsewhere").glob("evaluate-*")))


def test_the_demo_prints_a_table_users_and_reasons_and_writes_a_page(demo, folder):
    code, out, err = demo("--users", "2", "--beside", saved(folder))
    assert code == 0, err
    for label in ("popularity", showcase.BACKBONE, showcase.METHOD, showcase.CONTROL, "mf (saved)"):
        assert label in out
    assert len(re.findall(r"^user u", out, re.M)) == 2
    assert len(re.findall(r"^  why .*\?$", out, re.M)) == 2
    page = (folder / "runs" / "demo.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=[\"']https?:", page)  # opens without a network
    shown = html.unescape(page)
    assert f"interlingua demo --data planted --out runs --users 2 --beside {saved(folder)}" in shown
    assert "mf (saved): mf from" in shown  # its learning curve under its own name
    assert shown.count("SASRec from") == shown.count("alignment from") > 0  # once where the chart is described
    assert "trained before, seed 7" in shown


def test_json_has_every_method_and_nothing_else_on_stdout(demo, folder):
    code, out, err = demo("--users", "1", "--json", "--beside", saved(folder), "--report", "page.html")
    assert code == 0, err
    found = json.loads(out)
    assert list(found["methods"]) == ["popularity", "SASRec", showcase.METHOD, showcase.CONTROL, "mf (saved)"]
    assert found["methods"]["mf (saved)"]["note"] == "trained before, seed 7"
    assert found["methods"]["SASRec"]["seed"] == 7
    (user,) = found["users"]
    assert set(user["answers"]) == {"SASRec", showcase.METHOD, "mf (saved)"}
    assert Path(found["report"]).is_file()


def test_a_saved_run_changes_no_verdict_of_the_others(demo, folder):
    def verdicts(*arguments: str) -> list[str]:
        place = folder / "verdicts.html"
        assert demo("--users", "0", "--report", str(place), *arguments)[0] == 0
        rows = re.findall(r"<tr>(.*?)</tr>", place.read_text(encoding="utf-8"), re.S)
        plain = [re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", row)) for row in rows]
        return [row for row in plain if "– SASRec" in row and "(saved)" not in row]

    alone = verdicts()
    assert len(alone) >= 3
    assert verdicts("--beside", saved(folder)) == alone


def test_a_dry_run_shows_all_stages_and_runs_none(demo, folder):
    code, out, _ = demo("--out", "nowhere", "--dry-run", "--json", "--set", "backbone.embedding_dim=4")
    assert code == 0
    plans = json.loads(out)
    assert [row["stage"] for row in plans[showcase.METHOD]] == [
        "prepare",
        "embed",
        "train",
        "align",
        "rank",
        "evaluate",
    ]
    keys = {label: {row["stage"]: row["key"] for row in rows} for label, rows in plans.items()}
    assert keys["SASRec"]["train"] == keys[showcase.METHOD]["train"] == keys[showcase.CONTROL]["train"]
    assert not (folder / "nowhere").exists()
    other = json.loads(demo("--out", "nowhere", "--dry-run", "--json")[1])
    assert other["SASRec"][1]["key"] != plans["SASRec"][1]["key"]
    same = ("stage", "name", "key", "cached")  # estimates are measured anew each time
    assert [[row[k] for k in same] for row in other["popularity"]] == [
        [row[k] for k in same] for row in plans["popularity"]
    ]


def test_a_report_that_cannot_be_written_is_said_first(demo, folder):
    code, _, err = demo("--out", "unused", "--report", str(folder))
    assert code != 0
    assert "is a folder; name a file" in err
    assert not (folder / "unused").exists()
    assert demo("--users", "-1")[0] != 0
