"""Every command and snippet that README and docs show is run, and every number on them is one that a benchmark wrote.

How to write pages so that they pass:

- ```` ```python ```` blocks of a page run in order, in one namespace, in an empty folder.
- ```` ```bash ```` blocks: lines that start with ``interlingua`` run for real, in the page's folder, one after the
  other; a trailing backslash continues a line. ``make TARGET`` must exist. ``pip install`` must name real extras. Other
  commands (``cd``, ``git clone``, ``curl`` ...) are shown, not run.
- A page's files: write them in the page itself, in a block tagged ```` ```csv ratings.csv ```` or
  ```` ```toml mine.toml ````: the second word is the file's name.
- ``RUN`` in a command or snippet is the path of the page's newest finished run (``runs/evaluate-...``): pages can say
  ``interlingua recommend RUN``.
- What cannot run in a test (minutes of training, the network, a server that stays) is tagged with the reason:
  ```` ```bash no-run: trains for an hour ````. Its commands are still parsed, its recipes resolved.
- ``interlingua run`` of a shipped recipe runs on the ``planted`` world, with the options of ``SMALL`` added.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interlingua.errors import InterlinguaError

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```\s*$", re.DOTALL | re.MULTILINE)
SMALL = ("backbone.fit.epochs=2", "align.fit.epochs=1")
"""Added to every ``interlingua run`` of a page where the recipe has the option: a page's commands take seconds"""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    line: int
    language: str
    tags: str
    body: str

    @property
    def runs(self) -> bool:
        """Whether the page promises that it runs here."""
        return not self.tags.startswith("no-run")


def ident(page: Path) -> str:
    """The page's path in the project."""
    return str(page.relative_to(ROOT))


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for match in FENCE.finditer(text):
        language, _, tags = match["info"].strip().partition(" ")
        found.append(Block(text[: match.start()].count("\n") + 1, language, tags.strip(), match["body"]))
    return found


def commands(body: str) -> list[list[str]]:
    """The commands of a bash block, with continued lines joined, comments, prompts and redirections dropped."""
    joined = re.sub(r"\\\n\s*", " ", body)
    found = []
    for line in joined.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        for stop in ("|", ">", "&&", "||", "&", "2>", "<"):
            if stop in words:
                words = words[: words.index(stop)]
        if words:
            found.append(words)
    return found


def interlingua(arguments: list[str]) -> int:
    """Runs the command line as its entry point does, in this process (a new one would load the libraries again)."""
    from interlingua.cli.main import main

    before, sys.argv = sys.argv, ["interlingua", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return 0


def latest_run(folder: Path) -> str:
    """The newest finished run of a page."""
    runs = sorted(folder.glob("runs*/evaluate-*/card.json"), key=lambda card: card.stat().st_mtime)
    return str(runs[-1].parent.relative_to(folder)) if runs else "RUN"


def shortened(arguments: list[str]) -> list[str]:
    """The same command on small data with little training: the page shows the real one."""
    if arguments[:1] != ["run"] or len(arguments) < 2:
        return arguments
    from interlingua.runs.recipe import folder as recipes

    named = Path(arguments[1]) if arguments[1].endswith(".toml") else recipes() / f"{arguments[1]}.toml"
    out = list(arguments)
    if "--on" in out:
        out[out.index("--on") + 1] = "planted"
    elif not any(a == "--data" or a.startswith("data.name") for a in out) and named.is_file():
        values = tomllib.loads(named.read_text(encoding="utf-8"))
        if values.get("data", {}).get("name") not in (None, "planted") and not named.is_relative_to(ROOT):
            return out
        out += ["--data", "planted"]
    for option in SMALL:
        section = option.split(".")[0]
        if named.is_file() and has_fit(named, section):
            out += ["--set", option]
    return out


def has_fit(recipe: Path, section: str) -> bool:
    """Whether the recipe's component of that section is trained by gradient."""
    from interlingua import registry
    from interlingua.config import read_toml

    values = read_toml(recipe).get(section)
    return bool(values) and "fit" in registry.find(section, values["name"]).Config.model_fields


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_the_page_does_what_it_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTERLINGUA_CACHE", str(tmp_path / ".cache"))
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        where = f"{ident(page)}:{block.line}"
        if block.language in ("csv", "toml", "text", "json", "jsonl") and re.fullmatch(r"[\w./-]+\.\w+", block.tags):
            target = tmp_path / block.tags
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.body, encoding="utf-8")
        elif block.language == "toml":
            tomllib.loads(block.body)
        elif block.language == "python":
            code = compile(block.body.replace("RUN", latest_run(tmp_path)), where, "exec")
            if block.runs:
                exec(code, namespace)
        elif block.language in ("bash", "sh", "console"):
            for words in commands(block.body):
                check_command(words, block, where, tmp_path)


def check_command(words: list[str], block: Block, where: str, folder: Path) -> None:
    """Runs or checks one command of a page."""
    if words[0] == "make":
        for target in [w for w in words[1:] if "=" not in w and not w.startswith("-")]:
            assert target in make_targets(), f"{where}: there is no make target {target!r}"
    elif words[0] in ("pip", "python") and "install" in words:
        known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for extras in re.findall(r"(?:interlingua|\.)\[([\w,]+)\]", " ".join(words)):
            unknown = set(extras.split(",")) - set(known["optional-dependencies"])
            assert not unknown, f"{where}: there is no extra {unknown}"
    elif words[0] == "interlingua":
        arguments = [latest_run(folder) if w == "RUN" else w for w in words[1:]]
        if block.runs:
            assert interlingua(shortened(arguments)) == 0, f"{where}: {shlex.join(words)} failed"
        else:
            check_options(arguments, where)


def check_options(arguments: list[str], where: str) -> None:
    """The command line takes what the page shows: all that is required, nothing unknown; recipes resolve."""
    import typer

    from interlingua.cli.main import app
    from interlingua.runs import recipe as recipes

    command: Any = typer.main.get_command(app)
    parent, rest = None, [word for word in arguments if word != "--debug"]
    while hasattr(command, "commands"):
        assert rest, f"{where}: no command"
        assert rest[0] in command.commands, f"{where}: there is no command {rest[0]!r}"
        command, parent = command.commands[rest[0]], command.make_context(rest.pop(0), [], resilient_parsing=True)
    try:
        given = command.make_context(arguments[0], rest, parent=parent).params
    except Exception as error:
        said = error.format_message() if hasattr(error, "format_message") else str(error)
        raise AssertionError(f"{where}: {shlex.join(arguments)}: {said}") from error
    if arguments[0] == "run":
        named = given["recipe"]
        for each in [named] if isinstance(named, str) else named:
            recipes.load(each, given["sets"] or ())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data convert folder", "out"),
        ("data convert folder other --out x", "other"),
        ("run pop --sett a=1", "--sett"),
        ("runn pop", "no command 'runn'"),
        ("run pop --seed many", "many"),
        ("run nothing-like-this", "nothing-like-this"),
        ("run pop --set backbone.wings=2", "wings"),
    ],
)
def test_a_line_that_the_command_line_refuses_is_found(line: str, words: str) -> None:
    with pytest.raises((AssertionError, InterlinguaError), match=words):
        check_options(line.split(), "page:1")


ADVICE = re.compile(r"pip install[^\n`]*\binterlingua\b(?!\.)")


def extras_of(recipe: Any) -> set[str]:
    """Extras without which a recipe cannot run: a language model's, a sentence encoder's."""
    sentences = recipe.text is not None and recipe.text.name == "sbert"
    return ({"llm"} if recipe.ranker is not None else set()) | ({"text"} if sentences else set())


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_what_a_block_installs_is_enough_for_what_it_runs(page: Path) -> None:
    from interlingua.runs import recipe as recipes

    for block in blocks(page.read_text(encoding="utf-8")):
        installed = set(re.findall(r"\w+", " ".join(re.findall(r"pip install [^\n]*\[([\w,]+)\]", block.body))))
        if not installed:
            continue
        for words in commands(block.body):
            if words[:2] == ["interlingua", "run"]:
                needed = extras_of(recipes.load(words[2], data="planted"))
                assert needed <= installed, f"{ident(page)}:{block.line}: {words[2]} needs {needed - installed} too"


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


@pytest.mark.parametrize("method", ["a-llmrec", "ra-rec", "rlmrec"])
def test_a_method_and_its_measurements_are_two_pages_that_name_each_other(method: str) -> None:
    page = (ROOT / "docs" / f"{method}.md").read_text(encoding="utf-8")
    assert not render["TABLE"].search(page)
    assert f"](results/{method}.md)" in page
    assert f"](../{method}.md)" in (ROOT / "docs/results" / f"{method}.md").read_text(encoding="utf-8")


def make_targets() -> set[str]:
    """The targets of the Makefile."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


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


render = runpy.run_path(str(ROOT / "benchmarks" / "render.py"))


def test_the_numbers_on_the_pages_are_those_of_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert render["main"](["--check"]) == 0, capsys.readouterr().err


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one page and one result."""
    results = tmp_path / "benchmarks" / "speed" / "results"
    results.mkdir(parents=True)
    report = {
        "command": "python speed.py", "commit": "0123456789abcdef", "machine": "2 cores",
        "rows": [
            {"method": "ours", "part": "test", "seconds": 0.123456, "users": 12345, "ratio": 10.0},
            {"method": "a | b", "part": "valid", "seconds": None, "users": 7, "ratio": 123.4},
        ],
        "results": {"csv": {"seconds": 41.234}, "parquet": {"seconds": 3.5}},
    }  # fmt: skip
    (results / "scan.json").write_text(json.dumps(report))
    (tmp_path / "README.md").write_text(
        "before\n<!-- numbers:speed/scan.rows columns=method,seconds,users,ratio -->\nold\n<!-- /numbers -->\n"
        "in <!-- number:speed/scan.results.csv.seconds digits=1 -->?<!-- /number --> s, after\n"
    )
    return tmp_path


def test_tables_and_numbers_are_written_into_their_regions(project: Path) -> None:
    main = render["main"]
    assert main(["--check"], project) == 1
    assert main([], project) == 0
    assert main(["--check"], project) == 0
    assert (project / "README.md").read_text() == (
        "before\n<!-- numbers:speed/scan.rows columns=method,seconds,users,ratio -->\n"
        "| method | seconds | users | ratio |\n|---|---:|---:|---:|\n"
        "| ours | 0.1235 | 12,345 | 10.00 |\n| a \\| b | - | 7 | 123 |\n\n"
        "<sub>`benchmarks/speed/results/scan.json`; `python speed.py`; commit 0123456789; 2 cores</sub>\n"
        "<!-- /numbers -->\nin <!-- number:speed/scan.results.csv.seconds digits=1 -->41.2<!-- /number --> s, after\n"
    )


@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        ("speed/scan.rows where=part:valid columns=method,users", ["| a \\| b | 7 |"]),
        ("speed/scan.results digits=0", ["| csv | 41 |", "| parquet | 4 |"]),
        ("speed/scan.results.csv", ["| seconds | 41.23 |"]),
        ("speed/scan.rows.0 digits=2", ["| seconds | 0.12 |"]),
    ],
)
def test_each_shape_of_result_is_a_table(project: Path, spec: str, lines: list[str]) -> None:
    text = render["table_of"](spec, project)
    assert all(line in text.splitlines() for line in lines), text


@pytest.mark.parametrize(
    "spec",
    ["speed/absent.rows", "speed/scan.nothing", "speed/scan.rows columns=nothing", "speed/scan.rows where=part:none"],
)
def test_a_marker_that_no_result_answers_fails(project: Path, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "README.md").write_text(f"<!-- numbers:{spec} -->\n<!-- /numbers -->\n")
    assert render["main"]([], project) == 1
    assert "README.md" in capsys.readouterr().err


def test_commands_are_read_as_a_shell_would() -> None:
    body = (
        "# a comment\n$ A=1 interlingua run x \\\n    --seed 3  # why\nmake demo && echo hi\ninterlingua runs > out\n"
    )
    assert commands(body) == [["interlingua", "run", "x", "--seed", "3"], ["make", "demo"], ["interlingua", "runs"]]


def test_pictures_show_the_stored_results() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "picture.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
