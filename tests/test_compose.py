"""compose.yaml has the form that the Compose specification asks for."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "compose.yaml"


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="needs check-jsonschema")
def test_the_file_has_the_form_of_the_specification(tmp_path: Path) -> None:
    def checked(file: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    ended = checked(FILE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    text = FILE.read_text(encoding="utf-8")
    for right, wrong in (("read_only: true", "readonly: true"), ("condition: service_healthy", "condition: healthy")):
        (tmp_path / "compose.yaml").write_text(text.replace(right, wrong))
        assert checked(tmp_path / "compose.yaml").returncode == 1, wrong
