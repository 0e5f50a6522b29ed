"""Importing does no work, ``--help`` is light, and a missing optional library names the command that installs it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from interlingua import errors
from interlingua.errors import install_command

ROOT = Path(__file__).parents[1]

HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "polars",
    "scipy",
    "sklearn",
    "pandas",
    "matplotlib",
    "numpy",
)
COMMANDS = ["run", "recommend", "list", "data", "evaluate", "compare", "demo", "serve", "runs", "explain"]


def python(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def test_importing_the_package_loads_no_heavy_library() -> None:
    answer = python(f"import interlingua, sys; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert answer.stdout.strip() == "[]", answer.stderr


def test_help_loads_no_heavy_library() -> None:
    program = (
        "import sys; sys.argv = ['interlingua', '--help']\n"
        "from interlingua.cli.main import main\n"
        "try: main()\n"
        f"except SystemExit as end: print('loaded', [m for m in {HEAVY!r} if m in sys.modules], end.code)\n"
    )
    answer = python(program)
    assert "loaded [] 0" in answer.stdout, answer.stdout + answer.stderr
    assert "recommend" in answer.stdout


@pytest.mark.parametrize(
    "command", ["run", "recommend", "list", "data", "evaluate", "compare", "demo", "serve", "runs", "profiles"]
)
def test_the_help_of_every_command_loads_no_torch(command: str) -> None:
    program = (
        f"import sys; sys.argv = ['interlingua', {command!r}, '--help']\n"
        "from interlingua.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: print('torch' in sys.modules, end.code)\n"
    )
    answer = python(program)
    assert answer.stdout.splitlines()[-1] == "False 0", answer.stdout + answer.stderr


def test_importing_the_package_opens_and_sends_nothing() -> None:
    """Every file opened, process started and socket made after the interpreter is up, by the audit events of Python."""
    program = (
        "import sys\n"
        "seen = []\n"
        "def note(event, values):\n"
        "    code = event == 'open' and str(values[0]).endswith(('.py', '.pyc'))\n"
        "    if not code and event.startswith(('open', 'socket.', 'subprocess.', 'os.system', 'os.mkdir')):\n"
        "        seen.append((event, str(values)))\n"
        "sys.addaudithook(note)\n"
        "import interlingua, interlingua.cli.main\n"
        "print(seen)\n"
    )
    assert python(program).stdout.strip() == "[]"


def test_importing_the_package_takes_little_longer_than_starting_python() -> None:
    def fastest(program: str) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            assert python(program).returncode == 0
            times.append(time.perf_counter() - started)
        return min(times)

    bare = fastest("import typing")
    assert fastest("import interlingua") < 3 * bare + 0.1
    assert fastest("import interlingua.cli.main") < 12 * bare + 0.5


def test_public_names_load_on_first_use() -> None:
    program = (
        "import interlingua, sys\n"
        "assert 'interlingua.errors' not in sys.modules\n"
        "interlingua.InterlinguaError\n"
        "assert 'interlingua.errors' in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
        "print(all(getattr(interlingua, name) is not None for name in interlingua.__all__))\n"
        "try: interlingua.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    answer = python(program)
    assert answer.stdout.splitlines() == ["True", "module 'interlingua' has no attribute 'nothing'"], answer.stderr


BLOCK = (
    "import sys\nfor name in {blocked!r}: sys.modules[name] = None\nfrom interlingua.errors import MissingExtraError\n"
)
TRY = "try:\n    {line}\nexcept MissingExtraError as error: print(error)\n"


@pytest.mark.parametrize(
    ("blocked", "setup", "line", "extra"),
    [
        (
            ["sentence_transformers"],
            "from interlingua.text.sbert import Sbert, SbertConfig",
            "Sbert(SbertConfig(model=sys.argv[1]), ['a title'])",
            "text",
        ),
        (["transformers"], "from interlingua.lm.load import _transformers", "_transformers()", "llm"),
        (
            ["fastapi"],
            "from pathlib import Path; from interlingua.cli.serve import serve",
            "serve(Path('nothing'))",
            "serve",
        ),
        (
            ["uvicorn"],
            "from pathlib import Path; from interlingua.cli.serve import serve",
            "serve(Path('nothing'))",
            "serve",
        ),
    ],
)
def test_a_missing_optional_library_names_its_install_command(
    tmp_path: Path, blocked: list[str], setup: str, line: str, extra: str
) -> None:
    (tmp_path / "modules.json").write_text("[]")
    program = BLOCK.format(blocked=blocked) + setup + "\n" + TRY.format(line=line)
    answer = python(program, str(tmp_path), INTERLINGUA_CACHE=str(tmp_path / "cache"))
    assert install_command(extra) in answer.stdout, answer.stdout + answer.stderr
    assert blocked[0].replace("_", "-") in answer.stdout


EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_installed_by_its_packages(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No index knows the extras of a checkout or of a wheel that was copied here, so the packages are named."""
    lines = [f'{line}; extra == "{name}"' for name, each in EXTRAS.items() for line in each]
    monkeypatch.setattr(errors, "requires", lambda name: ["torch>=2.6", *lines])
    words = shlex.split(install_command(extra))
    assert words[:2] == ["pip", "install"]
    assert not [word for word in words if "interlingua" in word or word == "torch>=2.6"]
    assert set(words[2:]) == {each.partition(";")[0] for each in packages(extra)}  # here, whatever the system
    assert len(words[2:]) == len(set(words[2:]))


def packages(extra: str) -> list[str]:
    """The requirements of an extra, those of the extras that it names included."""
    found = []
    for line in EXTRAS[extra]:
        inner = re.fullmatch(r"interlingua\[(.*)\]", line)
        found += [p for name in inner[1].split(",") for p in packages(name)] if inner else [line]
    return found


def test_a_source_tree_that_is_not_installed_names_its_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(errors, "requires", absent)
    assert install_command("llm") == "pip install -e '.[llm]' in the checkout"
