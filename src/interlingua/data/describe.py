"""Description of a prepared dataset: sizes, histograms, texts, times, fractions of cold items, and warnings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from interlingua.data.prepared import Dataset
from interlingua.data.queries import IntArray
from interlingua.data.repeats import in_history, repeats, warning
from interlingua.data.split import GroundTruth
from interlingua.data.splitting import PARTS, SHOWN, TEST, tied_at_targets

BUCKETS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000)
"""Lower bounds of the histogram's bars"""
QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
BAR = "▏▎▍▌▋▊▉█"
BAR_WIDTH = 40


def histogram(counts: IntArray) -> list[tuple[str, int]]:
    """(label, number of counts in it) for buckets 0, 1, 2, 3-4, 5-9, 10-19, ...; empty ends are left out."""
    counts = np.asarray(counts)
    edges = np.array([0, *BUCKETS])
    place = np.searchsorted(edges, counts, side="right") - 1
    number = np.bincount(place, minlength=len(edges))
    if not number.any():
        return []
    used = np.flatnonzero(number)
    return [(_label(edges, n), int(number[n])) for n in range(used[0], used[-1] + 1)]


def _label(edges: npt.NDArray[np.int64], n: int) -> str:
    low = int(edges[n])
    if n + 1 == len(edges):
        return f"{low:,}+"
    high = int(edges[n + 1]) - 1
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def gini(counts: IntArray) -> float:
    """0: all items are equally popular; near 1: few items have all events."""
    ordered = np.sort(np.asarray(counts, np.float64))
    total = ordered.sum()
    if not total:
        return 0.0
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


def head_share(counts: IntArray, fraction: float) -> float:
    """Fraction of all events that belong to the most popular ``fraction`` of the items."""
    ordered = np.sort(np.asarray(counts, np.float64))[::-1]
    total = ordered.sum()
    return float(ordered[: max(round(fraction * len(ordered)), 1)].sum() / total) if total else 0.0


def describe(prepared: Dataset) -> dict[str, Any]:
    """A JSON-able description; see :func:`render` for people."""
    events, split = prepared.interactions, prepared.split
    users, items = events.num_users, events.num_items
    out: dict[str, Any] = {
        "name": prepared.card["name"],
        "licence": prepared.card["licence"],
        "url": prepared.card["url"],
        "protocol": split.protocol,
        "fingerprint": prepared.fingerprint,
        "users": users,
        "items": items,
        "events": len(events),
        "density": len(events) / (users * items) if users and items else 0.0,
        "parts": {
            name: int((prepared.parts == code).sum())
            for code, name in enumerate(PARTS)
            if code != SHOWN or split.shown is not None
        },
        "history_length": _summary(events.user_counts),
        "popularity": _summary(events.item_counts)
        | {"gini": gini(events.item_counts), "top_10_percent_share": head_share(events.item_counts, 0.1)},
        "time": _time(prepared),
        "texts": _texts(prepared),
        "repeats": repeats(events, prepared.card["steps"]),
        "cold": _cold(prepared),
        "columns": {f"column of {role}": column for role, column in prepared.card["columns"].items()},
        "reading": prepared.card.get("reading", {}),
        "steps": prepared.card["steps"],
        "decisions": prepared.card["decisions"],
    }
    if events.ratings is not None:
        values, counts = np.unique(events.ratings[~np.isnan(events.ratings)], return_counts=True)
        if len(values) <= 100:
            out["ratings"] = {f"{v:g}": int(c) for v, c in zip(values, counts, strict=True)}
    out["warnings"] = [*prepared.card["warnings"], *_warnings(prepared, out)]
    return out


def _summary(counts: IntArray) -> dict[str, Any]:
    if not len(counts):
        return {"mean": 0.0, "quantiles": {}, "histogram": []}
    quantiles = np.quantile(counts, QUANTILES, method="inverted_cdf")
    return {
        "mean": float(np.mean(counts)),
        "quantiles": {f"{q:g}": int(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
        "histogram": histogram(counts),
    }


def _time(prepared: Dataset) -> dict[str, Any]:
    events, kind = prepared.interactions, prepared.card["time"]["kind"]
    same_user = events.users[1:] == events.users[:-1]
    tied = same_user & (events.times[1:] == events.times[:-1])
    out: dict[str, Any] = {
        "kind": kind,
        "times": prepared.card["time"].get("times", kind),
        "ties": prepared.card["time"].get("ties", "file"),
        "users_with_ties": len(np.unique(events.users[1:][tied])),
        "users_with_a_tie_at_the_held_out_events": tied_at_targets(events, prepared.parts),
        "events_tied_with_the_one_before": int(tied.sum()),
    }
    if kind == "seconds" and len(events):
        first, last = (datetime.fromtimestamp(int(t), UTC) for t in (events.times.min(), events.times.max()))
        out |= {"first": first.isoformat(), "last": last.isoformat(), "days": (last - first).days}
    return out


def _texts(prepared: Dataset) -> dict[str, Any]:
    frame = prepared.catalogue.items
    out: dict[str, Any] = {"coverage": {}, "mean_characters": {}}
    for column in frame.columns:
        if column == "item_id":
            continue
        filled = frame[column].drop_nulls()
        out["coverage"][column] = len(filled) / max(frame.height, 1)
        out["mean_characters"][column] = float(filled.str.len_chars().mean() or 0)  # type: ignore[arg-type]
    titles = frame["title"].drop_nulls()
    out["items_sharing_a_title"] = int(titles.is_duplicated().sum())
    users = prepared.catalogue.users
    if users is not None:
        out["user_texts"] = {
            c: 1 - users[c].null_count() / max(users.height, 1) for c in users.columns if c != "user_id"
        }
    return out


def _cold(prepared: Dataset) -> dict[str, Any]:
    train, test = prepared.split.train, prepared.split.test
    cold_item = train.item_counts == 0
    cold_user = train.user_counts == 0
    return {
        "items_without_train_event": int(cold_item.sum()),
        "test_events_on_them": int(cold_item[test.items].sum()),
        "test_events_on_them_share": float(cold_item[test.items].mean()) if len(test.items) else 0.0,
        "items_with_up_to_5_train_events": int((train.item_counts <= 5).sum()),
        "users_without_train_event": int(cold_user.sum()),
        "test_users_without_train_event": int(cold_user[test.users].sum()),
        "users_with_one_event": int((prepared.interactions.user_counts == 1).sum()),
    }


def targets_in_history(prepared: Dataset) -> int:
    """Number of test events whose item is already in the history: masked as seen, they can never be hit."""
    split = prepared.split
    return int(in_history(split.test, split.queries("test"), prepared.interactions.num_items).sum())


def later_train_share(prepared: Dataset) -> float:
    """Fraction of the test events that are older than the last training event: part of the future is known."""
    horizon = prepared.split.horizon
    times = prepared.interactions.times[prepared.parts == TEST]
    return float((times <= horizon).mean()) if horizon is not None and len(times) else 0.0


def _warnings(prepared: Dataset, facts: Mapping[str, Any]) -> list[str]:
    found = []
    test: GroundTruth = prepared.split.test
    if not len(test):
        found.append("the test part is empty: nothing can be evaluated")
    if leaks := targets_in_history(prepared):
        found.append(
            f"leak: {leaks:,} test events repeat an item of the user's own history; masked as seen, they can never be "
            'hit (filter.duplicates = "first" removes them, the protocol full-repeat ranks them)'
        )
    if coming_back := warning(facts["repeats"]):
        found.append(coming_back)
    if (late := later_train_share(prepared)) > 0:
        found.append(
            f"leak in time: {late:.0%} of the test events lie before the last training event, so others' futures are "
            'known; split = "global-time" avoids that'
        )
    found += prepared.split.notes
    if "ratings" in facts and prepared.card["filter"].get("min_rating") is None:
        found.append(
            "there are ratings and no filter.min_rating: a low rating counts like a high one, so that what somebody "
            "disliked is recommended and named as a reason (e.g. filter.min_rating = 4)"
        )
    if lonely := facts["cold"]["users_with_one_event"]:
        found.append(f"{lonely:,} users have one event: they can be trained on, but not evaluated")
    if shared := facts["texts"]["items_sharing_a_title"]:
        found.append(f"{shared:,} items share their title with another: a generated title does not tell them apart")
    coverage = facts["texts"]["coverage"].get("title", 0.0)
    if coverage < 0.99:
        found.append(
            f"only {coverage:.1%} of the items have a title: prompts and text encoders read a placeholder instead"
        )
    return found


def render(facts: Mapping[str, Any]) -> str:
    """The description as text for a terminal."""
    lines = [f"{facts['name']}  ({facts['protocol']}, {facts['fingerprint'][:12]})"]
    lines.append(
        f"  {facts['users']:,} users, {facts['items']:,} items, {facts['events']:,} events, "
        f"density {facts['density']:.4%}"
    )
    lines.append("  " + ", ".join(f"{name} {count:,}" for name, count in facts["parts"].items() if count))
    time = facts["time"]
    if "first" in time:
        lines.append(f"  from {time['first'][:10]} to {time['last'][:10]} ({time['days']:,} days)")
    else:
        what = {"positions": " (positions in each user's own history)", "rows": " (no times; the order of the rows)"}
        lines.append(f"  times: only the order within each user is known{what.get(time['times'], '')}")
    lines.append(f"  licence: {facts['licence']}" + (f"  {facts['url']}" if facts["url"] else ""))
    columns = facts["columns"] | facts["reading"]
    lines += [f"  read: {what}: {how}" for what, how in columns.items()]
    for key, title in (("history_length", "events of a user"), ("popularity", "events of an item")):
        part = facts[key]
        extra = f", Gini {part['gini']:.2f}, top 10 % have {part['top_10_percent_share']:.0%}" if "gini" in part else ""
        lines += ["", f"{title}: mean {part['mean']:.1f}, median {part['quantiles'].get('0.5', 0):,}{extra}"]
        lines += bars(part["histogram"])
    if "ratings" in facts:
        lines += ["", "ratings", *bars(list(facts["ratings"].items()))]
    lines += ["", "texts (share of the items that have one, mean characters)"]
    lines += [
        f"  {column:<14} {fraction:>6.1%}  {facts['texts']['mean_characters'][column]:>7.0f}"
        for column, fraction in facts["texts"]["coverage"].items()
    ]
    cold = facts["cold"]
    lines += ["", f"cold: {cold['items_without_train_event']:,} items have no training event; they are the target of"]
    lines[-1] += f" {cold['test_events_on_them']:,} test events ({cold['test_events_on_them_share']:.1%});"
    lines.append(f"  {cold['test_users_without_train_event']:,} test users have no training event")
    again = facts["repeats"]
    decision = "kept" if again["kept"] else "left out"
    lines.append(f"repeated (user, item) pairs: {again['events']:,}, {again['share']:.1%} of the events, {decision}")
    lines.append(f"events at the same second as the one before: {time['events_tied_with_the_one_before']:,}")
    if facts["decisions"]:
        lines += ["", "decisions (each can be changed)"]
        lines += [f"  {d['what']}: {d['count']:,}  [{d['undo']}]" for d in facts["decisions"]]
    if facts["warnings"]:
        lines += ["", "warnings", *(f"  ! {text}" for text in facts["warnings"])]
    return "\n".join(lines)


def bars(rows: list[tuple[str, int]]) -> list[str]:
    """Horizontal bars of blocks, the largest of full width."""
    if not rows:
        return []
    most, width = max(count for _, count in rows) or 1, max(len(label) for label, _ in rows)
    return [f"  {label:>{width}} {bar(count / most):<{BAR_WIDTH}} {count:,}" for label, count in rows]


def bar(fraction: float) -> str:
    """A bar of up to ``BAR_WIDTH`` characters in eighths; any value above 0 shows at least one eighth."""
    eighths = round(fraction * BAR_WIDTH * 8)
    if fraction > 0:
        eighths = max(eighths, 1)
    whole, rest = divmod(eighths, 8)
    return BAR[-1] * whole + (BAR[rest - 1] if rest else "")
