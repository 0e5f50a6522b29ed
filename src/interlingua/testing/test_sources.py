"""Promises of every source: it recognises only its own files, and reports clearly what it cannot read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from interlingua import registry
from interlingua.data.datasets import KNOWN
from interlingua.data.prepare import load, prepare, save
from interlingua.data.sources.planted import generate
from interlingua.errors import InterlinguaError

NAMES = registry.names("data")


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files that no source should recognise."""
    folder = tmp_path_factory.mktemp("strange")
    (folder / "empty").mkdir()
    (folder / "notes.md").write_text("# not a dataset\n")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_claims_nothing_that_is_not_its_own(name: str, strange: Path) -> None:
    matches = registry.find("data", name).matches
    for path in (strange / "empty", strange / "notes.md", strange / "picture.png", strange / "absent"):
        assert not matches(path), f"{name} claims {path.name}"


@pytest.mark.parametrize("name", [n for n in NAMES if not (n in KNOWN and KNOWN[n].generated)])
@pytest.mark.parametrize("what", ["absent", "empty", "notes.md"])
def test_what_cannot_be_read_is_a_clear_error_that_names_the_path(name: str, what: str, strange: Path) -> None:
    with pytest.raises(InterlinguaError, match=what.replace(".", r"\.")):
        prepare(strange / what, reader=name, quiet=True)


def test_a_prepared_dataset_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    made = generate(num_users=50, num_items=30, seed=1)
    save(made, tmp_path / "dataset")
    back = load(tmp_path / "dataset")
    assert back.fingerprint == made.fingerprint
    for field in ("users", "items", "times"):
        assert np.array_equal(getattr(back.interactions, field), getattr(made.interactions, field))
    assert back.interactions.item_ids.tolist() == made.interactions.item_ids.tolist()
    assert back.catalogue.titles == made.catalogue.titles
    assert back.catalogue.domain == made.catalogue.domain
    for part in ("valid", "test"):
        assert np.array_equal(back.split.targets(part).items, made.split.targets(part).items)
        assert np.array_equal(back.split.queries(part).items, made.split.queries(part).items)


def test_the_generated_world_depends_on_its_seed_only() -> None:
    assert generate(50, 30, seed=1).fingerprint == generate(50, 30, seed=1).fingerprint
    assert generate(50, 30, seed=1).fingerprint != generate(50, 30, seed=2).fingerprint


def test_every_event_of_a_frame_is_in_the_dataset_or_in_the_log() -> None:
    """The same events through the front door: nothing is dropped silently, whatever the order of rows."""
    made = generate(40, 30, seed=4).interactions
    frame = pl.DataFrame(
        {
            "user": made.user_ids[made.users].astype(str),
            "item": made.item_ids[made.items].astype(str),
            "time": made.times,
        }
    )
    got = prepare(frame.sample(fraction=1, shuffle=True, seed=1)).interactions
    assert len(got) == len(made)
    assert sorted(zip(got.user_ids[got.users], got.item_ids[got.items], got.times, strict=True)) == sorted(
        zip(made.user_ids[made.users], made.item_ids[made.items], made.times, strict=True)
    )
