"""Answers of a model on this machine: tiny random ones for the mechanics, SmolLM2 for the real thing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import polars as pl
import pytest

from interlingua.clients.asking import run
from interlingua.clients.completion import Answer, CallError, Request, Sampling, most_tokens
from interlingua.clients.local_model import LocalModel
from interlingua.config import build
from interlingua.data.sources.planted import generate
from interlingua.profiles.config import ProfilesConfig
from interlingua.profiles.store import load
from interlingua.profiles.write import Job, write

FIELDS = ("summarization", "reasoning")


def tiny_model(batch_size: int = 4) -> LocalModel:
    from interlingua.testing.tiny_models import tiny

    held = tiny("llama")
    return LocalModel(held.model, held.tokenizer, name="tiny", revision="r", batch_size=batch_size)


def answers(model: LocalModel, requests: list[Request], sampling: Sampling) -> list[Answer]:
    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(model.complete(request, sampling) for request in requests))

    return run(all_at_once())


def test_the_answer_is_always_json_with_the_fields_in_order() -> None:
    requests = [Request("Describe.", f'{{"title": "Heat {n}"}}', FIELDS, "Viewers who") for n in range(6)]
    found = answers(tiny_model(), requests, Sampling(max_tokens=24))
    for answer in found:
        texts = json.loads(answer.text)
        assert list(texts) == list(FIELDS)
        assert texts["summarization"].startswith("Viewers who")
        assert answer.completion_tokens <= 24
        assert answer.prompt_tokens > 10


def test_a_batch_gives_what_each_question_gets_alone() -> None:
    requests = [Request("Describe.", "x" * (5 + 30 * n), FIELDS) for n in range(3)]
    sampling = Sampling(max_tokens=16)
    together = answers(tiny_model(3), requests, sampling)
    alone = [answers(tiny_model(1), [request], sampling)[0] for request in requests]
    assert [a.text for a in together] == [a.text for a in alone]


@pytest.mark.parametrize("limit", [1 << 30, 0])
def test_the_shared_beginning_read_once_gives_the_answers_of_the_models_own_loop(limit: int) -> None:
    """Greedy, one field, no penalty: transformers' generate is the independent implementation."""
    import torch

    from interlingua.clients import local_decode
    from interlingua.testing.tiny_models import tiny

    held = tiny("llama")
    generator = torch.Generator().manual_seed(0)
    prefix = torch.randint(3, 390, (9,), generator=generator).tolist()
    prompts = [prefix + torch.randint(3, 390, (n,), generator=generator).tolist() for n in (3, 11, 1)]
    writings = [local_decode.Writing([7], []) for _ in prompts]
    never = torch.zeros(400, dtype=torch.bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_decode, "PENALTY", 1.0)
        local_decode.write_answers(held.model, prompts, writings, never, never, 0, Sampling(), limit)
    for ids, writing in zip(prompts, writings, strict=True):
        expected = held.model.generate(
            input_ids=torch.tensor([ids]), max_new_tokens=7, min_new_tokens=7, do_sample=False, eos_token_id=None,
        )  # fmt: skip
        assert writing.fields == [expected[0, len(ids) :].tolist()]


def test_free_text_and_sampling() -> None:
    request = Request("Say", "something")
    (greedy,) = answers(tiny_model(), [request], Sampling(max_tokens=8))
    assert greedy.completion_tokens <= 8
    warm = Sampling(max_tokens=12, temperature=2.0, seed=1)
    (first,) = answers(tiny_model(), [request], warm)
    (again,) = answers(tiny_model(), [request], warm)
    assert first == again


def test_a_prompt_that_does_not_fit_is_a_failure_that_says_what_to_do() -> None:
    with pytest.raises(CallError, match="fewer or shorter texts"):
        answers(tiny_model(), [Request("x", "y" * 5000, FIELDS)], Sampling())


def test_a_prompt_that_does_not_fit_fails_alone_and_its_neighbours_are_answered() -> None:
    async def both() -> list[Answer | BaseException]:
        model = tiny_model()
        requests = [Request("S", "x" * size) for size in (5, 100_000, 7)]
        asked = (model.complete(request, Sampling(max_tokens=4)) for request in requests)
        return await asyncio.gather(*asked, return_exceptions=True)

    found = run(both())
    assert isinstance(found[0], Answer)
    assert isinstance(found[2], Answer)
    assert isinstance(found[1], CallError)
    assert found[1].replied


def test_turns_before_a_question_are_read_and_part_of_its_key() -> None:
    plain, later = Request("S", "And now?"), Request("S", "And now?", earlier=(("First?", "This."),))
    assert [m["role"] for m in later.messages()] == ["system", "user", "assistant", "user"]
    model, sampling = tiny_model(), Sampling(max_tokens=4)
    short, long = answers(model, [plain, later], sampling)
    assert long.prompt_tokens > short.prompt_tokens
    keys = {request.key({"model": "m"}, sampling) for request in (plain, later)}
    assert len(keys) == 2
    assert most_tokens(later) > most_tokens(plain)


def test_a_whole_set_by_a_tiny_model(tmp_path: Path) -> None:
    """Whatever nonsense it writes: everybody has a text, and a second run asks nothing."""
    world = generate(num_users=6, num_items=6, seed=3, history=4)
    options = build(
        ProfilesConfig,
        {"sampling": {"max_tokens": 12}, "limits": {"backoff_s": 0.01}, "max_field_chars": 20, "sample_items": 1},
    )
    job = Job(world, options, tmp_path, budget=0.0)  # this machine costs nothing
    made = write(job, tiny_model())
    assert made.items["profile"].str.len_chars().min() > 0
    assert made.users["profile"].str.len_chars().min() > 0
    assert made.card["model"] == {"model": "tiny", "revision": "r", "format": 1}
    again = write(Job(world, options, tmp_path), tiny_model())
    assert again.card["questions"]["items"]["calls"] == again.card["questions"]["users"]["calls"] == 0
    assert again.items.equals(made.items)


def smollm2_profiles(folder: Path, count: int) -> None:
    from interlingua.lm.load import load as load_model

    world = generate(num_users=max(count, 10), num_items=max(count, 10), seed=5, history=8)
    held = load_model("smollm2-135m", device="cpu")
    model = LocalModel(held.model, held.tokenizer, name=held.name, revision=held.revision, batch_size=16)
    options = build(ProfilesConfig, {"sampling": {"max_tokens": 120}, "limits": {"concurrency": 16}})
    made = write(Job(world, options, folder, sample=count), model)
    for side, frame in (("items", made.items), ("users", made.users)):
        assert made.card["coverage"][side]["written"] >= 0.9 * count
        assert frame["profile"].str.len_chars().min() > 0
        written = frame.filter(pl.col("status") == "written")
        assert written["profile"].str.len_chars().mean() > 30
        assert written["profile"].n_unique() > 0.5 * written.height
    assert load(folder).card["cost"]["this_run"]["money"] == 0.0
    again = write(Job(world, options, folder, sample=count), model)
    assert again.card["questions"]["items"]["calls"] == again.card["questions"]["users"]["calls"] == 0


@pytest.mark.models
def test_smollm2_says_something_about_a_film() -> None:
    from interlingua.lm.load import load as load_model

    held = load_model("smollm2-135m", device="cpu")
    model = LocalModel(held.model, held.tokenizer, name=held.name, revision=held.revision)
    system = "You write short profiles of movies. Answer with JSON: `summarization`: who would like the movie."
    request = Request(system, '{"title": "Alien (1979)", "categories": "Horror, Sci-Fi"}', FIELDS, "Viewers who enjoy")
    (answer,) = answers(model, [request], Sampling(max_tokens=24))
    assert len(json.loads(answer.text)["summarization"].split()) > 4


@pytest.mark.models
@pytest.mark.slow
def test_smollm2_writes_fifty_profiles_of_each_side(tmp_path: Path) -> None:
    smollm2_profiles(tmp_path, 50)
