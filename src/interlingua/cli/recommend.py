"""``interlingua recommend`` and ``interlingua explain``: ask a finished run."""

from __future__ import annotations

import csv
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlingua.cli.options import AsJson, Device, Reasons, RunPath, Trust

if TYPE_CHECKING:
    from interlingua.recommender import Recommender

User = Annotated[str | None, typer.Option("--user", help="External id of a known user.")]
History = Annotated[
    str | None, typer.Option("--history", help='Item ids of anybody, oldest first, as one CSV line: i1,"i,2".')
]


K = Annotated[int, typer.Option("-k", "--k", help="How many.")]
Rerank = Annotated[bool, typer.Option(help="Let the language model order what the backbone retrieved.")]
Exclude = Annotated[str, typer.Option(help="Item ids that must not come out, as one CSV line.")]
Items = Annotated[str | None, typer.Option(help="Item ids that alone may come out, as one CSV line.")]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        help="Condition on a column: categories=Comedy, year>=1990, title contains star. "
        "Several values as one CSV line: any of them. Repeatable: all must hold.",
    ),
]
Where = Annotated[
    str | None,
    typer.Option(help="""Conditions as one expression: 'category in ["A", "B"] and price < 20 and not sold_out'."""),
]
Diversity = Annotated[float, typer.Option(help="0: by score alone; more: rather different categories.")]
Repeat = Annotated[bool, typer.Option("--repeat", help="Items of the history may come out too.")]
NewShare = Annotated[
    float, typer.Option(help="At least this share of the k are items without an event in training, or added since.")
]
Text = Annotated[str | None, typer.Option(help='What is looked for: "slow burn science fiction".')]
TextWeight = Annotated[
    float, typer.Option(help="Of --text: 1 is the text alone; the rest is the history's, or popularity's.")
]


def recommend(
    run: RunPath,
    user: User = None,
    history: History = None,
    k: K = 10,
    rerank: Rerank = True,
    exclude: Exclude = "",
    items: Items = None,
    filters: Filter = None,
    where: Where = None,
    diversity: Diversity = 0.0,
    repeat: Repeat = False,
    new_share: NewShare = 0.0,
    text: Text = None,
    text_weight: TextWeight = 0.5,
    users: Annotated[
        str | None, typer.Option(help="Many users, to --out: all, or a file with one external id per line.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --users: the parquet file to write. Interrupted, it goes on from there.")
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Recommend items to a known user, to a history, for a text, or to many users."""
    from interlingua.recommender import load

    history_ids, hidden = ids(history, "--history"), ids(exclude, "--exclude") or []
    options: dict[str, Any] = {
        "rerank": rerank, "items": ids(items, "--items"), "exclude": hidden, "diversity": diversity, "repeat": repeat,
        "filters": conditions_of(filters or [], where), "new_share": new_share,
    }  # fmt: skip
    if users is not None or out is not None:
        names = many(users, out, user, history, text)
        _write_all(load(run, device, trust=trust), out or Path(), names, k, options, as_json)
        return
    answers = load(run, device, trust=trust).recommend(
        user, history_ids, k, text=text, text_weight=text_weight, **options
    )
    if as_json:
        print(json.dumps([asdict(answer) for answer in answers]))
        return
    for place, answer in enumerate(answers, 1):
        print(f"{place:>3}. {answer.title}  [{answer.item_id}]  {answer.score:.3f} by {answer.stage}")


def _write_all(
    recommender: Recommender, out: Path, names: list[str] | None, k: int, options: dict[str, Any], as_json: bool
) -> None:
    """The lists of many users into one file, and what it cost."""
    started = time.perf_counter()
    made = recommender.recommend_all(out, names, k, **options)
    seconds = time.perf_counter() - started
    if as_json:
        print(json.dumps({**asdict(made), "path": str(made.path), "seconds": round(seconds, 3)}))
        return
    fresh = made.users - made.reused
    rate = f", {fresh / seconds:,.0f} users per second" if fresh else ""
    print(f"{made.path}: {made.lists:,} lists of {made.users:,} users, {made.entries:,} rows, {seconds:.1f} s{rate}")


def explain(
    run: RunPath,
    item: Annotated[str, typer.Argument(help="Item id to explain.")],
    user: User = None,
    history: History = None,
    reasons: Reasons = "auto",
    device: Device = "auto",
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Say why an item fits a user, with the history items that support it."""
    from interlingua.recommender import load

    history_ids = ids(history, "--history")
    recommender = load(run, device, trust=trust, reasons=reasons)
    answer = recommender.explain(item, user, history_ids)
    if as_json:
        print(json.dumps({**asdict(answer), "support": [each._asdict() for each in answer.support]}))
        return
    print(answer.sentence)
    for each in answer.support:
        rated = "" if each.rating is None else f", rated {each.rating:g}"
        print(f"  because of: {each.title} [{each.item_id}] (influence {each.influence:+.3g}{rated})")
    if answer.support and answer.basis == "history":
        print("  measured on a score from the history alone: this model keeps one vector per known user")


def many(users: str | None, out: Path | None, *one: str | None) -> list[str] | None:
    """The users of ``--users``; None: all.

    Raises:
        ConfigError: ``--users`` without ``--out`` or the other way round, with one user too, or a file that cannot be
            read or is empty.
    """
    from interlingua.errors import ConfigError

    if users is None or out is None:
        raise ConfigError("--users and --out belong together: --users all --out recs.parquet")
    if any(each is not None for each in one):
        raise ConfigError("--users stands instead of --user, --history and --text")
    if users == "all":
        return None
    try:
        names = [line.strip() for line in Path(users).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--users {users!r}: give all, or a text file with one id per line ({error})") from None
    if not names:
        raise ConfigError(f"--users {users!r}: the file names no user")
    return names


def conditions_of(filters: list[str], where: str | None = None) -> dict[str, str | list[str]] | str:
    """What ``recommend(filters=...)`` takes, from texts such as ``year>=1990``, or from an expression.

    Raises:
        ConfigError: no operator, one column with one operator twice, or both kinds.
    """
    from interlingua.data.allowed import split_filter
    from interlingua.errors import ConfigError

    if where is not None:
        if filters:
            raise ConfigError(f"--where and --filter {filters[0]!r}: write the condition into --where too, with and")
        return where
    out: dict[str, str | list[str]] = {}
    for text in filters:
        key, value = split_filter(text)
        if key in out:
            raise ConfigError(f"--filter {text!r}: {key} stands twice; several values are one line: {key}a,b")
        values = ids(value, "--filter") or [""]
        out[key] = values[0] if len(values) == 1 else values
    return out


def ids(text: str | None, option: str) -> list[str] | None:
    """One CSV line as ids; None stays None (the option was not given), an empty text is no ids.

    Raises:
        ConfigError: a quote that does not end, or something between it and the comma.
    """
    from interlingua.errors import ConfigError

    if text is None:
        return None
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ConfigError(
            f"{option} {text!r} is not one line of CSV ({error}); an id with a comma or a quote stands in quotes, a "
            """quote in it twice: '"i,1",i2,"5"" disc"'"""
        ) from None
    return [part.strip() for row in rows for part in row if part.strip()]


COMMANDS = {"recommend": recommend, "explain": explain}
