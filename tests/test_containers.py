"""The image and its compose file: what they promise of users, secrets and health, and that their commands exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.container_check import stages_of

ROOT = Path(__file__).parents[1]
SECRET = re.compile(r"password|secret|token|_key$|keys$", re.I)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8")))


def takes(arguments: list[str]) -> dict[str, Any]:
    """The options of ``interlingua serve`` that a command line gives; an unknown one is an error."""
    import typer

    from interlingua.cli.main import app

    command: Any = typer.main.get_command(app)
    assert arguments[0] == "serve"
    return dict(command.commands["serve"].make_context("serve", arguments[1:]).params)


def test_the_image_runs_without_rights_and_says_how_it_is() -> None:
    build, final = stages_of(ROOT / "Dockerfile")
    steps: dict[str, list[str]] = {}
    for name, value in final.steps:
        steps.setdefault(name, []).append(value)
    (user,) = steps["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert final.steps.index(("USER", user)) > max(i for i, (name, _) in enumerate(final.steps) if name == "RUN")
    assert "/health/ready" in steps["HEALTHCHECK"][0]
    for stage in (build, final):
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", stage.base)
        for name, value in stage.steps:
            if name in ("ENV", "ARG"):
                assert not [key for key in re.findall(r"(\w+)=", value) if SECRET.search(key)], value
    assert json.loads(steps["ENTRYPOINT"][0]) == ["interlingua"]
    given = takes(json.loads(steps["CMD"][0]))
    assert (given["host"], given["port"]) == ("0.0.0.0", int(steps["EXPOSE"][0]))
    assert str(given["keys"]).startswith("/data/")


def test_the_build_is_given_what_it_copies_and_nothing_else() -> None:
    build, _ = stages_of(ROOT / "Dockerfile")
    copied = {each for name, value in build.steps if name == "COPY" for each in value.split()[:-1]}
    assert all((ROOT / each).exists() for each in copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_hadolint_finds_nothing() -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed")
    found = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_service_stands_beside_a_database(compose: dict[str, Any]) -> None:
    service, postgres = compose["services"]["service"], compose["services"]["postgres"]
    given = takes([re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in service["command"]])
    assert given["store"].startswith("postgresql://interlingua@postgres/")
    assert given["run"] is None  # what is promoted serves
    assert given["keys"] is not None
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "pg_isready" in postgres["healthcheck"]["test"][1]
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", postgres["image"])
    assert {volume.split(":")[0] for each in (service, postgres) for volume in each["volumes"]} == {
        "data", "database", "./shop"
    }  # fmt: skip
    assert set(compose["volumes"]) == {"data", "database"}
    assert re.sub(r"\$\{\w+:-(.*?)\}", r"\1", service["ports"][0]).startswith("127.0.0.1:")
    assert "ports" not in postgres


def test_secrets_are_asked_for_and_never_written(compose: dict[str, Any]) -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{(\w+)", text))
    named = dict(
        line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if line[:1] not in ("#", "")
    )
    assert asked == set(named)
    assert named["POSTGRES_PASSWORD"] == ""
    for service in compose["services"].values():
        for name, value in service["environment"].items():
            if SECRET.search(name):
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), name
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
