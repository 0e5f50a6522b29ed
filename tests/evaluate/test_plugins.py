"""A protocol, a metric and a dataset of a stranger's package: named, listed and used like those that ship."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from interlingua import registry
from interlingua.cli.main import app
from interlingua.data import datasets
from interlingua.errors import ConfigError
from interlingua.evaluate import named
from interlingua.evaluate.rules import parse_protocol
from interlingua.runs import stages

PACKAGE = Path(__file__).parents[2] / "examples" / "plugins"


def forget() -> None:
    datasets.named.cache_clear()
    named.parse.cache_clear()


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installed package, as far as Python can tell."""
    site = tmp_path / "site"
    about = site / "stranger-1.0.dist-info"
    about.mkdir(parents=True)
    groups = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    kinds = ("interlingua.metric", "interlingua.protocol", "interlingua.dataset")
    points = [f"[{kind}]\n" + "\n".join(f"{n} = {value}" for n, value in groups[kind].items()) for kind in kinds]
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("\n".join(points), encoding="utf-8")
    monkeypatch.syspath_prepend(str(PACKAGE / "src"))
    monkeypatch.syspath_prepend(str(site))
    forget()
    yield site
    forget()


def test_a_strangers_protocol_metric_and_dataset_run(stranger: Path, tmp_path: Path) -> None:
    sets = ['evaluate.protocols=["strict","full"]', 'evaluate.metrics=["f1@2"]']
    sets += ["data.options={num_users = 40, num_items = 30}"]
    session = stages.run("pop", data="songs", overrides=sets, out=tmp_path / "runs")
    assert session.data.card["name"] == "songs"
    assert session.data.catalogue.domain.noun == "song"
    assert set(session.metrics["strict"]) == {"hit@1", "ndcg@3", "f1@2"}
    full = session.reports["full"]
    assert full.protocol.startswith("full; split=leave-one-out")
    assert session.reports["strict"].protocol.startswith("strict; split=leave-one-out")
    hits = (full.ranks.first <= 2).astype(float)  # one target each: F1 is 2 h / (2 + 1)
    np.testing.assert_allclose(full.per_user["f1@2"], 2 * hits / 3)


@pytest.mark.parametrize(("kind", "name"), [("metrics", "f1"), ("protocols", "strict"), ("datasets", "songs")])
def test_they_are_listed(stranger: Path, kind: str, name: str) -> None:
    answer = CliRunner().invoke(app, ["list", kind, "--json"])
    assert answer.exit_code == 0, answer.output
    rows = json.loads(answer.stdout)
    assert rows[name]
    assert len(rows) > 5
    assert name in CliRunner().invoke(app, ["list", kind]).stdout


def test_without_the_package_the_names_are_unknown() -> None:
    forget()
    with pytest.raises(ConfigError, match="unknown metric 'f1'"):
        named.parse("f1@2")
    with pytest.raises(ConfigError, match="unknown protocol 'strict'"):
        parse_protocol("strict")
    assert "strict" not in registry.names("protocol")
    assert "songs" not in datasets.named()
    assert not named.lower_is_better("f1@2")  # an old report opens, it is just not known what is better


def test_an_entry_point_that_names_no_dataset_is_refused(stranger: Path) -> None:
    points = stranger / "stranger-1.0.dist-info" / "entry_points.txt"
    for value, words in (
        ("songs = interlingua_examples.strict:Strict", "no interlingua.data"),
        ("huge = interlingua_examples.songs:SONGS", "called 'songs'"),
    ):
        points.write_text(f"[interlingua.dataset]\n{value}\n", encoding="utf-8")
        forget()
        with pytest.raises(ConfigError, match=words):
            datasets.named()
