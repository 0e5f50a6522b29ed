"""The example plug-ins, installed as a package of their own: listed, in the contract suite, and in a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hatchling")
ROOT = Path(__file__).parents[1]
NAMES = {
    "backbones": "markov",
    "encoders": "letters",
    "aligners": "rotation",
    "rankers": "overlap",
    "sources": "baskets",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built package and its entry points."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugins"
    subprocess.run([sys.executable, "-c", COPY, str(ROOT / "examples" / "plugins"), str(source)], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index",
         "--no-build-isolation", "--target", str(folder), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


COPY = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"


def python(installed: Path, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "src"), str(installed)]
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False, cwd=folder or ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize("kind", sorted(NAMES))
def test_a_plug_in_is_listed_like_our_own(kind: str, installed: Path) -> None:
    listed = python(installed, "interlingua.cli.main", "list", kind)
    assert NAMES[kind] in listed.stdout.split(), listed.stderr


def test_the_contract_suite_takes_plug_ins_in(installed: Path, tmp_path: Path) -> None:
    chosen = "(markov or letters or rotation or baskets) and not thin and not whole"
    done = python(
        installed, "pytest", "--pyargs", "interlingua.testing", "-q", "-p", "no:cacheprovider", "-k", chosen,
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_a_recipe_of_plug_ins_runs_to_its_end(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.baskets").write_text(
        "\n".join(
            f"u{user % 20}: a{(user + day) % 9} a{(user + day + 1) % 9}" for day in range(6) for user in range(20)
        ),
        encoding="utf-8",
    )
    recipe = """
[data]
name = "mine.baskets"
filter = { min_user = 2, min_item = 2 }
[backbone]
name = "markov"
[text]
name = "letters"
fields = ["title"]
[ranker]
name = "overlap"
[evaluate]
protocols = ["full"]
max_users = 10
"""
    (tmp_path / "mine.toml").write_text(recipe, encoding="utf-8")
    done = python(installed, "interlingua.cli.main", "run", "mine.toml", "--trust", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "hit@10" in done.stdout
