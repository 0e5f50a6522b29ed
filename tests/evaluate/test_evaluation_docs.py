"""Every snippet of docs/evaluation-python.md runs, in order; what docs/metrics.md and evaluation.md name exists."""

from __future__ import annotations

import re
from pathlib import Path

from interlingua import registry
from interlingua.evaluate.named import parse
from interlingua.evaluate.rules import parse_protocol

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "evaluation.md").read_text(encoding="utf-8")
METRICS = (DOCS / "metrics.md").read_text(encoding="utf-8")
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
    table = TEXT[TEXT.index("## Protocols") : TEXT.index("The id says every choice")]
    metrics = re.findall(r"^\| `([a-z-]+)(?:@k)?` \| [^|]+ \|$", METRICS, re.M)
    assert len(metrics) > 15
    assert set(metrics) <= set(registry.names("metric"))
    protocols = [name.removesuffix("-N") for name in re.findall(r"^\| `([a-zN0-9-]+)`[, ]", table, re.M)]
    assert len(protocols) > 4
    assert set(protocols) <= set(registry.names("protocol"))
    for name in registry.names("protocol"):
        if not registry.find("protocol", name).numbered:
            for metric in parse_protocol(name).metrics:
                parse(metric)
