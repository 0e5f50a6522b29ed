"""What the life of a model asks of a store, in both databases: promotions, rollback, and feedback on two versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlingua.errors import DataError
from interlingua.life.interleaving import INTERLEAVED, preference
from interlingua.life.request_log import RequestLog
from interlingua.life.versions import before, listing, named, promote, rollback, served
from interlingua.store import Event, ModelVersion, Store


def test_rollbacks_go_further_and_further_back(store: Store, tmp_path: Path) -> None:
    assert served(store) is None
    with pytest.raises(DataError, match="there is no other"):
        rollback(store)
    for name in ("aaa1", "aaa2", "bbb3"):
        store.add_model(ModelVersion(name, str(tmp_path), {"full ndcg@10": 0.1}))
        promote(store, name)
    assert rollback(store).version == "aaa2"
    assert rollback(store).version == "aaa1"
    with pytest.raises(DataError, match="nothing served before aaa1"):
        before(store)
    assert rollback(store, "bbb").version == "bbb3"
    assert before(store).version == "aaa1"
    assert store.promotions() == ["aaa1", "aaa2", "bbb3", "aaa2", "aaa1", "bbb3"]
    assert [each.back for each in store.history()] == [None, None, None, 2, 1, None]
    with pytest.raises(DataError, match="several versions begin with 'aaa': aaa1, aaa2"):
        named(store, "aaa")
    times = [each.time for each in store.history()]
    assert times == sorted(times)
    found = {each["version"]: each for each in listing(store)}
    assert [len(found[name]["promoted"]) for name in ("aaa1", "aaa2", "bbb3")] == [2, 2, 2]
    assert [found[name]["serves"] for name in ("aaa1", "aaa2", "bbb3")] == [False, False, True]


def test_feedback_on_interleaved_lists(store: Store) -> None:
    log = RequestLog(store, 0.0)
    for number in range(12):
        about = {INTERLEAVED: {"with": "new", "teams": [0, 1]}}
        log.add("old", f"u{number}", about, ("a", "b"), 0.01, always=True)
        log.add("old", f"u{number}", {"k": 2}, ("a", "b"), 0.01)  # the fraction is 0
    log.start(None)
    log.stop()
    store.add_events([Event(f"u{number}", "b" if number < 11 else "a") for number in range(12)])
    found = preference(store, "old", "new")
    assert (found.lists, found.users_new, found.users_old) == (12, 11, 1)
    assert found.verdict == "users prefer new"
    assert found.p == pytest.approx(2 * 13 / 2**12)  # (1 + 12) of 2^12 outcomes at each end
