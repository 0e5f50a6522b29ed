"""``interlingua play``: from nothing to a page that answers; a better recipe takes over; Ctrl-C ends everything."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

from interlingua.data.sources.planted import PlantedConfig, world
from interlingua.runs.quick import quick_run
from interlingua.serve.training import Training
from interlingua.store import Store


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of events alone: what is quickest."""
    file = tmp_path_factory.mktemp("data") / "events.csv"
    world(PlantedConfig(num_users=60, num_items=40), 3).events.write_csv(file)
    return file


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of events with titles, as somebody has it."""
    made = world(PlantedConfig(num_users=60, num_items=40), 3)
    folder = tmp_path_factory.mktemp("data")
    events = made.events.join(made.items.select("item_id", "title"), on="item_id")
    events.write_csv(folder / "shop.csv")
    return folder / "shop.csv"


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return text if path == "/" else json.loads(text)
    finally:
        connection.close()


def until(found: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := found():
                return value
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("it did not come about")


@pytest.fixture
def playing(events: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "interlingua", "play", str(events), "--out", str(tmp_path / "runs")]
        more = {"TMPDIR": str(tmp_path), "BROWSER": "true"}
        made = subprocess.Popen(
            [*command, *options, "--no-open", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, **more},
        )  # fmt: skip
        started.append(made)
        return made

    yield start
    for each in started:
        if each.poll() is None:
            each.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process")
def test_from_a_csv_to_a_page_and_ctrl_c_ends_it_all(playing: Callable[..., Any], tmp_path: Path) -> None:
    process = playing()
    line = process.stdout.readline()
    assert line.startswith("page: http://127.0.0.1:"), process.stderr.read()
    port = int(line.split("/")[2].rpartition(":")[2])
    assert b"<title>Interlingua</title>" in until(lambda: ask(port, "/"))
    about = until(lambda: ask(port, "/v1/page/about"))
    assert about["name"] == "itemknn"
    assert about["training"]["name"] == "all-round"
    assert about["versions"]
    assert [each["serves"] for each in ask(port, "/v1/models")["models"]] == [True]
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert until(lambda: not any(each.is_running() for each in children))
    assert not list(tmp_path.glob("interlingua-play-*"))  # the store was temporary
    assert list((tmp_path / "runs").glob("evaluate-*"))  # the run is not


def test_what_is_trained_beside_is_entered_and_promoted_and_what_fails_is_said(tmp_path: Path, own_data: Path) -> None:
    run = quick_run(str(own_data), tmp_path / "runs", device="cpu")
    assert run.recipe.text is not None  # data with titles get a recipe that reads them
    said: list[str] = []
    lines = "print('prepare x: done in 1.0 s', file=sys.stderr); print('embed y: reusing z', file=sys.stderr)"
    program = f"import sys, json; {lines}; print(json.dumps({{'run': {str(run.path)!r}}}))"
    with Store.open(tmp_path / "play.sqlite") as store:
        training = Training([sys.executable, "-c", program], "better", 2, store, said.append)
        training.start(None)  # type: ignore[arg-type]
        state = until(lambda: training.state() if training.state()["ended"] else None)
        assert state["finished"] == state["stages"] == 2
        assert "answers from now on" in state["words"]
        assert store.promotions() == [run.done["evaluate"].key[:12]]
        assert said[-1] == state["words"]
        failing = "import sys; sys.exit('error: no room')"
        training = Training([sys.executable, "-c", failing], "better", 2, store, said.append)
        training.start(None)  # type: ignore[arg-type]
        assert until(lambda: training.state()["ended"])
        assert "could not be trained: error: no room" in training.state()["words"]
        waiting = Training([sys.executable, "-c", "import time; time.sleep(600)"], "better", 2, store, said.append)
        count = len(said)
        waiting.start(None)  # type: ignore[arg-type]
        waiting.stop()
        assert until(lambda: waiting.state()["ended"])
        assert len(said) == count  # who stopped it knows
        training.stop()  # ended already: nothing happens


def test_what_cannot_be_is_said_at_once(cli: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    import socket

    code, _, said = cli("play", "planted", "--full", "--quick")
    assert code == 2
    assert "give one of them" in said
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, said = cli("play", "planted", "--port", str(taken.getsockname()[1]), "--out", str(tmp_path))
    assert code == 2
    assert "is taken on this machine" in said
    assert not list(tmp_path.iterdir())


def test_options_reach_the_recipe_that_reads_them(tmp_path: Path, own_data: Path) -> None:
    from interlingua.cli.play import _options
    from interlingua.errors import ConfigError

    given = ["data.filter.min_user=2", "fuse.hidden=[]", "evaluate.retrieve=20"]
    every, first = _options(given, own_data, quick=False)
    assert first == ["data.filter.min_user=2", "evaluate.retrieve=20", f'data.options.items="{own_data}"']
    assert sorted(every) == sorted([*first, "fuse.hidden=[]"])
    for overrides, items, words in [
        (given, None, "--set fuse.hidden=[]: with --quick only options of"),
        (["data.name=planted"], None, "write the data behind the command"),
        (["data.options.items=x.csv"], own_data, "name the items twice"),
        ([], tmp_path / "none.csv", "there is no file"),
    ]:
        with pytest.raises(ConfigError) as error:
            _options(overrides, items, quick=True)
        assert words in str(error.value)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process")
def test_own_events_and_items_in_one_command(playing: Callable[..., Any], tmp_path: Path) -> None:
    """Two tables of one's own, few lines, no step before: the page has the titles, and all-round is trained on them."""
    made = world(PlantedConfig(num_users=60, num_items=40), 3)
    made.items.rename({"item_id": "sku", "title": "name"}).write_parquet(tmp_path / "books.parquet")
    process = playing(
        "--items", str(tmp_path / "books.parquet"), "--set", "data.filter.min_user=1", "--set", "data.filter.min_item=1"
    )
    line = process.stdout.readline()
    assert line.startswith("page: http://127.0.0.1:"), process.stderr.read()
    port = int(line.split("/")[2].rpartition(":")[2])
    about = until(lambda: ask(port, "/v1/page/about"))
    assert about["reads_texts"]
    assert about["items"] == 40
    (found,) = ask(port, f"/v1/titles?limit=1&q={made.items['title'][0].replace(' ', '+')}")["items"]
    assert found["title"] == made.items["title"][0]
    (child,) = psutil.Process(process.pid).children(recursive=True)
    command = child.cmdline()
    assert "data.filter.min_user=1" in command
    assert f'data.options.items="{tmp_path / "books.parquet"}"' in command
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def test_the_page_compares_versions(tmp_path: Path, own_data: Path) -> None:
    from fastapi.testclient import TestClient

    import interlingua
    from interlingua.life.versions import enter
    from interlingua.serve.app import create_app
    from interlingua.serve.promoted import served_model

    runs = [interlingua.run(name, data=str(own_data), out=tmp_path / "runs") for name in ("textknn", "itemknn")]
    with Store.open(tmp_path / "play.sqlite") as store:
        model = served_model(store, lambda path: interlingua.load(path, store=store), runs[0].path)
        other = enter(store, runs[1].path).version
        with TestClient(create_app(model)) as client:
            report = client.post("/v1/page/drift", json={"version": other}).json()["report"]
            assert report["old"] == other
            assert report["new"] == model.now.version
            assert 0 < report["lists"] < 1
            assert report["users"] == 60
            refused = client.post("/v1/page/drift", json={"version": "nothing"})
            assert refused.status_code == 422
            assert "nothing" in refused.json()["detail"]
    with TestClient(create_app(interlingua.load(runs[0]))) as client:
        assert client.post("/v1/page/drift", json={"version": other}).status_code == 422
