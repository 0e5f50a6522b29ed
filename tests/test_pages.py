"""The form of README and docs: short pages, links that lead somewhere, words that are true of the project."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.test_docs import FENCE, PAGES, ROOT, ident

ADVICE = re.compile(r"pip install[^\n`]*\binterlingua\b(?!\.)")


def test_no_page_and_no_message_advises_what_no_index_has() -> None:
    """Until there is a release, what installs works from a checkout (``-e .``) or names the packages themselves."""
    sources = [*PAGES, *(ROOT / "src").rglob("*.py")]
    found = [f"{ident(p)}: {m}" for p in sources for m in ADVICE.findall(p.read_text(encoding="utf-8"))]
    assert found == ["src/interlingua/errors.py: pip install 'interlingua"]  # the docstring that says why


def test_the_pages_give_the_stages_in_the_order_in_which_they_run() -> None:
    from interlingua.runs import recipe as recipes
    from interlingua.runs.plan import make_plan

    order = list(make_plan(recipes.load("aligned-mixture", data="planted"), 7))
    assert len(order) == 6
    for page in ("README.md", "docs/index.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        listed = re.findall(rf"\b{order[0]}(?:(?:,| ->| and) (?:{'|'.join(order)})){{4,}}", text)
        assert listed, page
        assert [re.findall(r"[a-z]{3,}", each.replace(" and ", " ")) for each in listed] == [order] * len(listed), page


MOST_WORDS = 900
"""of a page that explains; measurements and their discussion are in docs/results"""


def words(text: str) -> list[str]:
    """What a reader reads in sentences: headings, tables, code, small print and markers left out."""
    text = re.sub(r"<!--.*?-->|<sub>.*?</sub>", "", FENCE.sub("", text), flags=re.DOTALL)
    return " ".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", "|"))).split()


def test_headings_tables_code_and_markers_are_no_words() -> None:
    page = "# A b\n\none <!-- number:x y -->2<!-- /number -->\n\n| a | b |\n|---|---|\n"
    page += "\n<sub>c d</sub>\n\n```bash x\ne f\n```\nthree\n"
    assert words(page) == ["one", "2", "three"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=ident)
def test_a_page_is_read_in_five_minutes(page: Path) -> None:
    found = len(words(page.read_text(encoding="utf-8")))
    assert found <= MOST_WORDS, f"{ident(page)} has {found} words: measurements belong into docs/results"


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{ident(page)} links to {target}, which is not there"


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_links_into_a_page_lead_to_a_heading(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target, anchor in re.findall(r"\]\(([\w./-]*)#([^)]+)\)", text):
        to = page.parent / target if target else page
        assert anchor in anchors(to), f"{ident(page)} links to {target}#{anchor}: no heading is called so"


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_a_page_names_no_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?:^|[\s`'\"(=])(/(?:work|root|home|tmp|opt|Users)/[^\s`'\")]*)", text)
    assert not found, f"{ident(page)}: {found}"


def test_the_readme_shows_the_two_commands_on_its_first_screen() -> None:
    screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:60])
    assert "make demo" in screen
    assert "make test" in screen
    assert "interlingua" in screen


def test_no_tracked_file_is_data_or_weights() -> None:
    """Data, weights and packages stay out of the repository: nothing in it is larger than a megabyte."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert files
    large = [str(file.relative_to(ROOT)) for file in files if file.stat().st_size > 2**20]
    built = [str(file.relative_to(ROOT)) for file in files if file.suffix in (".whl", ".gz", ".zip", ".pt", ".bin")]
    assert not large + built
