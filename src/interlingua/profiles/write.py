"""Profiles written by a language model: items first, then users from what their items' profiles say.

Source: RLMRec (arXiv 2310.15950v5, section 3.2, appendix A.2): an item's profile says who would like it, from its
description or, without one, its attributes and some reviews; a user's profile is written from a uniform sample of the
user's items with their profiles and the user's own reviews. Only train interactions are read. The summarization is
what is encoded.

**Deviations:** a user or item without a profile keeps a declared fallback text instead of being dropped from the data;
the prompts are our own; the lengths asked for are 120 and 100 words (the paper's: 200 and 100).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from interlingua.clients.answers import ProfileAnswer, profile_of
from interlingua.clients.asking import Asker, Check, Round, ServerError, Wallet, run
from interlingua.clients.completion import Answer, Completer, Request
from interlingua.clients.ledger import Entry, Ledger, Spent, opened
from interlingua.clients.prices import FREE, Price, price_of
from interlingua.data.prepared import Dataset
from interlingua.profiles import store as profile_set
from interlingua.profiles.config import ProfilesConfig
from interlingua.profiles.inputs import Input, Inputs, sampled_rows
from interlingua.profiles.prompts import Prompts, prompts_for
from interlingua.profiles.rewriting import Rewriting
from interlingua.profiles.store import ProfileSet, Row, Status
from interlingua.progress import say

ANSWER = ("summarization", "reasoning")
LEDGER = "ledger.sqlite"
Sides = Literal["items", "users", "both"]


@dataclass
class Job:
    """A job of writing profiles: data, options, and the output folder."""

    prepared: Dataset
    config: ProfilesConfig
    out: Path
    seed: int = 7
    sides: Sides = "both"
    sample: int | None = None
    """number of items and of users to write, drawn uniformly; the others keep their fallback text"""
    budget: float | None = None
    """money for all calls of the ledger together; None: no limit"""
    retry_failed: bool = False
    reviews: Mapping[tuple[int, int], str] = field(default_factory=dict)
    ledger: Path | None = None
    """file of answers; None: in the folder ``out``"""

    def __post_init__(self) -> None:
        self.inputs: Inputs | Rewriting = Inputs(self.prepared, self.config, self.seed, self.reviews)
        if self.config.based_on is not None:
            self.inputs = Rewriting.of(self.config.based_on, self.prepared, self.out)
        self.prompts: Prompts = prompts_for(self.prepared.catalogue.domain, self.config.prompts)
        train = self.prepared.split.train
        self.item_indices = self._chosen("items", train.num_items)
        self.user_indices = self._chosen("users", train.num_users)

    def _chosen(self, side: str, total: int) -> list[int]:
        if self.sides not in (side, "both"):
            return []
        count = total if self.sample is None else self.sample
        return [int(row) for row in sampled_rows(count, total, self.seed, side)]

    @property
    def ledger_path(self) -> Path:
        """The file of answers."""
        return self.ledger or self.out / LEDGER

    def price(self, completer: Completer) -> Price | None:
        """The model's price; a model on this machine costs nothing."""
        if self.config.base_url is None:
            return FREE
        return price_of(str(completer.identity["model"]), self.config.prices, needed=self.budget is not None)

    def request(self, side: Literal["item", "user"], payload: str) -> Request:
        """The question for one entity."""
        prompts = self.prompts
        return Request(getattr(prompts, side), payload, ANSWER, getattr(prompts, f"{side}_opening"))


def check(answer: Answer) -> bytes:
    """The form in which the ledger keeps an answer: the checked profile as JSON."""
    return profile_of(answer.text, answer.finish).model_dump_json().encode()


def write(job: Job, completer: Completer) -> ProfileSet:
    """Requests the missing profiles and writes the profile set.

    Raises:
        ServerError: the server refuses every call; answers so far are kept.
        ConfigError: a budget without a price.
    """
    with opened(job.ledger_path) as ledger:
        before = ledger.spent()
        asker = Asker(
            completer, ledger, job.config.sampling, job.config.limits,
            Wallet(job.price(completer), job.budget, before.money),
        )  # fmt: skip
        items, users, counts, rounds = run(_both_sides(job, asker))
        spent = ledger.spent()
    stopped = next((r.stopped for r in rounds.values() if r.stopped), "")
    card = _card(job, completer, rounds, before, spent, stopped)
    card["coverage"] = {"items": coverage(items), "users": coverage(users)}
    card["wanted"] = counts
    card["failures"] = {"items": failures(items), "users": failures(users)}
    made = profile_set.save(job.out, items, users, card)
    if any(r.fatal for r in rounds.values()):
        raise ServerError(f"stopped: {stopped}; answers so far are kept in {job.ledger_path}: run again to continue")
    if stopped:
        say(f"stopped: {stopped}; answers so far are kept, run again to continue")
    return made


async def _both_sides(job: Job, asker: Asker) -> tuple[list[Row], list[Row], dict[str, int], dict[str, Round]]:
    """Rows of items and of users, the number of each that the model should write, and how the rounds went."""
    train, inputs = job.prepared.split.train, job.inputs
    items = {row: inputs.item(row) for row in range(train.num_items)}
    requests = _requests(job, "item", {row: items[row] for row in job.item_indices})
    try:
        of_items = await _ask(job, asker, requests, "item profiles")
        rows = _rows(items, requests, asker, of_items, train.item_ids)
        texts = {row: made.profile for row, made in enumerate(rows)}
        users = {row: inputs.user(row, texts) for row in range(train.num_users)}
        user_requests = _requests(job, "user", {row: users[row] for row in job.user_indices})
        if of_items.stopped:  # asking for users now would write their profiles from fallback texts of items
            of_users = Round(
                stopped=of_items.stopped, entries=asker.ledger.found([asker.key(r) for r in user_requests.values()])
            )
        else:
            of_users = await _ask(job, asker, user_requests, "user profiles")
    finally:
        await asker.completer.close()
    counts = {"items": len(requests), "users": len(user_requests)}
    return (
        rows,
        _rows(users, user_requests, asker, of_users, train.user_ids),
        counts,
        {"items": of_items, "users": of_users},
    )


async def _ask(job: Job, asker: Asker, requests: Mapping[int, Request], label: str) -> Round:
    checked: Check = check
    return await asker.ask(list(requests.values()), checked, label, retry_failed=job.retry_failed)


def _requests(job: Job, side: Literal["item", "user"], inputs: Mapping[int, Input]) -> dict[int, Request]:
    return {row: job.request(side, found.payload) for row, found in inputs.items() if found.payload}


def _rows(
    inputs: Mapping[int, Input], requests: Mapping[int, Request], asker: Asker, answers: Round, ids: Any
) -> list[Row]:
    """One row per entity, in order, whatever the outcome of its question."""
    out = []
    for row, found in inputs.items():
        entry = answers.entries.get(asker.key(requests[row])) if row in requests else None
        out.append(_row(str(ids[row]), found, entry))
    return out


def _row(ident: str, found: Input, entry: Entry | None) -> Row:
    if entry is not None and entry.state == "done":
        profile = ProfileAnswer.model_validate_json(entry.value)
        return Row(ident, profile.summarization, profile.reasoning, "written", "", found.sources)
    status: Status = "failed" if entry is not None else "unasked" if found.payload else "empty"
    return Row(ident, found.fallback, "", status, entry.reason if entry else "", found.sources)


def coverage(rows: Sequence[Row]) -> dict[str, Any]:
    """The number of rows with each status, and the fraction that the model wrote."""
    counts = Counter[str](row.status for row in rows)
    fraction = counts["written"] / len(rows) if rows else 0.0
    return {status: counts[status] for status in profile_set.STATUSES} | {"share_written": round(fraction, 4)}


def failures(rows: Sequence[Row], examples: int = 20) -> list[dict[str, str]]:
    """The first failed rows with their reasons (all of them are in the tables)."""
    return [{"id": row.id, "reason": row.reason} for row in rows if row.status == "failed"][:examples]


def _card(
    job: Job, completer: Completer, rounds: Mapping[str, Round], before: Spent, spent: Spent, stopped: str
) -> dict[str, Any]:
    price, split = job.price(completer), job.prepared.split
    money = None if price is None else round((spent - before).money, 6)
    shown = {k: v for k, v in asdict(spent - before).items() if k != "money"}
    return {
        "model": completer.identity,
        "prompts": {"name": job.prompts.name, "sha256": job.prompts.hashes},
        "data": {
            "name": job.prepared.card["name"],
            "fingerprint": job.prepared.fingerprint,
            "protocol": split.protocol,
            "horizon": split.horizon,
            "train_interactions": len(split.train),
        },
        "based_on": job.inputs.name,
        "seed": job.seed,
        "sample": job.sample,
        "sides": job.sides,
        "config": job.config.model_dump(mode="json"),
        "reviews": len(job.reviews),
        "questions": {side: {"found": r.found, "asked": r.requested, "calls": r.calls} for side, r in rounds.items()},
        "cost": {
            "currency": job.config.prices.currency,
            "this_run": shown | {"money": money},
            "ledger": {k: v for k, v in asdict(spent).items() if price is not None or k != "money"},
            "budget": job.budget,
        },
        "stopped": stopped,
    }


def known(ledger_path: Path, keys: Sequence[str]) -> dict[str, Entry]:
    """The entries of an existing ledger for some questions; nothing is created."""
    if not ledger_path.is_file():
        return {}
    ledger = Ledger(ledger_path)
    try:
        return ledger.found(keys)
    finally:
        ledger.close()
