"""``interlingua profiles``: item and user profiles, written by a language model."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlingua.cli.options import AsJson, Data, Device, Overrides, Seed, Trust

if TYPE_CHECKING:
    from interlingua.clients.completion import Completer
    from interlingua.profiles.config import ProfilesConfig
    from interlingua.profiles.store import ProfileSet


class Side(StrEnum):
    """Whose profiles are written."""

    items = "items"
    users = "users"
    both = "both"


Least = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, help="Exit with 1 if the model wrote a smaller share of what it was to write, or nothing."
    ),
]


def profiles(
    recipe: Annotated[str, typer.Argument(help="A recipe whose [data] and split are profiled.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the profile set; one that is there is continued.")],
    data: Data = None,
    overrides: Overrides = None,
    seed: Seed = 7,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with the options of profile writing.")
    ] = None,
    based_on: Annotated[Path | None, typer.Option(help="Profile set whose texts are rewritten (variants).")] = None,
    prompts: Annotated[str | None, typer.Option(help="Instructions: a domain, intent, ..., or a file.")] = None,
    side: Annotated[Side, typer.Option(help="items, users or both (items first).")] = Side.both,
    model: Annotated[str | None, typer.Option(help="The server's model, or one for this machine.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server; without it: this machine.")] = None,
    key_variable: Annotated[str | None, typer.Option(help="Environment variable that holds the server's key.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Calls in flight at one time.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="At most so many calls a minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="At most so many tokens a minute.")] = None,
    prices: Annotated[Path | None, typer.Option(help="TOML file with prices per million tokens.")] = None,
    budget: Annotated[
        float | None, typer.Option(help="Stop before the ledger's calls cost more, in the prices' currency.")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Ask for so many items and users only.")] = None,
    reviews: Annotated[Path | None, typer.Option(help="Table of reviews: user, item, text; train's are read.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="File of answers, to share between sets.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again for what failed.")] = False,
    least: Least = 0.5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show requests, tokens and money; ask nothing.")] = False,
    device: Device = "auto",
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Write profiles of items, then of users from their train items. Answers are kept: run again to continue."""
    from interlingua.data.prepare import prepare_config
    from interlingua.profiles.inputs import read_reviews
    from interlingua.profiles.write import Job, write
    from interlingua.runs import recipe as recipes

    model_options = {
        "model": model, "base_url": base_url, "key_variable": key_variable, "prompts": prompts,
        "based_on": None if based_on is None else str(based_on),
    }  # fmt: skip
    limits = {
        "concurrency": concurrency, "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute,
    }  # fmt: skip
    options = read_options(config, prices, model_options, limits)
    prepared = prepare_config(recipes.load(recipe, overrides or (), data, trust=trust).data, seed)
    found = {} if reviews is None else read_reviews(reviews, prepared)
    job = Job(prepared, options, out, seed, side.value, sample, budget, retry_failed, found, ledger)
    completer = completer_of(options, device)
    if dry_run:
        from interlingua.profiles.estimate import estimate

        report = estimate(job, completer)
        print(json.dumps(report, ensure_ascii=False) if as_json else estimate_text(report))
        return
    made = write(job, completer)
    print(json.dumps({"folder": str(out), **made.card}, ensure_ascii=False) if as_json else result_text(made))
    leave_if(shortfall(made.card, least))


def leave_if(problem: str) -> None:
    """Ends the command with 1 and the problem on stderr, where there is one."""
    if problem:
        typer.echo(f"error: {problem}", err=True)
        raise typer.Exit(1)


def shortfall(card: dict[str, Any], least: float) -> str:
    """What is missing where a set covers too little of what the model was to write; empty: enough is there.

    Counted are items and users that had something to write from and were in the sample, answered now or before.
    """
    requested, written = sum(card["wanted"].values()), sum(side["written"] for side in card["coverage"].values())
    if not requested or (written and written >= least * requested):
        return ""
    at_least = f", less than the {100 * least:g} % of --least" if written else ""
    return (
        f"{written:,} of {requested:,} profiles were written ({100 * written / requested:.1f} %{at_least}); "
        "fallback texts stand in for the rest, the tables and the card say why"
    )


def read_options(
    config: Path | None, prices: Path | None, overrides: dict[str, Any], limits: dict[str, Any]
) -> ProfilesConfig:
    """Options of the file, with those of the command line laid over them."""
    from interlingua.clients.prices import read_prices
    from interlingua.config import build, merge, read_toml
    from interlingua.profiles.config import ProfilesConfig

    values = read_toml(config) if config is not None else {}
    given = {k: v for k, v in overrides.items() if v is not None}
    given |= {"limits": {k: v for k, v in limits.items() if v is not None}}
    if prices is not None:
        given["prices"] = read_prices(prices).model_dump()
    return build(ProfilesConfig, merge(values, given), str(config or "interlingua profiles"))


def completer_of(options: ProfilesConfig, device: str) -> Completer:
    """The server, or the model on this machine."""
    if options.base_url is not None:
        from interlingua.clients.endpoint import Endpoint

        return Endpoint(
            options.base_url, options.model, key_variable=options.key_variable,
            timeout_s=options.limits.timeout_s, structured=options.structured,
        )  # fmt: skip
    from interlingua.clients.local_model import LocalModel
    from interlingua.lm.load import load

    held = load(options.model, device=device)
    return LocalModel(
        held.model, held.tokenizer, name=held.name, revision=held.revision, batch_size=options.batch_size,
        cache_limit=held.abilities.cache,
    )  # fmt: skip


def estimate_text(report: dict[str, Any]) -> str:
    """The dry run as text."""
    lines = [f"{'':<8}{'questions':>10}{'answered':>10}{'requests':>10}{'prompt tokens':>15}{'answer tokens':>15}"]
    lines += [
        f"{name:<8}{s['questions']:>10,}{s['answered']:>10,}{s['requests']:>10,}{s['prompt_tokens']:>15,}"
        f"{s['answer_tokens']:>15,}"
        for name, s in report["sides"].items()
    ]
    if report["money"] is None:
        lines.append(f"money: unknown; write the price of {report['model']['model']!r} into a table (--prices FILE)")
    else:
        lines.append(
            f"money: about {report['money']:.4f} {report['currency']}, at most "
            f"{report['money_if_answers_are_longest']:.4f} if every answer is as long as is allowed (without retries)"
        )
    if report["minutes_at_least"] is not None:
        lines.append(f"time: at least {report['minutes_at_least']:g} minutes by the limits")
    return "\n".join([*lines, "nothing asked, nothing written (--dry-run)"])


def result_text(made: ProfileSet) -> str:
    """Coverage, failures and cost of a written set."""
    card = made.card
    lines = []
    for side, found in card["coverage"].items():
        rest = ", ".join(f"{found[s]:,} {s}" for s in ("failed", "unasked", "empty") if found[s])
        lines.append(
            f"{side}: {found['written']:,} profiles written ({100 * found['share_written']:.1f} %)"
            + (f"; fallback texts for the rest: {rest}" if rest else "")
        )
        lines += [f"  {failure['id']}: {failure['reason']}" for failure in card["failures"][side][:3]]
    run, currency = card["cost"]["this_run"], card["cost"]["currency"]
    money = "unknown (no price)" if run["money"] is None else f"{run['money']:.4f} {currency}"
    lines.append(
        f"cost: {run['calls']:,} calls, {run['prompt_tokens']:,} + {run['completion_tokens']:,} tokens, money {money}"
    )
    if card["stopped"]:
        lines.append(f"stopped: {card['stopped']}; run the same command again to continue")
    if any(found["failed"] for found in card["coverage"].values()):
        lines.append("ask again for what failed: the same command with --retry-failed")
    return "\n".join([*lines, f"written to {made.path}"])


COMMANDS = {"profiles": profiles}
