"""``interlingua mcp``: the real process over stdin and stdout, asked by the SDK's own client."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("mcp.server.mcpserver")
from mcp import Client, StdioServerParameters

import interlingua
from interlingua.recommender import Recommender
from interlingua.runs.stages import run


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    out = tmp_path_factory.mktemp("runs")
    return interlingua.load(run("textknn", out=out, data="planted", overrides=options, device="cpu"))


def ask(work: Callable[[Client], Coroutine[Any, Any, None]], *arguments: str) -> None:
    """Starts the command as an assistant does, and speaks with it."""
    paths = os.pathsep.join(str(Path(each).resolve()) for each in sys.path if each)
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "interlingua", "mcp", *arguments, "--device", "cpu"],
        env={"PYTHONPATH": paths, "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
    )  # fmt: skip

    async def talk() -> None:
        with anyio.fail_after(180):
            async with Client(server) as client:
                await work(client)

    anyio.run(talk)


async def said_of(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool(name, arguments)
    assert not answer.is_error, answer
    return dict(json.loads(answer.content[0].text))


def test_an_assistant_finds_asks_and_is_told_why(texts: Recommender) -> None:
    async def work(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"recommend", "similar", "explain", "why_not", "search"}
        assert all(tool.annotations.read_only_hint and tool.description for tool in tools.values())
        assert tools["recommend"].input_schema["properties"]["k"]["maximum"] == 100
        title = texts.titles[7]
        found = (await said_of(client, "search", words=title.upper(), k=3))["items"]
        assert found[0] == {"item_id": "i00007", "title": title, "found_by": "title"}
        assert {one["found_by"] for one in found[1:]} <= {"title", "text"}
        by_text = (await said_of(client, "search", words="galaxy orbit rocket", k=3))["items"]
        assert [one["found_by"] for one in by_text] == ["text"] * 3
        listed = (await said_of(client, "recommend", user="u00001", k=4))["items"]
        assert [one["item_id"] for one in listed] == [one.item_id for one in texts.recommend("u00001", k=4)]
        near = (await said_of(client, "similar", item="i00007", k=2))["items"]
        assert [one["item_id"] for one in near] == [one.item_id for one in texts.similar_items("i00007", k=2)]
        why = await said_of(client, "explain", item=listed[0]["item_id"], user="u00001")
        assert why["sentence"] == texts.explain(listed[0]["item_id"], "u00001").sentence
        not_it = await said_of(client, "why_not", item="i00007", user="u00001", k=2, where='title == "x"')
        assert not_it["blocks"][-1]["kind"] == "filter"
        assert not_it["sentences"]
        noted = await said_of(client, "recommend", history=["gone"], k=1)
        assert "'gone'" in noted["notes"][0]

        for name, arguments, words in [
            ("recommend", {"user": "nobody"}, "unknown user 'nobody'"),
            ("recommend", {}, "give either a user or a history"),
            ("recommend", {"history": [], "where": "prise < 3"}, "prise"),
            (
                "recommend",
                {"history": [], "filters": "prise < 3"},
                "unknown argument 'filters' in the tool recommend; did you mean 'where'?",
            ),
            ("recommend", {"user_id": "u00001"}, "did you mean 'user'?"),
            ("similar", {"item": "i0000"}, "did you mean"),
            ("recommend", {"history": [], "k": 1000}, "recommend: k is 1000; give at most 100"),
            ("recommend", {"history": [], "k": "many"}, "recommend: k is 'many'; give a whole number"),
            ("recommend", {"history": [], "k": 2.5}, "recommend: k is 2.5; give a whole number"),
            ("recommend", {"history": ["i00001", 7]}, "recommend: history, place 2 is 7; give a text"),
            ("recommend", {"history": "i00001"}, "recommend: history is 'i00001'; give a list"),
            ("recommend", {"history": [], "new_share": -1}, "recommend: new_share is -1; give at least 0"),
            ("similar", {}, "similar: the argument 'item' is missing; give it"),
            ("search", {"words": ""}, "search: words is ''; give a text of at least 1 character"),
            ("search", {"words": "x" * 3000}, "give a text of at most 2,000 characters"),
            ("add_items", {}, "unknown tool 'add_items' (5 known: explain, recommend, search, similar, why_not)"),
        ]:
            refused = await client.call_tool(name, arguments)
            assert refused.is_error, name
            text = refused.content[0].text
            assert words in text
            assert "pydantic" not in text
            assert not text.startswith("Error executing tool")
        assert (await said_of(client, "recommend", history=[], k=1))["items"]  # it goes on after all of these

    ask(work, str(texts.session.done["evaluate"].path))


def test_the_promoted_run_of_a_store_needs_no_name(
    texts: Recommender, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    pytest.importorskip("sqlalchemy")
    from interlingua.life.versions import enter
    from interlingua.store import Store

    place = str(tmp_path / "shop.sqlite")
    with Store.open(place) as store:
        code, _, said = cli("mcp", "--store", place)
        assert (code, "no version is promoted in" in said) == (2, True)
        made = enter(store, texts.session.done["evaluate"].path)
        store.promote(made.version)
    code, _, said = cli("mcp")
    assert (code, "or a store with a promoted one (--store)" in said) == (2, True)

    async def work(client: Client) -> None:
        listed = (await said_of(client, "recommend", user="u00001", k=4))["items"]
        assert [one["item_id"] for one in listed] == [one.item_id for one in texts.recommend("u00001", k=4)]

    ask(work, "--store", place)
