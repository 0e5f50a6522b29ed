"""Folders of old versions: who is in them, and what is deleted of them; never what serves, nor what others need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from filelock import FileLock

pytest.importorskip("sqlalchemy")

import interlingua
from interlingua.errors import ArtifactError, ConfigError
from interlingua.life.folders import holding, prune
from interlingua.life.refresh import refresh
from interlingua.life.versions import enter, listing, promote, rollback
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session
from interlingua.store import Event, Store

SECOND = 1_700_000_000
POP = {"backbone": {"name": "pop"}, "evaluate": {"protocols": ["full"]}}


def source(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    rows = [
        (f"u{user}", f"i{item}", SECOND + 60 * place)
        for user in range(20)
        for place, item in enumerate(rng.permutation(14)[:6].tolist())
    ]
    path = folder / "events.csv"
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_csv(path)
    return path


def trained(data: Path, out: Path, name: str = "pop", **options: object) -> Session:
    backbone = {"name": name, **options}
    return interlingua.run(POP | {"backbone": backbone}, data=str(data), out=out, device="cpu")


@pytest.fixture
def world(tmp_path: Path) -> tuple[Store, Path, list[str]]:
    """A store with three versions, trained before, with, and after the user zoe; the first two share nothing."""
    store, out = Store.open(tmp_path / "s.sqlite"), tmp_path / "runs"
    first = trained(source(tmp_path), out)
    versions = [promote(store, enter(store, first.path).version).version]
    store.add_events([Event("zoe", f"i{item}", SECOND + 1e6 + item) for item in range(5)])
    versions.append(str(refresh(None, store, device="cpu").version))
    promote(store, versions[1])
    store.forget(user_id="zoe")
    store.add_events([Event("xaver", f"i{item}", SECOND + 2e6 + item) for item in range(5)])
    versions.append(str(refresh(None, store, device="cpu").version))
    promote(store, versions[2])
    return store, out, versions


def names(out: Path) -> set[str]:
    return {path.name for path in out.glob("*-*")}


def bytes_with(out: Path, word: str) -> list[Path]:
    """Files that tell of a user: parquet is compressed, so its ids are read."""
    found = []
    for path in out.rglob("*"):
        if path.suffix == ".parquet" and "user_id" in pl.read_parquet_schema(path):
            found += [path] if word in pl.read_parquet(path)["user_id"].cast(pl.String).to_list() else []
        elif path.is_file() and word.encode() in path.read_bytes():
            found.append(path)
    return found


def test_versions_that_hold_a_user_are_named_and_deleted(
    world: tuple[Store, Path, list[str]], cli: Callable[..., tuple[int, str, str]]
) -> None:
    store, out, versions = world
    place = store.place.removeprefix("sqlite:///")
    assert holding(store, "zoe") == [versions[1]]
    assert holding(store, "u1") == versions
    assert bytes_with(out, "zoe")
    said = cli("forget", "zoe", "--store", place)[1]
    assert f"versions that were trained with the user 'zoe': {versions[1]}\n" in said
    assert f"  interlingua versions --store {place} --prune --user zoe\n" in said
    assert "serves" not in said
    before = names(out)
    said = cli("versions", "--store", place, "--prune", "--user", "zoe", "--dry-run")[1]
    assert said.startswith(f"would delete the folders of versions: {versions[1]} (")
    assert names(out) == before
    found = json.loads(cli("versions", "--store", place, "--prune", "--user", "zoe", "--json")[1])
    assert (found["versions"], found["left"]) == ([versions[1]], [versions[0], versions[2]])
    assert bytes_with(out, "zoe") == []
    assert "(folder deleted)" in cli("versions", "--store", place)[1]
    for version in (versions[0], versions[2]):
        open_session(next(Path(model.path) for model in store.models() if model.version == version), "cpu")
    assert rollback(store).version == versions[0]  # the deleted one is passed over
    assert cli("versions", "--store", place, "--user", "zoe")[0] == 2


def test_what_serves_stays_and_says_so(
    world: tuple[Store, Path, list[str]], cli: Callable[..., tuple[int, str, str]]
) -> None:
    store, out, versions = world
    place = store.place.removeprefix("sqlite:///")
    said = cli("forget", "xaver", "--store", place)[1]
    assert said.startswith(f"deleted 5 entries of the user 'xaver' from the store {place}\n")
    assert f"versions that were trained with the user 'xaver': {versions[2]}\n" in said
    assert f"{versions[2]} serves." in said
    said = cli("versions", "--store", place, "--prune", "--user", "xaver")[1]
    assert f"the user is still in {versions[2]}, which serves" in said
    assert cli("refresh", "--store", place, "--device", "cpu")[0] == 0
    promote(store, store.models()[-1].version)
    cli("versions", "--store", place, "--prune", "--user", "xaver")
    assert bytes_with(out, "xaver") == []
    assert json.loads(cli("forget", "xaver", "--store", place, "--json")[1]) == {
        "user": "xaver", "store": place, "deleted": 0, "versions": [], "serves": False,
    }  # fmt: skip


def test_old_versions_go_and_what_others_need_stays(world: tuple[Store, Path, list[str]]) -> None:
    store, out, versions = world
    other = trained(Path(str(open_session(_path(store, versions[0]), "cpu").recipe.data.name)), out, last_share=0.5)
    before = prune(store, keep=2, dry_run=True)
    assert before.versions == ()
    found = prune(store)
    assert (found.versions, found.left) == ((versions[0],), (versions[1], versions[2]))
    assert found.size > 0
    open_session(other.path, "cpu")  # shares the prepared data with the version that is gone
    found = prune(store, keep=0)
    assert found.versions == (versions[1],)
    assert not Path(_path(store, versions[2]).parent / f"evaluate-pop-{versions[1][:8]}").exists()
    assert len(list((out / "frames").glob("refresh-*"))) == 1
    open_session(_path(store, versions[2]), "cpu")
    assert refresh(None, store, device="cpu").version == versions[2]  # the data of the first source are found
    assert [each["path"] == "" for each in listing(store)] == [False, True, True]
    assert prune(store, keep=0).versions == ()
    with pytest.raises(ConfigError, match="keep must be at least 1"):
        prune(store, keep=-1)


def test_nothing_is_deleted_beside_work(world: tuple[Store, Path, list[str]]) -> None:
    store, out, versions = world
    before = names(out)
    with (
        FileLock(out / ".train-pop-12345678.lock"),
        pytest.raises(ArtifactError, match="something is being trained in"),
    ):
        prune(store, keep=0)
    (out / f"refresh-{versions[2]}.json").write_text("{}")
    with pytest.raises(ArtifactError, match="a refresh is under way in"):
        prune(store, keep=0)
    assert names(out) >= before


def test_an_interrupted_call_is_finished_by_the_next(
    world: tuple[Store, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, out, versions = world
    from interlingua.life import folders

    gone = list[Path]()
    plain = folders.shutil.rmtree

    def killed(path: Path) -> None:
        if len(gone) == 2:
            raise KeyboardInterrupt
        gone.append(path)
        plain(path)

    with monkeypatch.context() as patch:
        patch.setattr(folders.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(store, keep=0)
    prune(store, keep=0)
    left = names(out)
    assert sum(name.startswith("evaluate-") for name in left) == 1
    assert sum(name.startswith("prepare-") for name in left) == 1
    assert len(list((out / "frames").glob("refresh-*"))) == 1
    assert [each["version"] for each in listing(store) if each["path"]] == [versions[2]]


def _path(store: Store, version: str) -> Path:
    return next(Path(model.path) for model in store.models() if model.version == version)
