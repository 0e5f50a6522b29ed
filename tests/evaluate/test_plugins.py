"""A protocol, a metric and a dataset of a stranger's package: named, listed and used like those that ship."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from interlingua import registry
from interlingua.cli.main import app
from interlingua.data import datasets
from interlingua.errors import ConfigError
from interlingua.evaluate import named
from interlingua.evaluate.rules import parse_protocol
from interlingua.runs import stages

MODULE = '''
    """A stranger's package."""

    from dataclasses import dataclass
    from typing import ClassVar

    import numpy as np

    from interlingua.data.datasets import NamedDataset
    from interlingua.data.domain import Domain
    from interlingua.evaluate.judged import Metric
    from interlingua.evaluate.rules import Protocol


    class FirstItem(Metric):
        """Row of the first listed item."""

        kind = "metric"
        reads = "lists"
        better = "lower"

        def measure(self, judged, k):
            return judged.top(k)[:, 0].astype(float)


    @dataclass(frozen=True)
    class Strict(Protocol):
        """Top one only, items of the history masked."""

        kind: ClassVar[str] = "protocol"
        name: str = "strict"
        metrics: tuple[str, ...] = ("hit@1", "first-item@3")


    TINY = NamedDataset(
        "tiny", "planted", Domain("song", "hear", "heard"), "mine", "", generated=True, about="a stranger's world"
    )
'''
POINTS = """
    [interlingua.metric]
    first-item = stranger:FirstItem
    [interlingua.protocol]
    strict = stranger:Strict
    [interlingua.dataset]
    tiny = stranger:TINY
"""


def forget() -> None:
    datasets.named.cache_clear()
    named.parse.cache_clear()


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installed package, as far as Python can tell."""
    site = tmp_path / "site"
    about = site / "stranger-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "stranger.py").write_text(dedent(MODULE), encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(dedent(POINTS), encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    forget()
    yield site
    forget()


def test_a_strangers_protocol_metric_and_dataset_run(stranger: Path, tmp_path: Path) -> None:
    sets = ['evaluate.protocols=["strict","full"]', 'evaluate.metrics=["first-item@2"]']
    sets += ["data.options={num_users = 40, num_items = 30}"]
    session = stages.run("pop", data="tiny", sets=sets, out=tmp_path / "runs")
    assert session.data.card["name"] == "tiny"
    assert session.data.catalogue.domain.noun == "song"
    assert set(session.metrics["strict"]) == {"hit@1", "first-item@3", "first-item@2"}
    assert "first-item@2" in session.metrics["full"]
    assert session.reports["strict"].protocol.startswith("strict; split=leave-one-out")


@pytest.mark.parametrize(("kind", "name"), [("metrics", "first-item"), ("protocols", "strict"), ("datasets", "tiny")])
def test_they_are_listed(stranger: Path, kind: str, name: str) -> None:
    answer = CliRunner().invoke(app, ["list", kind, "--json"])
    assert answer.exit_code == 0, answer.output
    rows = json.loads(answer.stdout)
    assert rows[name]
    assert len(rows) > 5
    assert name in CliRunner().invoke(app, ["list", kind]).stdout


def test_without_the_package_the_names_are_unknown() -> None:
    forget()
    with pytest.raises(ConfigError, match="unknown metric 'first-item'"):
        named.parse("first-item@2")
    with pytest.raises(ConfigError, match="unknown protocol 'strict'"):
        parse_protocol("strict")
    assert "strict" not in registry.names("protocol")
    assert "tiny" not in datasets.named()
    assert not named.lower_is_better("first-item@2")  # an old report opens, it is just not known what is better


def test_an_entry_point_that_names_no_dataset_is_refused(stranger: Path) -> None:
    points = stranger / "stranger-1.0.dist-info" / "entry_points.txt"
    for value, words in (("tiny = stranger:Strict", "no interlingua.data"), ("huge = stranger:TINY", "called 'tiny'")):
        points.write_text(f"[interlingua.dataset]\n{value}\n", encoding="utf-8")
        forget()
        with pytest.raises(ConfigError, match=words):
            datasets.named()
