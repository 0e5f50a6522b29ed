"""Rollback: one step back in what served, whatever was promoted in what order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sqlalchemy")

from interlingua.errors import ArtifactError, DataError
from interlingua.life.versions import before, promote, rollback, served
from interlingua.store import ModelVersion, Promotion, Store, steps

NAMES = "abc"
DEEDS = st.lists(st.sampled_from([*NAMES, "back", *(f"back to {name}" for name in NAMES)]), max_size=14)


@settings(max_examples=30)
@given(DEEDS)
def test_promotions_and_rollbacks_are_a_stack(deeds: list[str]) -> None:
    """Against a plain list: a promotion puts a version on it, a rollback takes the last one off."""
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s.sqlite") as store:
        for name in NAMES:
            store.add_model(ModelVersion(name, folder))
        expected = list[str]()
        for deed in deeds:
            if deed == "back" and len(expected) < 2:
                with pytest.raises(DataError, match="nothing served before"):
                    rollback(store)
                continue
            if deed == "back":
                expected.pop()
                assert before(store).version == expected[-1]
                assert rollback(store).version == expected[-1]
                continue
            name = deed[-1]
            if deed.startswith("back") and name in expected:
                while expected[-1] != name:
                    expected.pop()
                assert rollback(store, name).version == name
            else:
                (rollback if deed.startswith("back") else promote)(store, name)
                expected += [] if expected[-1:] == [name] else [name]
            now = served(store)
            assert now is not None
            assert now.version == expected[-1] == store.promotions()[-1]
        assert [step.version for step in steps(store.history())] == expected


def test_an_older_version_that_is_promoted_anew_can_be_rolled_back(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        for name in ("old", "new"):
            store.add_model(ModelVersion(name, str(tmp_path)))
            promote(store, name)
        promote(store, "old")
        assert rollback(store).version == "new"
        assert rollback(store).version == "old"
        with pytest.raises(DataError, match="nothing served before old"):
            rollback(store)
        with pytest.raises(DataError, match="promotion 99 is none of the steps"):
            store.go_back(99)


def test_what_has_no_folder_is_passed_over_or_named(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        for name in ("one", "two", "three"):
            store.add_model(ModelVersion(name, str(tmp_path)))
            promote(store, name)
        store.add_model(ModelVersion("two", ""))  # deleted on purpose
        with pytest.raises(ArtifactError, match=r"version two was deleted \(versions --prune\)"):
            rollback(store, "two")
        assert before(store).version == "one"
        store.add_model(ModelVersion("one", str(tmp_path / "moved")))
        with pytest.raises(ArtifactError, match="version one is not at"):
            rollback(store)
        assert store.promotions()[-1] == "three"


def test_a_history_that_was_cut_still_has_an_end() -> None:
    history = [Promotion(4, "a", 1.0), Promotion(5, "b", 2.0), Promotion(6, "a", 3.0, back=4)]
    assert [step.number for step in steps(history)] == [4]
    assert steps(history[1:]) == []
