"""Lists of all users in one file: the same as asked for one by one, also after a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from interlingua.errors import ConfigError, UnknownIdError
from interlingua.recommender import Recommender, load
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.batch import write_lists

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = {"name": "planted", "options": {"num_users": 60, "num_items": 40}}
    values = {"data": world, "backbone": {"name": "itemknn"}, "evaluate": {"protocols": ["full"], "max_users": 5}}
    done = stages.run(recipes.resolve(values, "batch"), out=tmp_path_factory.mktemp("runs"), seed=3, device="cpu")
    return done.done["evaluate"].path


@pytest.fixture(scope="module")
def recommender(run: Path) -> Recommender:
    return load(run)


def test_as_asked_at_once(recommender: Recommender, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = [str(user) for user in recommender.train.user_ids]
    made = recommender.recommend_all(tmp_path / "new" / "recs.parquet", k=7, shard=13, filters='item_id > "i00004"')
    expected = recommender.recommend(users=users, k=7, filters='item_id > "i00004"')
    assert pl.read_parquet(made.path).equals(expected)
    assert (made.users, made.lists, made.entries, made.reused) == (60, 60, len(expected), 0)
    assert [path.name for path in made.path.parent.iterdir() if path.suffix != ".lock"] == ["recs.parquet"]
    some = recommender.recommend_all(made.path, np.array(users[3:1:-1]), k=2)
    assert pl.read_parquet(some.path)["user_id"].unique(maintain_order=True).to_list() == users[3:1:-1]


def test_an_interrupted_call_goes_on(
    recommender: Recommender, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the shards that are missing are made; with another question, or another run, none is taken over."""
    users, asked = [f"u{number}" for number in range(10)], list[str]()

    def answered(some: list[str]) -> pl.DataFrame:
        if "u6" in some and not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        asked.extend(some)
        return pl.DataFrame({"user_id": some, "item_id": some})

    interrupted: list[int] = []
    out = tmp_path / "a [b].parquet"
    with pytest.raises(KeyboardInterrupt):
        write_lists(answered, users, out, {"k": 1}, 3)
    assert not out.exists()
    assert write_lists(answered, users, out, {"k": 1}, 3).reused == 6
    assert "6 of 10 users are there from an interrupted call" in capsys.readouterr().err
    assert asked == users
    assert pl.read_parquet(out.open("rb"))["user_id"].to_list() == users
    interrupted.clear()
    with pytest.raises(KeyboardInterrupt):
        write_lists(answered, users, out, {"k": 1}, 3)
    assert write_lists(answered, users, out, {"k": 2}, 3).reused == 0


def test_new_events_make_other_lists(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupted call had made before them is not taken over."""
    from interlingua.runs import batch

    grown, out, store = load(run), tmp_path / "recs.parquet", batch._store

    def broken(frame: pl.DataFrame, file: Path) -> None:
        store(frame, file)
        if file.stem == "000002":
            raise KeyboardInterrupt

    monkeypatch.setattr(batch, "_store", broken)
    with pytest.raises(KeyboardInterrupt):
        grown.recommend_all(out, k=5, shard=5)
    monkeypatch.undo()
    best = grown.recommend("u00001", k=1)[0].item_id
    grown.add_events([{"user_id": "u00001", "item_id": best}])
    made = grown.recommend_all(out, k=5, shard=5)
    assert made.reused == 0
    assert best not in pl.read_parquet(out).filter(pl.col("user_id") == "u00001")["item_id"]


PROGRAM = """
import sys
from interlingua.recommender import load
made = load(sys.argv[1]).recommend_all(sys.argv[2], k=5, shard=1)
print(made.reused)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_process_goes_on(recommender: Recommender, run: Path, tmp_path: Path) -> None:
    """kill -9 once some shards are there; the next call takes them over and the file is that of one call."""
    out, parts = tmp_path / "recs.parquet", tmp_path / ".recs.parquet.parts"
    slow = PROGRAM.replace("made =", "import time, interlingua.runs.batch as b\nstore = b._store\n"
                           "b._store = lambda *x: (time.sleep(0.02), store(*x))\nmade =")  # fmt: skip
    child = subprocess.Popen([sys.executable, "-c", slow, run, out], stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while len(list(parts.glob("*.parquet"))) < 5 and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    there = len(list(parts.glob("*.parquet")))
    assert 5 <= there < 60
    made = recommender.recommend_all(out, k=5, shard=1)
    assert made.reused == there
    assert pl.read_parquet(out).equals(recommender.recommend(users=recommender.train.user_ids.tolist(), k=5))


def test_what_cannot_be_written_is_said_before_any_work(recommender: Recommender, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"give a name that ends in .parquet"):
        recommender.recommend_all(tmp_path / "recs.csv")
    with pytest.raises(ConfigError, match="there is no user"):
        recommender.recommend_all(tmp_path / "recs.parquet", [])
    with pytest.raises(ConfigError, match="shard must be at least 1"):
        recommender.recommend_all(tmp_path / "recs.parquet", shard=0)
    with pytest.raises(UnknownIdError, match="unknown user 'nobody'"):
        recommender.recommend_all(tmp_path / "recs.parquet", [str(recommender.train.user_ids[0]), "nobody"])
    with pytest.raises(ConfigError, match="unknown option of a question 'kk'"):
        recommender.recommend_all(tmp_path / "recs.parquet", kk=3)
    assert not list(tmp_path.iterdir())


def test_the_command(recommender: Recommender, run: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "recs.parquet"
    code, text, err = cli("recommend", str(run), "--users", "all", "-k", "3", "--out", str(out))
    assert code == 0, err
    assert "60 lists of 60 users, 180 rows" in text
    (tmp_path / "some.txt").write_text("u00003\n\nu00001 \n", encoding="utf-8")
    code, text, _ = cli("recommend", str(run), "--users", str(tmp_path / "some.txt"), "--out", str(out), "--json")
    assert (code, json.loads(text)["users"]) == (0, 2)
    assert pl.read_parquet(out)["user_id"].unique(maintain_order=True).to_list() == ["u00003", "u00001"]
    for wrong, said in (
        (("--users", "all"), "--users and --out belong together"),
        (("--out", str(out)), "--users and --out belong together"),
        (("--users", "all", "--out", str(out), "--user", "u00001"), "--users stands instead of --user"),
        (("--users", "nowhere", "--out", str(out)), "give all, or a text file"),
    ):
        code, _, err = cli("recommend", str(run), *wrong)
        assert (code, said in err) == (2, True)


@pytest.mark.parametrize("repeat", [False, True])
def test_each_user_has_items_of_its_own_left_out(run: Path, tmp_path: Path, repeat: bool) -> None:
    """As if each had been asked alone; what others leave out, or no one has asked for, changes nothing."""
    made = load(run, device="cpu")
    users = [str(user) for user in made.train.user_ids[:3]]
    first = {user: made.recommend(user, k=2, repeat=repeat)[0].item_id for user in users}
    own = {users[0]: [first[users[0]], "gone"], users[1]: [first[users[1]]], "nobody": [first[users[2]]]}
    frame = made.recommend(users=users, k=5, exclude=own, repeat=repeat)
    for user in users:
        alone = made.recommend(user, k=5, exclude=[item for item in own.get(user, []) if item != "gone"], repeat=repeat)
        assert frame.filter(pl.col("user_id") == user)["item_id"].to_list() == [one.item_id for one in alone]
    written = made.recommend_all(tmp_path / "recs.parquet", users, k=5, exclude=own, repeat=repeat)
    assert pl.read_parquet(written.path).equals(frame)
    history = [str(item) for item in made.train.item_ids[:2]]
    named = made.recommend(histories={"a": history, "b": history}, k=3, exclude={"a": [first[users[0]]]}, repeat=repeat)
    assert first[users[0]] not in named.filter(pl.col("user_id") == "a")["item_id"].to_list()
    with pytest.raises(ConfigError, match=r"exclude is .*give a list of ids"):
        made.recommend(users[0], exclude=own)  # type: ignore[call-overload]
