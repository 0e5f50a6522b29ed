"""What RLMRec's benchmarks write: numbers and curves of a run, means over seeds, tests, the paper beside ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from header import header as header_of
from per_user import UserHits

from interlingua.evaluate.compare import compare, holm
from interlingua.evaluate.result import load_report

PAPER = {
    "gccf": (0.1343, 0.0807), "lightgcn": (0.1411, 0.0856), "sgl": (0.1473, 0.0913),
    "simgcl": (0.1512, 0.0919), "dccf": (0.1517, 0.0943), "autocf": (0.1536, 0.0984),
}  # fmt: skip
"""Recall@20 and NDCG@20 of the base models on Amazon-book (arXiv 2310.15950, table 1)"""
METRICS = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20")
SAME_BUT_TEXTS = {
    "Con, 512 anchors": ("Con, full texts, 512 anchors", "Con, LSA, 512 anchors"),
    "Gen, 512 anchors": ("Gen, full texts, 512 anchors",),
}
"""variants that differ in the text vectors alone"""


def against_paper(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds beside the paper's row."""
    mine = [row for row in rows if row["backbone"] == name]
    line: dict[str, Any] = {"backbone": name, "seeds": len(mine)}
    for metric, paper in zip(("recall@20", "ndcg@20"), PAPER[name], strict=True):
        value = float(np.mean([row[metric] for row in mine]))
        line |= {metric: round(value, 5), f"{metric} paper": paper, f"{metric} / paper": round(value / paper, 4)}
    line["epochs"] = round(float(np.mean([row["epochs"] for row in mine])))
    line["stopped"] = "by hand" if any("stopped" in row for row in mine) else "early stopping"
    return line


def measured(session: Any) -> dict[str, Any]:
    """The numbers of one run."""
    report = load_report(session.done["evaluate"].path / "protocols" / "rlmrec")
    trained = session.done.get("align") or session.done["train"]
    epochs, best, steps = lengths(trained.path / "log.jsonl")
    return numbers(report) | {
        "epochs": epochs,
        "best epoch": best,
        "steps": steps,
        "seconds": round(float(trained.card["seconds"]), 1),
        "run": session.done["evaluate"].path.name,
    }


def lengths(file: Path) -> tuple[int, int | None, int | None]:
    """Epochs run, the best one, and optimiser steps done, of a training log; 0 and None where nothing was trained."""
    if not file.is_file():
        return 0, None, None
    *epochs, last = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return len(epochs), last["best_epoch"], sum(epoch["steps"] for epoch in epochs)


def numbers(report: Any) -> dict[str, Any]:
    """A report's metrics, and Recall@20 of its slices."""
    out: dict[str, Any] = {name: round(report.metrics[name], 5) for name in METRICS}
    return out | {f"recall@20 {name}": round(part.metrics["recall@20"], 5) for name, part in report.slices.items()}


def curve(session: Any) -> list[dict[str, Any]]:
    """One record per epoch: losses, and Recall@20 on the validation part where it was measured."""
    trained = session.done.get("align") or session.done["train"]
    file = trained.path / "log.jsonl"
    if not file.is_file():
        return []
    return shortened([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])


def shortened(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Losses and validation Recall@20 of a training log's epochs."""
    return [
        {k: round(v, 4) for k, v in record["losses"].items()}
        | ({"valid recall@20": round(record["valid"]["recall@20"], 5)} if "valid" in record else {})
        for record in records
        if "losses" in record
    ]


def users_file(out: Path) -> Path:
    """Where the users' values of a result file lie."""
    return out.with_suffix(".users.npz")


def finish(result: dict[str, Any], rows: list[dict[str, Any]], users: UserHits, out: Path) -> None:
    """Means, tests against each backbone alone, and the file."""
    result["mean"] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        line: dict[str, Any] = {
            "method": method,
            "backbone": mine[0]["backbone"],
            "variant": mine[0]["variant"],
            "seeds": len(mine),
        }
        for metric in ("recall@20", "ndcg@20"):
            values = [row[metric] for row in mine]
            line[metric] = round(float(np.mean(values)), 5)
            line[f"{metric} sd"] = round(float(np.std(values, ddof=1)), 5) if len(values) > 1 else None
        for cell in [key for key in mine[0] if key.startswith("recall@20 ")]:
            line[cell] = round(float(np.mean([row[cell] for row in mine])), 5)
        for cell in ("epochs", "best epoch"):
            values = [row[cell] for row in mine if row[cell]]
            line[cell] = round(float(np.mean(values))) if values else None
        line["seconds"] = round(float(np.mean([row["seconds"] for row in mine])), 1)
        result["mean"].append(line)
    reports: dict[str, list[Any]] = {}
    for row in rows:
        if row["variant"]:
            reports.setdefault(row["method"], []).append(users.report(row["run"]))
    found = []
    for backbone in dict.fromkeys(row["backbone"] for row in rows):
        group = {method: each for method, each in reports.items() if method.startswith(f"{backbone}: ")}
        found += tested(group, f"{backbone}: base")
    result["tests"] = one_family(found)
    result["texts"] = one_family(text_tests(reports))
    result["gains"] = gains(result["mean"], result["tests"])
    result["rows"] = rows
    write(result, out)


def tested(reports: dict[str, list[Any]], reference: str) -> list[dict[str, Any]]:
    """Tests of Recall@20 over users and seeds against one method, not corrected; none where it stands alone."""
    if len(reports) < 2 or reference not in reports:
        return []
    scale = float(np.mean([report.metrics["recall@20"] for report in reports[reference]]))
    return [
        {
            "method": test.first, "against": test.second,
            "seeds": f"{len(reports[test.first])}, {len(reports[reference])}",
            "recall@20 difference": round(test.difference, 5),
            "relative": round(test.difference / scale, 4),
            "interval": [round(v, 5) for v in test.interval], "p": test.p,
        }
        for test in compare(reports, metrics=["recall@20"], reference=reference).tests
    ]  # fmt: skip


def one_family(tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tests of one table with Holm's correction for all of them."""
    return [test | {"p_holm": p} for test, p in zip(tests, holm([t["p"] for t in tests]), strict=True)]


def text_tests(reports: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Full dimensions and TF-IDF against the reduced sentence vectors, everything else equal."""
    out = []
    for usual, others in SAME_BUT_TEXTS.items():
        reference = f"lightgcn: {usual}"
        names = [reference, *(f"lightgcn: {other}" for other in others)]
        out += tested({name: reports[name] for name in names if name in reports}, reference)
    return out


def gains(means: list[dict[str, Any]], tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per backbone: alone, with Con and with Gen, what each adds with its corrected p, epochs run and the best
    of them, and what Con adds with shuffled texts."""
    out = []
    by_method = {line["method"]: line for line in means}
    found = {test["method"]: test for test in tests}
    for line in means:
        if line["variant"] != "base":
            continue
        row: dict[str, Any] = {"backbone": line["backbone"], "seeds": line["seeds"], "base": line["recall@20"]}
        for variant in ("Con", "Gen"):
            method = f"{line['backbone']}: {variant}"
            if method in by_method and method in found:
                row[variant] = by_method[method]["recall@20"]
                row[f"{variant} gain"] = found[method]["relative"]
                row[f"{variant} p"] = found[method]["p_holm"]
        control = found.get(f"{line['backbone']}: Con, shuffled texts")
        if control is not None:
            row |= {"shuffled gain": control["relative"], "shuffled p": control["p_holm"]}
        trained = [by_method[m] for v in ("base", "Con", "Gen") if (m := f"{line['backbone']}: {v}") in by_method]
        for cell in ("epochs", "best epoch"):
            if all(cell in each for each in trained):
                row[cell] = ", ".join(str(each[cell]) for each in trained)
        out.append(row)
    return out


def write(result: dict[str, Any], out: Path) -> None:
    """Rewrites the result file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def header(script: str) -> dict[str, Any]:
    """Command, commit, machine and the paper."""
    return header_of(script) | {"paper": "arXiv 2310.15950v5"}
