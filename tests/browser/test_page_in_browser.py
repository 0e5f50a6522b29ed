"""The page in a real browser: every part, likes, new items, hostile texts, the keyboard, both themes, a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser
SERVED = ".list.served .row"


PLAIN_HTTP = "delete Crypto.prototype.randomUUID"
"""as under another host name than localhost without TLS"""
TIMERS = """() => {
  const [set, clear] = [window.setTimeout, window.clearTimeout];
  window.waiting = new Map();
  window.setTimeout = (act, after, ...given) => {
    const timer = set(() => { waiting.delete(timer); act(...given); }, after);
    waiting.set(timer, after);
    return timer;
  };
  window.clearTimeout = (timer) => { waiting.delete(timer); clear(timer); };
}"""
"""lets ``waiting`` have the milliseconds of every timer that has not run"""


def titles(page: Any, column: str = "served") -> list[str]:
    return page.locator(f'.list[data-column="{column}"] .row .title').all_inner_texts()


def settled(page: Any, rows: int = 10) -> None:
    """All lists are there, with reasons in the framed one."""
    page.locator(f"{SERVED}:nth-child({rows}) .why").wait_for()
    page.locator(".list[aria-busy]").first.wait_for(state="detached")


def shown_user(page: Any) -> str:
    return page.locator(".person h3 b").inner_text()


def choose(page: Any, label: str, words: str) -> None:
    """Types into a field that finds things and takes the first one."""
    field = page.get_by_role("combobox", name=label)
    field.fill(words)
    page.get_by_role("option").first.wait_for()
    field.press("ArrowDown")
    field.press("Enter")


def test_lists_side_by_side_with_reasons_whose_words_show_their_evidence(service: Any, opened: Callable) -> None:
    page = opened(service)
    settled(page)
    made, user = service.recommender, shown_user(page)
    assert titles(page) == [one.title for one in made.recommend(user, k=10)]
    assert titles(page, "popularity") != titles(page)
    heads = page.locator(".list h3").all_inner_texts()
    assert heads == ["popularity", "itemknn", "textknn", "all-round"]
    reason = made.explain(made.recommend(user, k=1)[0].item_id, user)
    assert page.locator(f"{SERVED}:first-child .why").inner_text() == reason.sentence.strip()
    word = page.locator(f"{SERVED}:first-child .held").first
    tip = page.locator("#evidence")
    assert tip.is_hidden()
    word.hover()
    first = next(part for part in reason.parts if part.evidence)
    known = {each.id: each.text for each in reason.evidence}
    assert known[first.evidence[0]] in tip.inner_text()
    page.mouse.move(0, 0)
    tip.wait_for(state="hidden")
    page.get_by_role("button", name="popularity", exact=True).click()
    page.locator('.list[data-column="popularity"]').wait_for(state="detached")
    why = page.locator('.list[data-column="member-3"] .row').first.get_by_role("button", name="Why")
    why.click()
    assert page.locator('.list[data-column="member-3"] .why').first.inner_text()


def test_a_like_is_an_event_and_changes_the_lists(service: Any, opened: Callable) -> None:
    page = opened(service)
    page.evaluate(PLAIN_HTTP)
    settled(page)
    user, before = shown_user(page), titles(page)
    page.get_by_role("region", name="what is recommended").get_by_role("button", name="Like").nth(1).click()
    status = page.locator(".status:not(:empty)")
    status.wait_for()
    settled(page)
    after = titles(page)
    assert f"{user} liked {before[1]}" in status.inner_text()
    assert before[1] not in after
    assert page.locator(".had .title").first.inner_text() == before[1]
    assert after == [one.title for one in service.recommender.recommend(user, k=10)]
    marks = page.locator(f"{SERVED} .move:not(:empty)").all_inner_texts()
    assert any("new" in mark for mark in marks)
    expected = [before.index(title) - place for place, title in enumerate(after) if title in before]
    assert sum(step > 0 for step in expected) == sum("▲" in mark for mark in marks)
    assert sum(step < 0 for step in expected) == sum("▼" in mark for mark in marks)


def test_a_newcomer_has_a_history_and_a_sentence_and_is_kept(service: Any, opened: Callable) -> None:
    page = opened(service)
    page.evaluate(PLAIN_HTTP)
    settled(page)
    made = service.recommender
    page.get_by_role("button", name="Newcomer").click()
    page.get_by_text("Nobody knows anything").wait_for()
    settled(page)
    assert titles(page) == [one.title for one in made.recommend(history=[], k=10)]
    item = str(made.train.item_ids[4])
    choose(page, "to the history", item)
    page.locator(".status:not(:empty)").wait_for()
    settled(page)
    assert titles(page) == [one.title for one in made.recommend(history=[item], k=10)]
    asked = "a space story of orbit and rocket"
    page.get_by_label("In words").fill(asked)
    page.get_by_label("Weight of the words").fill("1")
    expected = [one.title for one in made.recommend(history=[item], k=10, text=asked, text_weight=1.0)]
    page.locator(f"{SERVED}:first-child .title", has_text=expected[0]).wait_for()
    settled(page)
    assert titles(page) == expected
    page.get_by_label("In words").fill("")
    page.get_by_label("Keep as a user").fill("zoe")
    page.get_by_role("button", name="Keep", exact=True).click()
    page.locator(".person h3 b", has_text="zoe").wait_for()
    settled(page)
    assert [one.title for one in made.recommend("zoe", k=10)] == titles(page)


def test_a_new_item_lands_on_the_map_and_in_lists_and_goes_again(service: Any, opened: Callable) -> None:
    page = opened(service, path="#items")
    page.locator(".legend button").first.wait_for()
    page.get_by_label("Title").fill("The Lost Galaxy")
    assert page.get_by_label("Id", exact=True).input_value() == "the-lost-galaxy"
    page.get_by_label("Description").fill("A space story of orbit and rocket")
    page.get_by_label("Categories").first.fill("Space, Nebula")
    page.get_by_role("button", name="Put it in").click()
    detail = page.get_by_role("region", name="The item")
    detail.get_by_role("heading", name="The Lost Galaxy").wait_for()
    assert "the-lost-galaxy" in service.recommender.train.item_indices
    near = detail.locator(".alike button").all_inner_texts()
    similar = service.recommender.similar_items("the-lost-galaxy", k=8)
    assert near == [one.title for one in similar]
    assert "of 80" in detail.locator(".meter b").first.inner_text()
    page.get_by_text("The map as a table").click()
    assert page.locator("tbody tr").first.inner_text().startswith("The Lost Galaxy")
    pixels = "canvas => { const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
    pixels += " return new Set(new Uint32Array(d.buffer)).size; }"
    assert page.locator("canvas").evaluate(pixels) > 20  # colours of points, a ring, a name
    user = detail.locator(".best button").first.inner_text()
    place = int(detail.locator(".best .muted").first.inner_text().split()[-1].replace(",", ""))
    detail.locator(".best button").first.click()
    page.locator(".person h3 b", has_text=user).wait_for()
    settled(page)
    if place <= 10:
        assert titles(page)[place - 1] == "The Lost Galaxy"
        assert page.locator(f"{SERVED} .badge").count() == 1
    page.get_by_role("link", name="Items").click()
    page.get_by_role("button", name="Take it out again").click()
    page.get_by_text("The Lost Galaxy is out.").wait_for()
    assert "the-lost-galaxy" not in service.recommender.train.item_indices


HOSTILE = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>'\"&amp;"


def test_hostile_texts_are_texts_everywhere(service: Any, opened: Callable) -> None:
    made, user = service.recommender, "<b onmouseover=document.title='hit'>zoe</b>"
    item = {"item_id": "evil<i>/?#", "title": HOSTILE, "description": HOSTILE, "categories": f"{HOSTILE}|Space"}
    popular = str(made.train.item_ids[int(made.train.item_counts.argmax())])
    made.add_items([item, {"item_id": popular, "title": "<svg onload=document.title='hit'> the second"}])
    made.add_events({"user_id": user, "item_id": "evil<i>/?#"})
    page = opened(service)
    settled(page)
    choose(page, "User", "zoe")
    page.locator(".person h3 b", has_text="zoe").wait_for()
    settled(page)
    assert shown_user(page) == user
    assert page.locator(".had .title").first.inner_text() == HOSTILE
    page.locator('.list[data-column="popularity"] .title', has_text="<svg onload").wait_for()
    page.locator(f"{SERVED} .why", has_text="<img src=x").first.wait_for()
    page.locator(f"{SERVED} .held", has_text="<img src=x").first.hover()
    assert "<img src=x" in page.locator("#evidence").inner_text()
    page.get_by_role("button", name="Newcomer").click()
    choose(page, "to the history", "<img src=x")
    page.locator(".had .title", has_text="<img src=x").wait_for()
    settled(page)
    page.get_by_role("link", name="Items").click()
    page.get_by_text("The map as a table").click()
    page.locator("td button", has_text="<img src=x").click()
    detail = page.get_by_role("region", name="The item")
    detail.get_by_role("heading", name="<img src=x").wait_for()
    assert page.title() == "Interlingua"
    assert page.locator("main img, main script, main b b, main i, main svg[onload]").count() == 0


def test_the_whole_way_by_keyboard(service: Any, opened: Callable) -> None:
    page = opened(service)
    settled(page)
    press = page.keyboard.press
    seen = []

    def tab_to(words: str, most: int = 60, *, exact: bool = False) -> None:
        for _ in range(most):
            press("Tab")
            name = "e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent"
            at = page.locator(":focus")
            assert at.count() == 1, "\n".join(seen)
            seen.append(at.evaluate(name).strip())
            ring = "e => getComputedStyle(e).outlineStyle + getComputedStyle(e).outlineWidth"
            assert at.evaluate(ring) == "solid3px", seen[-1]
            if words == seen[-1] or (words in seen[-1] and not exact):
                return
        raise AssertionError(f"{words} is not reached: {seen}")

    tab_to("Skip to the lists", 1)
    tab_to("Playground")
    tab_to("Newcomer")
    press("Enter")
    page.get_by_text("Nobody knows anything").wait_for()
    tab_to("to the history")
    page.keyboard.type("lost")
    page.get_by_role("option").nth(1).wait_for()
    press("ArrowDown")
    press("ArrowDown")
    page.locator('[role="option"]:nth-child(2)[aria-selected="true"]').wait_for()
    active = page.locator(":focus").get_attribute("aria-activedescendant")
    chosen = page.locator(f"#{active} .title").inner_text()
    press("Enter")
    page.locator(".had .title", has_text=chosen).wait_for()
    assert page.locator(":focus").get_attribute("role") == "combobox"
    settled(page)
    tab_to("Like")
    liked = seen[-1].removeprefix("Like ")
    press("Space")
    page.locator(".had .title", has_text=liked).wait_for()
    assert page.locator(".had li").count() == 2
    settled(page)
    tab_to("Why", 30)
    press("Enter")
    page.locator('.list[data-column^="member"] .why').first.wait_for()
    words = page.locator(f"{SERVED}:first-child .held")
    tab_to(words.first.inner_text(), exact=True)
    page.locator("#evidence").wait_for()
    before = page.locator("#evidence").inner_text()
    press("ArrowRight")
    assert page.locator(":focus").inner_text() == words.nth(1).inner_text()
    assert page.locator("#evidence").inner_text() != before
    press("Escape")
    page.locator("#evidence").wait_for(state="hidden")


def _contrast(page: Any, selector: str) -> float:
    """Of the text of an element with the first ground behind it that is not see-through (WCAG 2)."""
    colours = page.locator(selector).first.evaluate(
        """e => { const ink = getComputedStyle(e).color; let at = e;
        while (at && /, 0\\)|transparent/.test(getComputedStyle(at).backgroundColor)) at = at.parentElement;
        return [ink, getComputedStyle(at || document.body).backgroundColor]
          .map(c => c.match(/[\\d.]+/g).slice(0, 3).map(Number)); }"""
    )

    def light(colour: list[float]) -> float:
        parts = [v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted(map(light, colours), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_can_be_read_and_the_switch_stays(service: Any, opened: Callable, scheme: str) -> None:
    page = opened(service, color_scheme=scheme)
    settled(page)
    for selector in ("h2", ".row .title", ".row .facts", ".why", ".held", ".list .about", ".tabs a", ".pick", ".rank"):
        assert _contrast(page, selector) >= 4.5, selector
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(ground) != before
    page.reload()
    settled(page)
    assert page.evaluate(ground) != before


def test_a_phone_never_scrolls_sideways(service: Any, opened: Callable) -> None:
    page = opened(service, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    settled(page)
    for part in ("Playground", "Items", "Models", "Live"):
        page.get_by_role("link", name=part).tap()
        page.locator(f"#{part.lower()} .panel").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, part
    page.get_by_role("link", name="Playground").tap()
    assert page.locator(".list").first.get_attribute("data-column") == "popularity"
    tops = {name: page.locator(f'[data-column="{name}"]').bounding_box()["y"] for name in ("popularity", "served")}
    assert tops["served"] < tops["popularity"]  # what is recommended comes first


def test_what_was_measured_and_live_counts(service: Any, opened: Callable) -> None:
    page = opened(service, path="#models")
    measured = service.recommender.session.metrics["full"]["ndcg@10"]
    page.locator("tr", has_text="ndcg@10").get_by_text(f"{measured:.3f}").wait_for()
    assert page.locator("tr.cold").count() >= 1
    assert service.recommender.version in page.locator("#models").inner_text()
    page.get_by_role("link", name="Live").click()
    page.locator("tr", has_text="/v1/page/model").first.wait_for()
    number = page.locator("#live .tile b").first
    first = int(number.inner_text().replace(",", ""))
    assert first >= 5
    page.locator("#live .muted", has_text="now").wait_for()  # the second look: there is a rate
    assert int(number.inner_text().replace(",", "")) > first


def test_what_is_trained_meanwhile_is_said(serving: Callable, opened: Callable) -> None:
    state = {"name": "all-round", "words": "all-round is being trained", "finished": 3, "stages": 12, "ended": False}
    page = opened(serving(training=lambda: dict(state)))
    page.locator("#training", has_text="3 of 12 steps").wait_for()
    state |= {"finished": 12, "ended": True, "words": "all-round is trained, and answers from now on"}
    page.locator("#training", has_text="answers from now on").wait_for()


def test_asking_anew_makes_no_further_timer(serving: Callable, opened: Callable) -> None:
    state = {"name": "all-round", "words": "all-round is being trained", "finished": 3, "stages": 12, "ended": False}
    page = opened(serving(training=lambda: dict(state)))
    page.locator("#training", has_text="3 of 12 steps").wait_for()
    settled(page)
    page.evaluate(TIMERS)
    for finished in (4, 5, 6):
        state["finished"] = finished
        page.get_by_role("button", name="Key", exact=True).click()
        page.get_by_role("button", name="Forget").click()
        page.locator("#training", has_text=f"{finished} of 12 steps").wait_for()
        assert page.evaluate("[...waiting.values()].filter((after) => after === 3000).length") == 1


def test_live_counts_that_nobody_looks_at_are_not_asked_for(service: Any, opened: Callable) -> None:
    page = opened(service, path="#models")
    page.get_by_role("heading", name="What answers").wait_for()
    page.evaluate(TIMERS)
    held: list[Any] = []
    page.route("**/metrics", lambda route: held.append(route))
    with page.expect_request("**/metrics"):
        page.get_by_role("link", name="Live").click()
    page.get_by_role("link", name="Models").click()
    page.locator("#live").wait_for(state="hidden")
    with page.expect_response("**/metrics") as answer:
        held[0].continue_()
    answer.value.finished()
    page.evaluate("new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))")
    assert page.evaluate("[...waiting.values()].filter((after) => after >= 2000)") == []


def test_a_map_that_is_gone_listens_no_more(service: Any, opened: Callable) -> None:
    page = opened(service)
    settled(page)
    made = """async (gone) => {
      const { drawing } = await import("/static/map.js");
      const map = drawing(() => {});
      document.body.append(map.element);
      map.points([{ item_id: "a", title: "a", categories: [], events: 1, x: 0, y: 0 }]);
      const canvas = map.element.querySelector("canvas");
      if (gone) map.gone();
      canvas.width = 1;
      document.dispatchEvent(new Event("themechange"));
      window.dispatchEvent(new Event("resize"));
      return canvas.width > 1;
    }"""
    assert page.evaluate(made, False)
    assert not page.evaluate(made, True)
