"""The page of a service that asks for a key; and what an examiner of accessibility says of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_a_key_opens_the_page_and_stays_in_the_tab(serving: Callable, opened: Callable, tmp_path: Any) -> None:
    from interlingua.serve.access import Access
    from interlingua.serve.keyring import KeyRing
    from interlingua.serve.keys import make_key

    reads, known = make_key("looker", "read")
    access = Access(KeyRing([known]))
    page = opened(serving(access))
    page.get_by_role("alert").get_by_text("the button Key takes one").wait_for()
    page.get_by_role("button", name="Key", exact=False).first.click()
    page.get_by_label("Key of the service").fill(reads)
    page.get_by_role("button", name="Use").click()
    page.locator(".list.served .row").first.wait_for()
    assert page.get_by_role("alert").count() == 0
    assert page.evaluate("sessionStorage.length") == 1
    assert reads not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
    page.locator(".list.served").get_by_role("button", name="Like").first.click()
    page.get_by_role("alert").get_by_text("has the role read, and this needs the role write").wait_for()
    page.reload()
    page.locator(".list.served .row").first.wait_for()
    page.get_by_role("button", name="Key", exact=False).first.click()
    page.get_by_role("button", name="Forget").click()
    page.get_by_role("alert").get_by_text("the button Key takes one").wait_for()
    assert page.evaluate("sessionStorage.length") == 0
    # refusals are said on the console by the browser itself, and nothing else is
    assert all("status of 401" in line or "status of 403" in line for line in page.wrong)
    page.wrong.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(service: Any, opened: Callable, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(service, color_scheme=scheme)
    page.locator(".list.served .why").first.wait_for()
    for part, there in (("Playground", ".row"), ("Items", ".legend button"), ("Models", "tr"), ("Live", "#live tr")):
        page.get_by_role("link", name=part).click()
        page.locator(there).last.wait_for()
        found = axe.run(page).response["violations"]
        said = [
            f"{each['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
            for each in found
            for node in each["nodes"]
        ]
        assert not said, f"{part}: " + "\n".join(said)
