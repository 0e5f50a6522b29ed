"""Draws docs/picture.svg, the picture of the README, from the stored results of ``benchmarks/quality/a_llmrec.py``.

python benchmarks/picture.py            write it
python benchmarks/picture.py --check    exit 1 where it differs from the results
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from interlingua.evaluate.svg import Value, bar_chart

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks/quality/results/a-llmrec-movielens-small-3-seeds.json"
PICTURE = ROOT / "docs/picture.svg"
SHOWN = ("popularity", "item kNN (cosine)", "EASE", "text kNN (MiniLM)", "SASRec", "A-LLMRec", "A-LLMRec, no LM")
GROUPS = {"items with many events (top 35 %)": "warm items", "items with few events (bottom 35 %)": "cold items"}


def draw() -> str:
    """Hit@1 on warm and cold items, mean over seeds, whiskers of one standard deviation over seeds."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in result["mean"]}

    def bar(method: str, part: str) -> tuple[str, Value]:
        mean, spread = rows[method][f"hit@1 sampled-20 {part}"], rows[method].get(f"hit@1 sampled-20 {part} sd")
        return method, Value(mean, mean - spread, mean + spread) if spread else Value(mean)

    groups = [(heading, [bar(m, part) for m in SHOWN if m in rows]) for heading, part in GROUPS.items()]
    seeds = max(row["seeds"] for row in rows.values())
    title = f"Hit@1 among 20 candidates, {result['data']}, mean of {seeds} seeds"
    return bar_chart(title, groups, main="A-LLMRec", standalone=True)


if __name__ == "__main__":
    drawn = draw()
    if "--check" in sys.argv:
        sys.exit(
            0 if PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == drawn else "docs/picture.svg is stale"
        )
    PICTURE.write_text(drawn, encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")
