"""Every snippet of docs/evaluation-python.md runs, in order; metrics and protocols of docs/evaluation.md exist."""

from __future__ import annotations

import re
from pathlib import Path

from interlingua.evaluate.metrics import METRICS, parse
from interlingua.evaluate.protocols import parse_protocol

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "evaluation.md").read_text(encoding="utf-8")
PYTHON = (DOCS / "evaluation-python.md").read_text(encoding="utf-8")


def test_snippets_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in re.findall(r"```python\n(.*?)```", PYTHON, re.S):
        exec(compile(snippet, "docs/evaluation-python.md", "exec"), names)
    out = capsys.readouterr().out
    assert "full; split=leave-one-out; part=test" in out
    assert "| mine |" in out
    assert "</html>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_tables_name_what_exists():
    for name in re.findall(r"^\| `(\w+)@k` \|", TEXT, re.M):
        assert name in METRICS
    for name in re.findall(r"^\| `(full|rlmrec|hr-100)` \|", TEXT, re.M):
        for metric in parse_protocol(name).metrics:
            parse(metric)
    assert len(re.findall(r"^\| `\w+@k` \|", TEXT, re.M)) == len(METRICS)
