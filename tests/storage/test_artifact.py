"""A stage's folder: whole or absent, verified, safe beside other processes, and clear about what went wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interlingua.errors import ArtifactError
from interlingua.storage import artifact, durable

KEY = artifact.content_key({"seed": 1})


def write_stage(
    root: Path, key: str = KEY, text: str = "weights", parents: dict[str, artifact.Artifact] | None = None
) -> Path:
    """A finished stage ``train-mf`` with two files, one of them in a subfolder."""
    with artifact.writing(root, "train", "mf", key, parents=parents or {}, fields={"seed": 1}) as folder:
        (folder / "weights.bin").write_text(text)
        (folder / "more").mkdir()
        (folder / "more" / "log.jsonl").write_text("{}\n")
    return root / artifact.folder_name("train", "mf", key)


def leftovers(root: Path) -> list[str]:
    """What is in a runs folder besides finished stages and locks."""
    return [p.name for p in root.iterdir() if not (p / artifact.CARD).exists() and not p.name.endswith(".lock")]


def test_what_was_written_is_found_with_its_card(tmp_path: Path) -> None:
    path = write_stage(tmp_path)
    found = artifact.find(tmp_path, "train", "mf", KEY)
    assert found is not None
    assert found.path == path
    assert (found.key, found.kind, found.parents) == (KEY, "train", {})
    assert set(found.card["files"]) == {"weights.bin", "more/log.jsonl"}
    assert found.card["seed"] == 1
    assert {"versions", "machine", "seconds", "peak_memory_bytes", "git_commit", "schema"} <= set(found.card)
    assert found.card["versions"]["torch"]
    assert leftovers(tmp_path) == []


def test_another_key_is_not_found(tmp_path: Path) -> None:
    write_stage(tmp_path)
    assert artifact.find(tmp_path, "train", "mf", artifact.content_key({"seed": 2})) is None


def test_equal_parts_have_equal_keys_in_any_order() -> None:
    assert artifact.content_key({"a": 1, "b": [1, 2]}) == artifact.content_key({"b": [1, 2], "a": 1})
    assert artifact.content_key({"a": 1}) != artifact.content_key({"a": 2})
    assert artifact.content_key({"a": 1}) != artifact.content_key({"a": "1"})


def test_two_keys_with_the_same_first_letters_are_not_confused(tmp_path: Path) -> None:
    write_stage(tmp_path)
    twin = KEY[:8] + "0" * 56
    with pytest.raises(ArtifactError, match="move it away"):
        artifact.find(tmp_path, "train", "mf", twin)


def test_parents_are_followed(tmp_path: Path) -> None:
    parent = write_stage(tmp_path)
    child = write_stage(tmp_path, artifact.content_key({"seed": 3}), parents={"train": artifact.load(parent)})
    assert artifact.load(child).parent("train").path == parent
    with pytest.raises(ArtifactError, match="was not made from a 'align' stage"):
        artifact.load(child).parent("align")


@pytest.mark.parametrize("damage", ["edited", "truncated", "removed"])
def test_a_damaged_file_is_named_when_the_stage_is_loaded(tmp_path: Path, damage: str) -> None:
    path = write_stage(tmp_path)
    file = path / "weights.bin"
    if damage == "edited":
        file.write_text("Weights")
    elif damage == "truncated":
        file.write_text("")
    else:
        file.unlink()
    with pytest.raises(ArtifactError, match=r"weights\.bin .*delete the folder and run the recipe again"):
        artifact.load(path)
    assert artifact.load(path, verify=False).key == KEY


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"config": {"num_heads": 2}}, {"files": {}}, {"parents": {"prepare": "other"}}, {"key": "k"}],
)
def test_an_edited_card_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = write_stage(tmp_path)
    file = path / artifact.CARD
    card = json.loads(file.read_text())
    file.write_text(json.dumps(card, sort_keys=True, indent=7))
    artifact.load(path)  # how it is laid out is nobody's business
    file.write_text(json.dumps(card | change))
    with pytest.raises(ArtifactError, match=r"card\.json was changed after it was written.*run the recipe again"):
        artifact.load(path)
    assert artifact.listing(tmp_path) == []
    file.write_text(json.dumps({name: value for name, value in card.items() if name != "seed"}))
    with pytest.raises(ArtifactError, match="was changed"):
        artifact.load(path)


def test_a_card_without_a_hash_of_itself_is_refused(tmp_path: Path) -> None:
    path = write_stage(tmp_path)
    file = path / artifact.CARD
    card = json.loads(file.read_text())
    del card[artifact.CARD_HASH]
    file.write_text(json.dumps(card))
    with pytest.raises(ArtifactError, match="has no 'card_sha256'"):
        artifact.load(path)


def test_the_hash_is_of_what_json_makes_of_the_entries(tmp_path: Path) -> None:
    odd = {"counts": {2: 1, 10: 1}, "shape": (3, 4), "title": "Ré\U0001f600", "loss": float("nan")}
    with artifact.writing(tmp_path, "train", "mf", KEY, parents={}, fields=odd):
        pass
    assert artifact.load(tmp_path / artifact.folder_name("train", "mf", KEY)).card["shape"] == [3, 4]


def test_a_missing_entry_is_named(tmp_path: Path) -> None:
    found = artifact.load(write_stage(tmp_path))
    assert found.entry("seed", int) == 1
    with pytest.raises(ArtifactError, match="no usable entry 'recipe'"):
        found.entry("recipe", dict)
    with pytest.raises(ArtifactError, match="no usable entry 'seed' \\(got 1\\)"):
        found.entry("seed", dict)


def test_a_newer_schema_says_how_to_upgrade(tmp_path: Path) -> None:
    path = write_stage(tmp_path)
    card = json.loads((path / artifact.CARD).read_text())
    (path / artifact.CARD).write_text(json.dumps(card | {"schema": artifact.SCHEMA + 1}))
    with pytest.raises(ArtifactError, match="install the later one that wrote it"):
        artifact.load(path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema": "x"}', "{}", "\x00\x01", '{"schema": 1}', '{"schema": 1, "files": []}']
)
def test_a_damaged_card_is_a_clear_error(tmp_path: Path, content: str) -> None:
    path = write_stage(tmp_path)
    (path / artifact.CARD).write_text(content)
    with pytest.raises(ArtifactError, match="delete the folder and run the recipe again"):
        artifact.load(path)


def test_a_folder_without_a_card_holds_no_finished_stage(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="interlingua runs"):
        artifact.load(tmp_path / "nothing")
    path = write_stage(tmp_path)
    (path / artifact.CARD).unlink()
    with pytest.raises(ArtifactError, match=r"card\.json is missing"):
        artifact.load(path)
    assert artifact.find(tmp_path, "train", "mf", KEY) is None


def test_a_folder_left_without_a_card_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / artifact.folder_name("train", "mf", KEY)
    path.mkdir()
    (path / "rubbish").write_text("x")
    write_stage(tmp_path)
    assert artifact.load(path).key == KEY
    assert not (path / "rubbish").exists()


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with artifact.writing(tmp_path, "train", "mf", KEY, parents={}, fields={}) as folder:
            (folder / "half.bin").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_stage_is_kept_when_the_same_key_is_written_again(tmp_path: Path) -> None:
    path = write_stage(tmp_path, text="first")
    write_stage(tmp_path, text="second")
    assert (path / "weights.bin").read_text() == "first"
    assert artifact.load(path).key == KEY
    assert leftovers(tmp_path) == []


def test_checkpoints_are_removed_once_the_stage_is_finished(tmp_path: Path) -> None:
    folder = artifact.partial(tmp_path, "train", "mf", KEY)
    (folder / "state.json").write_text("{}")
    assert artifact.find(tmp_path, "train", "mf", KEY) is None
    write_stage(tmp_path)
    assert not folder.exists()


def test_a_runs_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    blocked = tmp_path / "runs"
    blocked.write_text("a file, where the folder should be")
    with pytest.raises(ArtifactError, match=r"cannot write .*--out"):
        write_stage(blocked)
    with pytest.raises(ArtifactError, match=r"cannot write .*--out"):
        artifact.partial(blocked, "train", "mf", KEY)
    with pytest.raises(ArtifactError, match=r"cannot write .*--out"), artifact.locked(blocked, "train", "mf", KEY):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write into read-only folders")
def test_a_read_only_folder_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ArtifactError, match="cannot write"):
            write_stage(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_stage(tmp_path)
    original = Path.write_text

    def full(self: Path, *args: object, **kwargs: object) -> int:
        if self.name == artifact.CARD:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ArtifactError, match=r"No space left on device.*are kept"):
        write_stage(tmp_path, artifact.content_key({"seed": 9}))
    assert artifact.load(first).key == KEY
    assert [p.name for p in tmp_path.iterdir()] == [first.name]


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from interlingua.storage import artifact
from interlingua.errors import ArtifactError
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with artifact.writing(Path(sys.argv[1]), "train", "mf", "k" * 64, parents={}, fields={}) as folder:
        save_file({"a": torch.zeros(100_000)}, folder / "weights.safetensors")
except ArtifactError as error:
    print(error)
"""


def test_a_write_that_the_system_refuses_inside_safetensors_is_the_same_clear_error(tmp_path: Path) -> None:
    """A real refusal (the largest file this process may write), reported by Rust code and not as an OSError."""
    answer = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert answer.stdout.startswith(f"cannot write {tmp_path}"), answer.stderr
    assert os.strerror(errno.EFBIG) in answer.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_missing_input_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    """An OSError about another file, raised inside the block, keeps its own words."""
    with (
        pytest.raises(FileNotFoundError, match="elsewhere"),
        artifact.writing(tmp_path, "train", "mf", KEY, parents={}, fields={}),
    ):
        (tmp_path / "elsewhere").read_text()


WRITER = """
import sys, time
from pathlib import Path
from interlingua.storage import artifact
root, who, slow = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
key = artifact.content_key({"seed": 1})
with artifact.locked(root, "train", "mf", key):
    if artifact.find(root, "train", "mf", key) is None:
        with artifact.writing(root, "train", "mf", key, parents={}, fields={"who": who}) as folder:
            for part in range(20):
                (folder / f"part-{part}").write_text(who * 1000)
                print("writing", flush=True)
                time.sleep(slow / 20)
            (root / f"did-{who}").write_text("")
print("done", flush=True)
"""


def start_writer(root: Path, who: str, slow: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), who, str(slow)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_with_one_key_do_the_work_once(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, who, 0.6) for who in "ab"]
    assert [w.wait(timeout=60) for w in writers] == [0, 0]
    found = artifact.find(tmp_path, "train", "mf", KEY)
    assert found is not None
    who = found.card["who"]
    assert all(set((found.path / f"part-{n}").read_text()) == {who} for n in range(20))
    assert [p.name for p in tmp_path.glob("did-*")] == [f"did-{who}"]


def test_a_killed_process_leaves_nothing_that_looks_finished_and_blocks_nobody(tmp_path: Path) -> None:
    victim = start_writer(tmp_path, "a", 30)
    assert victim.stdout is not None
    victim.stdout.readline()
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert artifact.find(tmp_path, "train", "mf", KEY) is None
    assert artifact.listing(tmp_path) == []
    started = time.perf_counter()
    second = start_writer(tmp_path, "b", 0)
    assert second.wait(timeout=60) == 0
    assert time.perf_counter() - started < 30
    found = artifact.find(tmp_path, "train", "mf", KEY)
    assert found is not None
    assert found.card["who"] == "b"
    assert not list(tmp_path.glob(".*.tmp")), "the dead process's temporary folder is cleared by the next writer"


def test_listing_is_oldest_first_and_leaves_out_what_it_cannot_read(tmp_path: Path) -> None:
    old = write_stage(tmp_path)
    new = write_stage(tmp_path, artifact.content_key({"seed": 2}))
    os.utime(old / artifact.CARD, (1, 1))
    broken = write_stage(tmp_path, artifact.content_key({"seed": 3}))
    (broken / artifact.CARD).write_text("{")
    assert [a.path for a in artifact.listing(tmp_path)] == [old, new]
    assert artifact.listing(tmp_path / "absent") == []


@pytest.mark.parametrize("place", ["file/x.lock", "nowhere/x.lock", "/proc/x.lock"])
def test_a_lock_that_cannot_be_is_not_waited_for(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ArtifactError, match="cannot write"), durable.lock(tmp_path / place):
        pass
