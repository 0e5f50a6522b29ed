"""The all-round ratio of every method on one dataset, as ``interlingua bench all-round`` measures it, as a result.

    python benchmarks/quality/all_round.py --data movielens-small --out results/all-round-movielens-small.json

What is finished in ``--runs`` is reused. ``rows`` has a line for each method: its ratio in the worst of all splits and
slices, with an interval over users and seeds, where that is, and for each split its ratio and NDCG@10 over all users.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from header import header

from interlingua.bench import all_round
from interlingua.progress import say


def rows_of(made: all_round.Measured) -> list[dict[str, Any]]:
    """One line for each method, best first."""
    out = []
    for name, (part, standing) in made.overall().items():
        low, high = standing.interval
        line: dict[str, Any] = {
            "method": name, "all-round ratio": round(standing.ratio, 3), "interval": f"{low:.2f} to {high:.2f}",
            "worst": f"{part}: {standing.worst[0]}, {standing.worst[1]}",
        }  # fmt: skip
        for split, each in made.parts.items():
            own, split = each.methods[name], split.replace(",", "")
            line[f"{split} ratio"] = round(own.ratio, 3)
            ndcg = own.values.get((all_round.all_round.ALL, all_round.NDCG))  # none where every simple method has 0
            line[f"{split} ndcg@10"] = None if ndcg is None else round(ndcg, 4)
        out.append(line)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--splits", nargs="+", default=list(all_round.SPLITS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[7])
    parser.add_argument("--max-users", type=int, help="evaluate a random subset of the users")
    parser.add_argument("--set", action="append", default=[], help="override for all, e.g. data.max_users=5000")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    made = all_round.measure(
        options.data, splits=options.splits, seeds=options.seeds, out=options.runs, max_users=options.max_users,
        overrides=options.set, device="cpu",
    )  # fmt: skip
    result = {
        **header(__file__),
        "rows": rows_of(made), **made.to_json(),
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    say(made.markdown())


if __name__ == "__main__":
    main()
