"""A command is one file: of this package by ``COMMANDS``, of another by an entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from interlingua.cli.main import own_commands

STRANGER = '''
def greet(name: str, loud: bool = False) -> None:
    """Greets somebody."""
    print(f"hello {name}{'!' if loud else ''}")
'''


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line with a folder of installed packages in front."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "interlingua", *arguments],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A package as pip leaves it: a good command, one whose module is gone, one with a name that is ours."""
    (tmp_path / "stranger.py").write_text(STRANGER)
    about = tmp_path / "stranger-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    points = "greet = stranger:greet\nbroken = nowhere_at_all:command\nrun = stranger:greet\n"
    (about / "entry_points.txt").write_text(f"[interlingua.command]\n{points}")
    return tmp_path


def test_an_installed_package_adds_a_command(installed: Path) -> None:
    done = run(installed, "greet", "Ada", "--loud")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "hello Ada!\n"


def test_a_broken_one_and_one_with_our_name_are_left_out_and_said(installed: Path) -> None:
    done = run(installed, "--help")
    assert done.returncode == 0
    assert "Greets somebody." in done.stdout
    assert "broken" not in done.stdout
    assert "Run every stage of a recipe" in done.stdout  # ours
    said = done.stderr.splitlines()
    assert len(said) == 2
    assert any("'broken'" in line and "nowhere_at_all" in line for line in said)
    assert any("'run'" in line and "exists" in line for line in said)


def test_every_file_with_commands_is_mounted() -> None:
    assert {"run", "runs", "list", "data", "recommend", "explain", "serve", "doctor"} <= set(own_commands())
