"""Every command and snippet that README and docs show is run.

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

import re
import shlex
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
SMALL = ("backbone.fit.epochs=2", "align.fit.epochs=1", "backbone.fit.second_stage_epochs=1")
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
        if named.is_file() and has_fit(named, option):
            out += ["--set", option]
    return out


def has_fit(recipe: Path, option: str) -> bool:
    """Whether the component of the option's section is trained by gradient; what is not ``epochs`` the recipe names."""
    from interlingua import registry
    from interlingua.config import read_toml

    section, _, name = option.partition("=")[0].split(".")
    values = read_toml(recipe).get(section)
    fitted = bool(values) and "fit" in registry.find(section, values["name"]).Config.model_fields
    return fitted and (name == "epochs" or name in values.get("fit", {}))


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
            recipes.load(each, given["overrides"] or ())


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


def make_targets() -> set[str]:
    """The targets of the Makefile."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def test_commands_are_read_as_a_shell_would() -> None:
    body = (
        "# a comment\n$ A=1 interlingua run x \\\n    --seed 3  # why\nmake demo && echo hi\ninterlingua runs > out\n"
    )
    assert commands(body) == [["interlingua", "run", "x", "--seed", "3"], ["make", "demo"], ["interlingua", "runs"]]
