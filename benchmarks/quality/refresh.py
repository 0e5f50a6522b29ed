"""What a refresh gains: a version that stays as it is, and one trained again, on what users do next.

    python benchmarks/quality/refresh.py --out RESULT.json

movielens-small. The first part of the events is the source of the first version: of all events by their times
(``--order time``: what comes later is largely of new users), or of each user's own (``--order user``: all go on). The
rest reaches the store in equal parts by time, one before each refresh. A refresh compares both versions as
``interlingua refresh`` does: on each user's last event, where it reached the store after the served version's data were
made, over the whole catalogue; the served version is asked with the histories of today. The first version is also asked
at the end.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import polars as pl
from header import header

import interlingua
from interlingua.data.prepare import prepare
from interlingua.life.gate import METRIC, Verdict, judge
from interlingua.life.refresh import refresh
from interlingua.life.versions import enter, promote
from interlingua.progress import say
from interlingua.runs.opening import open_session
from interlingua.store import Event, Store

DATA = "movielens-small"
FILTER = {"min_user": 5, "min_item": 5}


def tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events in the order of their times, and the catalogue."""
    made = prepare(DATA, quiet=True)
    events = made.interactions
    table = pl.DataFrame(
        {
            "user_id": events.user_ids[events.users].tolist(),
            "item_id": events.item_ids[events.items].tolist(),
            "timestamp": events.times,
            "rating": events.ratings,
        }
    )
    return table.sort("timestamp", maintain_order=True), made.catalogue.items


def divided(events: pl.DataFrame, order: str, fraction: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The source's events, and those that come later."""
    if order == "time":
        first = round(fraction * events.height)
        return events.head(first), events.slice(first)
    early = (pl.int_range(pl.len()) < fraction * pl.len()).over("user_id")
    return events.filter(early), events.filter(~early)


def line(name: str, store: Store, version: str, verdict: Verdict, seconds: float) -> dict[str, Any]:
    """One comparison."""
    low, high = verdict.interval
    return {
        "refresh": name, "events of the store": store.counters()["events"], "users": verdict.users,
        "served": round(verdict.served, 4), "trained again": round(verdict.new, 4),
        "difference": round(verdict.difference, 4), "95 %": f"{low:+.4f} to {high:+.4f}", "promoted": verdict.passed,
        "seconds": round(seconds, 1), "version": version,
    }  # fmt: skip


def main() -> None:
    """Trains, refreshes, compares, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="ease", help="backbone that is trained")
    parser.add_argument("--order", choices=("time", "user"), default="time")
    parser.add_argument("--share", type=float, default=0.8, help="of the events, in the source")
    parser.add_argument("--refreshes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    folder = options.runs / "refresh-benchmark"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "source").mkdir(parents=True)
    events, items = tables()
    source, rest = divided(events, options.order, options.share)
    source.write_parquet(folder / "source" / "interactions.parquet")
    items.write_parquet(folder / "source" / "items.parquet")
    sections = {
        "data": {"name": str(folder / "source"), "filter": FILTER, "split": "leave-one-out"},
        "backbone": {"name": options.recipe}, "evaluate": {"protocols": ["full"]},
    }  # fmt: skip
    session = interlingua.run(sections, out=folder / "runs", seed=options.seed, device="cpu")
    lines = list[dict[str, Any]]()
    with Store.open(folder / "store.sqlite") as store:
        original = promote(store, enter(store, session.path).version)
        size = -(-rest.height // options.refreshes)
        for number, part in enumerate(rest.iter_slices(size), 1):
            store.add_events([Event(*one) for one in part.iter_rows()])
            started = time.perf_counter()
            found = refresh(None, store, device="cpu")
            if found.verdict is None:
                raise SystemExit(f"refresh {number}: {found.reason}")
            lines.append(line(str(number), store, str(found.version), found.verdict, time.perf_counter() - started))
            say(f"{lines[-1]}")
        started = time.perf_counter()
        last = open_session(str(found.path), "cpu")
        verdict = judge(last, open_session(original.path, "cpu"), store)
        lines.append(
            line("the first version, at the end", store, str(found.version), verdict, time.perf_counter() - started)
        )
        say(f"{lines[-1]}")
    result = header(__file__) | {
        "data": DATA, "recipe": options.recipe, "metric": METRIC, "split": "leave-one-out",
        "order": options.order, "source": source.height,
        "rows": lines,
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
