"""Temporary folders: in use while their process lives, deleted by the next one for the same name once it is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from interlingua.data.prepared import load, save
from interlingua.data.sources.planted import generate
from interlingua.storage import artifact, staging
from interlingua.storage.staging import left_over

HOLDS = (
    "import sys, time; from pathlib import Path; from interlingua.storage.staging import staging\n"
    "with staging(Path(sys.argv[1]), sys.argv[2]) as folder:\n"
    "    (folder / 'half').write_text('x'); print(folder.name, flush=True); time.sleep(60)\n"
)
KEY = artifact.content_key({"seed": 1})
unix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")


def holder(folder: Path, name: str) -> tuple[subprocess.Popen[str], Path]:
    """Another process that is in its block, and its folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder), name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, folder / process.stdout.readline().strip()


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@unix
def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    (dead, left), (living, used), (elsewhere, other) = (holder(tmp_path, n) for n in ("own", "own", "other"))
    killed(dead)
    killed(elsewhere)
    try:
        with staging.staging(tmp_path, "own") as folder:
            (folder / "x").write_text("x")
            assert left.is_dir()  # not before this one has come to its end
        assert not left.exists()
        assert not folder.exists()
        assert (used / "half").is_file()
        assert other.is_dir()  # another target's
        assert left_over(tmp_path, "own") == [used]
    finally:
        killed(living)
    with staging.staging(tmp_path, "own"):
        pass
    assert left_over(tmp_path, "own") == []


@unix
def test_what_fails_deletes_nothing_but_its_own(tmp_path: Path) -> None:
    dead, left = holder(tmp_path, "own")
    killed(dead)
    with pytest.raises(ZeroDivisionError), staging.staging(tmp_path, "own"):
        raise ZeroDivisionError
    assert left_over(tmp_path, "own") == [left]


@unix
def test_one_process_may_stage_the_same_twice(tmp_path: Path) -> None:
    """Threads; and a container may have given our number to a process of its own."""
    with staging.staging(tmp_path, "own") as first, staging.staging(tmp_path, "own") as second:
        (first / "x").write_text("1")
        assert first != second
    assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_nothing_is_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "fcntl", None)
    left = tmp_path / ".own.1.tmp"
    left.mkdir()
    with staging.staging(tmp_path, "own") as folder:
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == [left]


@unix
@pytest.mark.parametrize("there", [False, True])
def test_a_dataset_that_is_saved_again_leaves_nothing_of_a_killed_save(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "own"
    if there:
        save(generate(30, 20, seed=1), target)
    dead, left = holder(target if there else tmp_path, "own")
    killed(dead)
    save(generate(30, 20, seed=2), target)
    assert not left.exists()
    assert len(load(target).interactions) > 0


@unix
def test_the_remains_of_a_killed_save_are_no_other_files(tmp_path: Path) -> None:
    """Killed while it put its files in place: no card is there."""
    target = tmp_path / "own"
    target.mkdir()
    pl.DataFrame({"x": np.arange(3)}).write_parquet(target / "items.parquet")
    dead, left = holder(target, "own")
    killed(dead)
    assert left.is_dir()
    save(generate(30, 20, seed=2), target)
    assert sorted(path.name for path in target.iterdir()) == [
        "card.json", "interactions.parquet", "items.parquet", "users.parquet",
    ]  # fmt: skip


def test_a_stage_that_was_finished_by_a_killed_process_keeps_no_half_done_work(tmp_path: Path) -> None:
    with artifact.writing(tmp_path, "train", "mf", KEY, parents={}, fields={}):
        pass
    half, other = (artifact.partial(tmp_path, "train", "mf", key) for key in (KEY, "b" * 64))
    (half / "state.json").write_text("{}")
    with artifact.locked(tmp_path, "train", "mf", KEY):
        assert not half.exists()
    assert other.is_dir()
