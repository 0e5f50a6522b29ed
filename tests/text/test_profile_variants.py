"""Profiles that are written of profiles, and intents: sets of their own, read one by one or joined."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlingua.clients.endpoint import Endpoint
from interlingua.config import build
from interlingua.data.prepare import SplitConfig, prepare_config
from interlingua.data.prepared import Dataset
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError, DataError
from interlingua.profiles.config import ProfilesConfig
from interlingua.profiles.estimate import estimate
from interlingua.profiles.store import ProfileSet, load
from interlingua.profiles.write import Job, write
from interlingua.runs import recipe as recipes
from interlingua.runs.plan import make_plan
from interlingua.runs.stages import run
from interlingua.testing.fake_server import FakeServer, serving
from interlingua.text.lsa import Lsa

VALUES: dict[str, Any] = {
    "data": {"name": "planted", "options": {"num_users": 20, "num_items": 16}},
    "backbone": {"name": "lightgcn", "embedding_dim": 8, "fit": {"epochs": 1}},
    "align": {"name": "contrastive"},
    "evaluate": {"protocols": ["full"]},
}


def recipe(text: dict[str, Any], **texts: dict[str, Any]) -> recipes.Recipe:
    return recipes.resolve({**VALUES, "text": {"name": "lsa", "users": "texts", **text}, "texts": texts})


class Server(FakeServer):
    """One whose address stays the same: it is part of what a question is."""

    url = ""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    with serving(made) as made.url:
        yield made


@pytest.fixture(scope="module")
def world() -> Dataset:
    return prepare_config(recipe({}).data, 7)


def asked(server: Server, world: Dataset, out: Path, **options: Any) -> ProfileSet:
    config = build(ProfilesConfig, {"base_url": server.url, "model": "fake", **options})
    return write(Job(world, config, out), Endpoint(server.url, "fake"))


@pytest.fixture(scope="module")
def sets(server: Server, world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProfileSet]:
    folder = tmp_path_factory.mktemp("sets")
    server.answer = lambda question: json.dumps({"summarization": f"base {abs(hash(question)) % 97}", "reasoning": ""})
    made = {"base": asked(server, world, folder / "base")}
    for name in ("motives", "situations"):
        server.answer = lambda question, name=name: json.dumps(  # type: ignore[misc]
            {"summarization": f"{name} of {json.loads(question)['profile']}", "reasoning": ""}
        )
        made[name] = asked(server, world, folder / name, prompts=name, based_on=str(folder / "base"))
    return made


def test_a_variant_reads_the_profile_and_keeps_its_sources(sets: dict[str, ProfileSet]) -> None:
    for side in ("items", "users"):
        base, variant = getattr(sets["base"], side), getattr(sets["motives"], side)
        assert variant["profile"].to_list() == [f"motives of {text}" for text in base["profile"]]
        assert variant["sources"].to_list() == base["sources"].to_list()
    card = sets["motives"].card
    assert card["based_on"] == sets["base"].fingerprint
    assert card["prompts"]["name"] == "motives"


def test_the_same_command_again_asks_nothing(sets: dict[str, ProfileSet], server: Server, world: Dataset) -> None:
    before = len(server.calls)
    path = sets["motives"].path
    again = asked(server, world, path, prompts="motives", based_on=str(sets["base"].path))
    assert len(server.calls) == before
    assert again.items.equals(sets["motives"].items)


def test_what_nobody_wrote_is_not_rewritten(sets: dict[str, ProfileSet], world: Dataset, tmp_path: Path) -> None:
    server = FakeServer()
    with serving(server) as url:
        some = build(ProfilesConfig, {"base_url": url, "model": "fake"})
        base = write(Job(world, some, tmp_path / "some", sample=3), Endpoint(url, "fake"))
        options = build(ProfilesConfig, {"base_url": url, "model": "fake", "prompts": "motives",
                                         "based_on": str(tmp_path / "some")})  # fmt: skip
        job = Job(world, options, tmp_path / "variant")
        planned = estimate(job, Endpoint(url, "fake"))
        made = write(job, Endpoint(url, "fake"))
    assert [planned["sides"][side]["questions"] for side in ("items", "users")] == [3, 3]
    assert made.card["wanted"] == {"items": 3, "users": 3}
    unwritten = base.items["status"] != "written"
    assert made.items.filter(unwritten)["profile"].to_list() == base.items.filter(unwritten)["profile"].to_list()


def test_intents_are_asked_with_instructions_of_their_own(server: Server, world: Dataset, tmp_path: Path) -> None:
    before = len(server.bodies)
    server.answer = lambda _question: json.dumps({"summarization": "to rest", "reasoning": ""})
    made = asked(server, world, tmp_path / "intent", prompts="intent")
    assert len(server.bodies) > before
    assert all("Name purposes" in json.dumps(body) for body in server.bodies[before:])
    assert made.card["based_on"] == ""


def test_a_set_is_not_written_over_what_it_reads(sets: dict[str, ProfileSet], world: Dataset) -> None:
    path = sets["base"].path
    with pytest.raises(ConfigError, match="the folder of the new set too"):
        Job(world, build(ProfilesConfig, {"based_on": str(path)}), path)


def test_a_base_that_saw_held_out_events_is_refused(sets: dict[str, ProfileSet], tmp_path: Path) -> None:
    other = generate(num_users=20, num_items=16, seed=7, split=SplitConfig(name="ratio", valid=0.3, test=0.3))
    with pytest.raises(DataError, match="not in the train part"):
        Job(other, build(ProfilesConfig, {"based_on": str(sets["base"].path)}), tmp_path)


def test_a_text_source_reads_several_sets_joined(sets: dict[str, ProfileSet], tmp_path: Path) -> None:
    paths = [str(sets[name].path) for name in ("base", "motives")]
    whole = recipe({"profiles": paths})
    session = run(whole, out=tmp_path, seed=7, device="cpu")
    pairs = zip(sets["base"].items["profile"], sets["motives"].items["profile"], strict=True)
    assert whole.text is not None
    direct = Lsa(whole.text.config, [f"{a} {b}" for a, b in pairs])
    assert session.exported("embed")["items"].allclose(direct.rows("items"))
    assert make_plan(recipe({"profiles": paths[::-1]}), 7)["embed"].key != make_plan(whole, 7)["embed"].key


def test_a_changed_set_of_several_makes_another_stage(
    sets: dict[str, ProfileSet], server: Server, world: Dataset, tmp_path: Path
) -> None:
    server.answer = lambda _question: json.dumps({"summarization": "something", "reasoning": ""})
    folder = tmp_path / "other"
    asked(server, world, folder)
    both = recipe({"profiles": [str(sets["base"].path), str(folder)]})
    before = make_plan(both, 7)["embed"].key
    server.answer = lambda _question: json.dumps({"summarization": "something else", "reasoning": ""})
    (folder / "ledger.sqlite").unlink()
    asked(server, world, folder)
    assert make_plan(both, 7)["embed"].key != before
    assert load(folder).items["profile"][0] == "something else"
