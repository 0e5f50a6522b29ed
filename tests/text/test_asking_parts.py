"""The parts of asking a language model, one by one: pace, waits, ledger, repair of answers, prices, prompts."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import deque
from pathlib import Path

import pytest

from interlingua.clients.answers import UnusableAnswerError, object_in, profile_of
from interlingua.clients.asking import run
from interlingua.clients.completion import Request, Sampling, most_tokens
from interlingua.clients.ledger import Ledger, Spent
from interlingua.clients.pace import Limits, Pace, backoff, delay
from interlingua.clients.prices import Price, price_of, read_prices
from interlingua.data.domain import Domain
from interlingua.errors import ArtifactError, ConfigError
from interlingua.profiles.prompts import prompts_for, shipped


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def begun(limits: Limits, tokens: list[float]) -> list[float]:
    clock = Clock()

    async def go() -> list[float]:
        pace = Pace(limits, clock, clock.sleep, lambda: 0.5)
        return [(await pace.begin(t))[0] - 1000.0 for t in tokens]

    return asyncio.run(go())


def test_no_minute_holds_more_requests_than_allowed() -> None:
    times = begun(Limits(requests_per_minute=3), [1.0] * 8)
    assert times == [0, 0, 0, 60, 60, 60, 120, 120]


def test_no_minute_holds_more_tokens_than_allowed_and_a_larger_call_still_runs() -> None:
    assert begun(Limits(tokens_per_minute=100), [60, 40, 50, 500, 10]) == [0, 0, 60, 120, 180]


def test_a_place_frees_as_soon_as_the_oldest_calls_are_a_minute_old() -> None:
    limits = Limits(requests_per_minute=2, tokens_per_minute=100)
    entries = deque([[0.0, 10.0], [20.0, 80.0]])
    assert delay(entries, 30.0, 10, limits) == 30.0  # the first leaves at 60
    assert delay(entries, 30.0, 50, limits) == 50.0  # the second must leave too, at 80
    assert delay(deque(), 30.0, 1e9, limits) == 0.0


def test_waits_double_are_partly_random_and_never_below_the_servers_wish() -> None:
    limits = Limits(backoff_s=1.0, backoff_max_s=10.0)
    assert [backoff(n, limits, None, lambda: 0.0) for n in (1, 2, 3, 9)] == [0.5, 1.0, 2.0, 5.0]
    assert [backoff(n, limits, None, lambda: 1.0) for n in (1, 2, 3, 9)] == [1.0, 2.0, 4.0, 10.0]
    assert backoff(1, limits, 30.0, lambda: 0.0) == 30.0


GOOD = json.dumps({"summarization": "Likes tea.", "reasoning": "Bought tea."})


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Here you are:\n\n{GOOD}\n\nHope it helps {{really}}!",
        f"<think>maybe {{'x': 1}}?</think>{GOOD}",
        '{"summarization": "Likes tea.", "reasoning": "Bought tea.",}',
        "{'summarization': 'Likes tea.', 'reasoning': 'Bought tea.'}",
        "{“summarization”: “Likes tea.”, “reasoning”: “Bought tea.”}",
        '{summarization: "Likes tea.", reasoning: "Bought tea."}',
        '{"summarization": "Likes tea.", "reasoning": "Bought tea."',
        '{"Summarization": "Likes\ntea.", "Reasoning": "Bought  tea."}',
        '{"summary": "Likes tea.", "reasoning": ["Bought", "tea."], "confidence": 0.9}',
        "{I think} " + GOOD,
    ],
)
def test_nearly_json_is_read(text: str) -> None:
    found = profile_of(text)
    assert (found.summarization, found.reasoning) == ("Likes tea.", "Bought tea.")


def test_quotes_inside_a_text_that_nobody_escaped_are_kept() -> None:
    found = profile_of('{"summarization": "Likes "green" tea, and "black", too.", "reasoning": "x"}')
    assert found.summarization == 'Likes "green" tea, and "black", too.'


def test_a_cut_reasoning_is_left_out_a_cut_summarization_is_unusable() -> None:
    assert profile_of('{"summarization": "Likes tea.", "reasoning": "Bou', "length").reasoning == ""
    with pytest.raises(UnusableAnswerError, match="cut"):
        profile_of('{"summarization": "Likes te', "length")


@pytest.mark.parametrize("text", ["", "No.", "{", "[1, 2]", "{}", '{"a": 1}', '{"summarization": "None"}', "{" * 5000])
def test_what_is_no_answer_says_so(text: str) -> None:
    with pytest.raises(UnusableAnswerError):
        profile_of(text)


def test_repair_is_quick_on_hostile_texts() -> None:
    for text in ('{"a": "' + '", ' * 20000, "{" * 20000, '{"a": "' + "\\" * 20000, "{ " + "x" * 100_000):
        object_in(text)  # a quadratic search would take minutes


def test_the_ledger_keeps_answers_failures_and_open_payments(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    first, second = ledger.pay("a", 100, 50, 0.5), ledger.pay("b", 100, 50, 0.5)
    ledger.settle(first, 80, 20, 0.25)
    ledger.done("a", "m", "prompt", b"{}", "raw", 1)
    ledger.failed("b", "m", "prompt", "why", "raw", 3)
    ledger.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    found = again.found(["a", "b", "c"])
    assert (found["a"].state, found["a"].value, found["b"].state, found["b"].reason) == ("done", b"{}", "failed", "why")
    assert "c" not in found
    assert again.spent() == Spent(2, 180, 70, 0.75, 1)
    again.settle(second, 1, 1, 0.0)
    assert again.spent().unknown == 0
    again.done("b", "m", "prompt", b"[]", "raw", 1)
    assert again.found(["b"])["b"].state == "done"
    again.close()


def test_other_files_and_newer_ledgers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be read as one " * 50)
    with pytest.raises(ArtifactError, match="ledger"):
        Ledger(tmp_path / "text")
    base = sqlite3.connect(tmp_path / "newer")
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(ArtifactError, match="schema 99"):
        Ledger(tmp_path / "newer")


def test_a_key_changes_with_everything_that_changes_the_answer() -> None:
    base = Request("s", "u", ("a",))
    model = {"model": "m"}
    keys = {
        base.key(model, Sampling()),
        Request("t", "u", ("a",)).key(model, Sampling()),
        Request("s", "v", ("a",)).key(model, Sampling()),
        Request("s", "u", ("a", "b")).key(model, Sampling()),
        base.key({"model": "n"}, Sampling()),
        base.key(model, Sampling(temperature=0.5)),
    }
    assert len(keys) == 6
    assert base.key(model, Sampling()) == Request("s", "u", ("a",)).key(model, Sampling())


def test_the_reserved_tokens_are_more_than_any_tokenizer_makes() -> None:
    request = Request("système", "七人の侍 🎬", ("a",))
    assert most_tokens(request) > len("système".encode()) + len("七人の侍 🎬".encode())


def test_prices(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('currency = "EUR"\n[models."a/b:c"]\ninput = 1.5\noutput = 2.0\n')
    table = read_prices(file)
    assert price_of("a/b:c", table, needed=True) == Price(input=1.5, output=2.0)
    assert Price(input=1.5, output=2.0).of(1_000_000, 500_000) == 2.5
    assert price_of("other", table, needed=False) is None
    with pytest.raises(ConfigError, match="other"):
        price_of("other", table, needed=True)
    file.write_text("models = 3")
    with pytest.raises(ConfigError, match="models"):
        read_prices(file)
    with pytest.raises(ConfigError, match="absent"):
        read_prices(tmp_path / "absent.toml")


@pytest.mark.parametrize("name", shipped())
def test_every_prompt_has_both_parts_and_asks_for_the_fields(name: str) -> None:
    prompts = prompts_for(Domain("gadget", "use", "used"), name)
    for part in (prompts.item, prompts.user):
        assert "summarization" in part
        assert "reasoning" in part
        assert "JSON" in part
        assert "{" not in part
    assert prompts.item_opening
    assert prompts.user_opening


def test_the_catalogues_noun_chooses_the_prompts() -> None:
    domains = {"movie", "product", "game", "book", "place", "generic"}
    assert set(shipped()) == domains | {"intent", "motives", "situations", "neighbours"}
    assert prompts_for(Domain("movie", "watch", "watched")).name == "movie"
    other = prompts_for(Domain("song", "hear", "heard"))
    assert other.name == "generic"
    assert "song" in other.item
    with pytest.raises(ConfigError, match="movies"):
        prompts_for(Domain(), "movies")


def test_own_prompts_need_both_parts(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("== item ==\nDescribe the {noun}.\n== user ==\nDescribe who has {past} them.\n")
    found = prompts_for(Domain("song", "hear", "heard"), str(file))
    assert (found.item, found.user) == ("Describe the song.", "Describe who has heard them.")
    file.write_text("== item ==\nonly this\n")
    with pytest.raises(ConfigError, match="== user =="):
        prompts_for(Domain(), str(file))


def test_coroutines_run_inside_a_running_loop_too() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 4

    async def notebook() -> int:
        return run(answer())

    assert run(answer()) == asyncio.run(notebook()) == 4
