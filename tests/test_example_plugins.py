"""The example plug-ins, installed as a package of their own: one file a kind, listed, tested, run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("hatchling")
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "examples" / "plugins"
NAMES = {
    "backbones": ["likes", "markov"],
    "encoders": ["letters"],
    "aligners": ["rotation"],
    "rankers": ["next-title", "overlap", "survey", "title-states"],
    "fusions": ["borda"],
    "sources": ["baskets"],
    "datasets": ["songs"],
    "splits": ["first-half"],
    "protocols": ["strict"],
    "metrics": ["f1"],
}
ROW = re.compile(r"^\| (an? [^|]+) \| (\d+) \|.*\| \[[^\]]+\]\((examples/plugins/[^)]+)\) \|$", re.MULTILINE)
"""what is added, files touched, the example"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built package and its entry points."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugins"
    subprocess.run([sys.executable, "-c", COPY, str(PACKAGE), str(source)], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index",
         "--no-build-isolation", "--target", str(folder), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


COPY = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"


def python(installed: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "src"), str(installed)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "INTERLINGUA_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False, cwd=folder,
        env=environment, timeout=600,
    )  # fmt: skip


def test_every_row_of_the_table_has_one_file_of_the_package() -> None:
    """ "Files touched to add a ...": one; nothing else of the package names it but its entry point."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = ROW.findall(table)
    assert len(rows) == len(re.findall(r"^\| an? ", table, re.MULTILINE)) > 10
    assert len({path for _, _, path in rows}) == len(rows)
    groups = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    points = [value for group in groups.values() for value in group.values()]
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    for what, touched, where in rows:
        path = ROOT / where
        assert touched == "1", what
        assert path.is_file(), what
        if path.suffix == ".py":
            module = f"interlingua_examples.{path.stem}"
            assert sum(point.startswith(f"{module}:") for point in points) == 1, what
            assert not [other for other, text in sources.items() if re.search(rf"\b{path.stem} import|{module}", text)]
    shown = {ROOT / where for _, _, where in rows} | {PACKAGE / "src/interlingua_examples/overlap.py"}
    assert {path for path in sources if path.name != "__init__.py"} <= shown


def test_every_kind_that_can_be_plugged_in_has_an_example() -> None:
    from interlingua.registry import FOLDERS

    groups = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert set(groups) == {f"interlingua.{kind}" for kind in (*FOLDERS, "dataset", "command")}


def test_plug_ins_are_listed_like_our_own(installed: Path, tmp_path: Path) -> None:
    script = f"""
from typer.testing import CliRunner
from interlingua.cli.main import app
for kind, names in {NAMES}.items():
    listed = CliRunner().invoke(app, ["list", kind]).stdout.split()
    assert set(names) <= {{word.removesuffix("@k") for word in listed}}, (kind, listed)
"""
    (tmp_path / "listed.py").write_text(script, encoding="utf-8")
    done = python(installed, "listed", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = python(installed, "interlingua", "histories", "songs", "--users", "2", folder=tmp_path)
    assert len(shown.stdout.splitlines()) == 2, shown.stderr


def test_the_contract_suite_takes_plug_ins_in(installed: Path, tmp_path: Path) -> None:
    ours = {name for names in NAMES.values() for name in names} | {"histories"}
    done = python(
        installed, "pytest", "--pyargs", "interlingua.testing", "-p", "no:cacheprovider", "-k",
        " or ".join(sorted(ours)), "-m", "not slow", "-v", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    passed = set(re.findall(r"::(\w+)\[([^]]+)\] PASSED", done.stdout))
    assert {name for name in ours if any(re.search(rf"\b{name}\b", which) for _, which in passed)} == ours
    whole = {which for test, which in passed if test.startswith(("test_it_runs_to_the_end", "test_a_fusion_runs"))}
    kinds = {"backbone": "backbones", "align": "aligners", "ranker": "rankers"}
    assert whole == {f"{kind}-{name}" for kind in kinds for name in NAMES[kinds[kind]]} | {"borda"}
    assert ("test_it_learns_the_planted_world", "markov") in passed
    assert ("test_a_tuned_model_leaves_the_one_it_was_made_of_bitwise", "next-title+full") in passed


def test_recipes_of_plug_ins_run_to_their_end(installed: Path, tmp_path: Path) -> None:
    lines = [f"u{user % 20}: a{(user + day) % 9} a{(user + day + 1) % 9}" for day in range(6) for user in range(20)]
    (tmp_path / "mine.baskets").write_text("\n".join(lines), encoding="utf-8")
    recipe = str(PACKAGE / "recipes" / "plug-ins.toml")
    sets = ["--set", "data.options={}", "--set", "data.filter={min_user=2, min_item=2}"]
    for more in ([], ["--data", "mine.baskets", *sets]):
        done = python(installed, "interlingua", "run", recipe, "--trust", *more, folder=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "hit@10" in done.stdout
        assert "f1@10" in done.stdout


def test_a_component_learns_from_labels_and_says_that_it_needs_them(tmp_path: Path) -> None:
    """Everybody rates at random; each of two groups likes its own half of the items. Only labels tell which."""
    import numpy as np
    import polars as pl

    import interlingua
    from interlingua.errors import ConfigError

    draw = np.random.default_rng(0)
    users, items = np.repeat(np.arange(60), 20), np.concatenate([draw.permutation(40)[:20] for _ in range(60)])
    liked = (users % 2 == items % 2) ^ (draw.random(len(users)) < 0.05)
    events = pl.DataFrame(
        {"user_id": users.astype(str), "item_id": items.astype(str), "rating": np.where(liked, 5.0, 1.0),
         "timestamp": 1_600_000_000 + draw.permutation(len(users))}
    )  # fmt: skip
    events.write_csv(tmp_path / "events.csv")
    recipe = {
        "data": {"name": str(tmp_path / "events.csv"), "split": "ratio", "filter": {"min_user": 1, "min_item": 1}},
        "backbone": {"name": "interlingua_examples.likes:Likes", "labels": True},
        "evaluate": {"protocols": ["labelled"]},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PACKAGE / "src"))
        with pytest.raises(ConfigError, match=r"needs events with labels \(data.label"):
            interlingua.run(recipe, out=tmp_path / "runs", trust=True)
        recipe["data"]["label"] = {"at_least": 4}
        session = interlingua.run(recipe, out=tmp_path / "runs", trust=True, device="cpu")
    assert session.metrics["labelled"]["auc"] > 0.8
