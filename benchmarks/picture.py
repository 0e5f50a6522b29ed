"""Draws the pictures of README and docs: from the stored results of the benchmarks, and the stages from the planner.

python benchmarks/picture.py            write them
python benchmarks/picture.py --check    exit 1 where one differs from its results
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages import stages

from interlingua.report.svg import Line, Value, bar_chart, line_chart

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/pictures"
RESULTS = ROOT / "benchmarks/quality/results"
OURS = "aligned mixture"
SHOWN = ("popularity", "item kNN (cosine)", "EASE", "text kNN (MiniLM)", "SASRec", OURS, f"{OURS}, no LM")
GROUPS = {"items with many events (top 35 %)": "warm items", "items with few events (bottom 35 %)": "cold items"}


def a_llmrec(result: dict[str, Any]) -> str:
    """Hit@1 on warm and cold items, mean over seeds, whiskers of one standard deviation over seeds."""
    rows = {row["method"]: row for row in result["mean"]}

    def bar(method: str, part: str) -> tuple[str, Value]:
        mean, spread = rows[method][f"hit@1 sampled-20 {part}"], rows[method].get(f"hit@1 sampled-20 {part} sd")
        return method, Value(mean, mean - spread, mean + spread) if spread else Value(mean)

    groups = [(heading, [bar(m, part) for m in SHOWN if m in rows]) for heading, part in GROUPS.items()]
    seeds = max(row["seeds"] for row in rows.values())
    title = f"Hit@1 among 20 candidates, {result['data']}, mean of {seeds} seeds"
    return bar_chart(title, groups, main=OURS, standalone=True)


def a_llmrec_curve(result: dict[str, Any]) -> str:
    """Validation Hit@1 of the head alone over the answers that it was trained on, with and without the LM."""
    lines = [
        Line(name, [point["answers"] / 1000 for point in points], [point["hit@1"] for point in points])
        for name, points in result["curve"].items()
    ]
    title = f"the aligned mixture's head alone while it learns, {result['data']}"
    return line_chart(title, lines, x_label="training answers, thousands", y_label="validation Hit@1", standalone=True)


def rlmrec_curves(result: dict[str, Any]) -> str:
    """Validation Recall@20 of RLMRec's base models over their training, first seed."""
    lines = []
    for name, seeds in result["curves"].items():
        points = [
            (epoch, record["valid recall@20"])
            for epoch, record in enumerate(next(iter(seeds.values())), start=1)
            if "valid recall@20" in record
        ]
        lines.append(Line(name, [float(x) for x, _ in points], [y for _, y in points]))
    title = "RLMRec's base models on its Amazon-book split"
    return line_chart(title, lines, x_label="epochs", y_label="validation Recall@20", standalone=True)


def rlmrec_noise(result: dict[str, Any]) -> str:
    """Recall@20 over the share of fake training pairs."""
    shares = [float(row["fake pairs"].rstrip("%")) for row in result["mean"]]
    lines = [
        Line(name, shares, [row[f"{name} recall@20"] for row in result["mean"]]) for name in ("base", "Con", "Gen")
    ]
    title = "Fake training pairs: LightGCN alone and aligned"
    return line_chart(title, lines, x_label="fake pairs, %", y_label="test Recall@20", standalone=True)


def rlmrec_cold(result: dict[str, Any]) -> str:
    """Recall@20 by how often the item was chosen and how much the user chose, mean over seeds."""
    parts = {
        "items with many events (top 35 %)": "warm items",
        "items with few events (bottom 35 %)": "cold items",
        "users with few events": "cold users",
    }
    groups = [
        (heading, [(r["method"].removeprefix("lightgcn: "), Value(r[f"recall@20 {part}"])) for r in result["mean"]])
        for heading, part in parts.items()
        if all(f"recall@20 {part}" in row for row in result["mean"])
    ]
    title = "Recall@20 on xrec-yelp-profiles: LightGCN alone, with texts, and what is simpler"
    return bar_chart(title, groups, main="Con", standalone=True)


PICTURES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "a-llmrec.svg": ("a-llmrec-movielens-small-3-seeds", a_llmrec),
    "a-llmrec-curve.svg": ("a-llmrec-movielens-small", a_llmrec_curve),
    "a-llmrec-curve-beauty.svg": ("a-llmrec-amazon-beauty-2014", a_llmrec_curve),
    "rlmrec-curves.svg": ("rlmrec-base", rlmrec_curves),
    "rlmrec-noise.svg": ("rlmrec-noise", rlmrec_noise),
    "rlmrec-cold.svg": ("rlmrec-cheaper-xrec-yelp-profiles", rlmrec_cold),
}
"""file in docs/pictures -> the results it is drawn from, and how"""


def main() -> int:
    """Writes or checks all pictures; returns the exit status."""
    status = 0
    drawings = {
        name: draw(json.loads((RESULTS / f"{result}.json").read_text(encoding="utf-8")))
        for name, (result, draw) in PICTURES.items()
    }
    for name, drawn in {**drawings, "stages.svg": stages()}.items():
        place = FOLDER / name
        if place.is_file() and place.read_text(encoding="utf-8") == drawn:
            continue
        if "--check" in sys.argv:
            print(f"docs/pictures/{name} is stale; run: make pictures", file=sys.stderr)
            status = 1
        else:
            FOLDER.mkdir(exist_ok=True)
            place.write_text(drawn, encoding="utf-8")
            print(f"wrote docs/pictures/{name}")
    return status


if __name__ == "__main__":
    sys.exit(main())
