"""Estimates the cost of writing profiles before the first call: questions, tokens and money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interlingua.clients.answers import ProfileAnswer
from interlingua.clients.completion import PER_MESSAGE, Completer, Request
from interlingua.clients.ledger import Entry
from interlingua.profiles.write import Job, known

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Estimate:
    """One side's questions."""

    questions: int
    """number of different questions"""
    answered: int
    """those for which the ledger has an answer or a failure (without failures that are to be retried)"""
    prompt_tokens: int
    """tokens of the questions that would be sent"""
    answer_tokens: int
    """expected"""
    most_answer_tokens: int
    """if every answer were as long as is allowed"""

    @property
    def requests(self) -> int:
        """Questions that would be sent now (without further tries)."""
        return self.questions - self.answered


def estimate(job: Job, completer: Completer) -> dict[str, Any]:
    """Questions, tokens and money for items and users. Makes no call and writes nothing.

    The number of questions is exact, unless some of the missing item profiles turn out equal. A user's prompt contains
    item profiles; missing ones are counted with their expected length.
    """
    train = job.prepared.split.train
    inputs = {row: job.inputs.item(row) for row in range(train.num_items)}
    of_items = {row: job.request("item", inputs[row].payload) for row in job.item_indices if inputs[row].payload}
    keys = {row: request.key(completer.identity, job.config.sampling) for row, request in of_items.items()}
    entries = known(job.ledger_path, list(dict.fromkeys(keys.values())))
    texts = {row: found.fallback for row, found in inputs.items()}
    texts |= {row: _text(keys[row], entries.get(keys[row]), job, texts[row]) for row in of_items}
    users = (job.inputs.user(row, texts).payload for row in job.user_indices)
    of_users = [job.request("user", payload) for payload in users if payload]
    user_keys = {request.key(completer.identity, job.config.sampling): request for request in of_users}
    sides = {
        "items": _side(job, completer, {keys[row]: request for row, request in of_items.items()}, entries),
        "users": _side(job, completer, user_keys, known(job.ledger_path, list(user_keys))),
    }
    return _report(job, completer, sides)


def _text(key: str, entry: Entry | None, job: Job, fallback: str) -> str:
    """An item's profile, its fallback text if it failed, or a unique text of the expected length."""
    if entry is not None and entry.state == "done":
        return ProfileAnswer.model_validate_json(entry.value).summarization
    if entry is not None and not job.retry_failed:
        return fallback
    return key + "x" * max(job.config.answer_tokens * CHARS_PER_TOKEN - len(key), 0)


def _side(job: Job, completer: Completer, requests: Mapping[str, Request], entries: Mapping[str, Entry]) -> Estimate:
    answered = {k for k, e in entries.items() if e.state == "done" or not job.retry_failed}
    left = [request for key, request in requests.items() if key not in answered]
    systems = {request.system: completer.tokens(request.system) for request in left}
    prompts = sum(systems[r.system] + completer.tokens(r.user) + 2 * PER_MESSAGE for r in left)
    expected = min(job.config.answer_tokens, job.config.sampling.max_tokens)
    most = job.config.sampling.max_tokens
    return Estimate(len(requests), len(requests) - len(left), prompts, expected * len(left), most * len(left))


def _report(job: Job, completer: Completer, sides: Mapping[str, Estimate]) -> dict[str, Any]:
    price = job.price(completer)
    prompts = sum(side.prompt_tokens for side in sides.values())
    answers = sum(side.answer_tokens for side in sides.values())
    most = sum(side.most_answer_tokens for side in sides.values())
    return {
        "model": completer.identity,
        "prompts": job.prompts.name,
        "requests": sum(side.requests for side in sides.values()),
        "answered": sum(side.answered for side in sides.values()),
        "sides": {
            name: {
                "questions": side.questions,
                "answered": side.answered,
                "requests": side.requests,
                "prompt_tokens": side.prompt_tokens,
                "answer_tokens": side.answer_tokens,
            }
            for name, side in sides.items()
        },
        "prompt_tokens": prompts,
        "answer_tokens": answers,
        "currency": job.config.prices.currency,
        "money": None if price is None else round(price.of(prompts, answers), 6),
        "money_if_answers_are_longest": None if price is None else round(price.of(prompts, most), 6),
        "minutes_at_least": _minutes(job, prompts + answers, sum(side.requests for side in sides.values())),
    }


def _minutes(job: Job, tokens: int, requests: int) -> float | None:
    """The time that the limits alone require; None without limits."""
    limits = job.config.limits
    shares = [
        amount / limit
        for amount, limit in ((requests, limits.requests_per_minute), (tokens, limits.tokens_per_minute))
        if limit
    ]
    return round(max(shares), 2) if shares and job.config.base_url is not None else None
