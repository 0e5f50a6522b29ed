"""Versions of a store on the page: drift from one to the one that answers, and another one that is let serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import interlingua
from interlingua.runs.session import Session
from interlingua.runs.stages import run

pytestmark = pytest.mark.browser


def test_drift_is_shown_and_another_version_takes_over(
    serving: Callable, opened: Callable, session: Session, tmp_path: Path
) -> None:
    pytest.importorskip("sqlalchemy")
    from interlingua.life.versions import enter
    from interlingua.serve.promoted import served_model
    from interlingua.store import Store

    options = ("data.options={num_users = 80, num_items = 60}", 'evaluate.protocols=["full"]')
    other = run("itemknn", out=session.root, data="planted", overrides=options, device="cpu")
    with Store.open(tmp_path / "shop.sqlite") as store:
        model = served_model(store, lambda path: interlingua.load(path, store=store), session.path)
        version = enter(store, other.path, "by hand").version
        page: Any = opened(serving(model=model), path="#models")
        line = page.locator("tr", has_text=version)
        line.get_by_text("by hand").wait_for()
        assert page.locator("tr", has=page.locator(".badge", has_text="answers")).count() == 1
        line.get_by_role("button", name="Drift").click()
        page.get_by_role("heading", name=f"Drift from {version}").wait_for()
        report = page.locator(".drift").inner_text()
        assert "re-align" in report
        assert "(80 users)" in report
        line.get_by_role("button", name="Let it serve").click()
        page.locator("#run", has_text="itemknn").wait_for()
        assert model.now.version == version
        page.locator("tr", has_text=version).get_by_text("answers").wait_for()
