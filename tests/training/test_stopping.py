"""Stopped by a person or by the system: one line, the usual exit code, and the work that was done is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from interlingua.data.queries import IntArray, Queries
from interlingua.data.sources.planted import generate
from interlingua.runs.calibrate import calibrate_or_warn

RUN = (
    "run", "mf", "--data", "planted", "--set", "data.filter={min_user=0, min_item=0}",
    "--set", "backbone.fit.epochs=1000000", "--set", "backbone.fit.patience=null",
)  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGINT, 130, "stopped;"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_leaves_one_line_and_the_exit_code(number: int, code: int, words: str, tmp_path: Path) -> None:
    program = "from interlingua.cli.main import main; main()"
    command = [sys.executable, "-c", program, *RUN, "--out", str(tmp_path / "runs")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "train mf: running" in line:
                break
        time.sleep(0.3)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert words in last
    assert "run the same command to continue" in last
    assert "Traceback" not in err
    assert list((tmp_path / "runs").glob("prepare-*/card.json"))  # what was finished stays


class Mixed(nn.Module):
    """Two numbers, one of them spoiled by a calibration that then fails."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.tensor([1.0, 2.0]))

    def calibrate(self, error: Exception | None) -> None:
        self.numbers.data[0] = 9.0
        if error is not None:
            raise error


class Asked:
    """A ranker whose calibration is watched, and may fail."""

    def __init__(self, inner: Mixed, error: Exception | None, asked: list[Any] | None = None) -> None:
        self.inner, self.error, self.asked = inner, error, [] if asked is None else asked
        self.named_parameters, self.named_buffers = inner.named_parameters, inner.named_buffers
        self.state_dict, self.load_state_dict = inner.state_dict, inner.load_state_dict

    def calibrate(self, queries: Queries, targets: IntArray) -> None:
        self.asked.append((queries, targets))
        self.inner.calibrate(self.error)


@pytest.mark.parametrize(
    "error", [torch.linalg.LinAlgError("singular"), FloatingPointError("overflow"), ValueError("x")]
)
def test_a_calibration_that_fails_keeps_the_starting_numbers(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    ranker: Any = Mixed()
    said = calibrate_or_warn(Asked(ranker, error), generate(40, 30).split)
    assert ranker.numbers.tolist() == [1.0, 2.0]
    assert type(error).__name__ in said["calibration"]
    assert "starting numbers are kept" in capsys.readouterr().err


def test_a_calibration_that_works_is_used() -> None:
    ranker: Any = Mixed()
    split = generate(40, 30).split
    asked: list[Any] = []

    assert calibrate_or_warn(Asked(ranker, None, asked), split) == {}
    assert len(asked[0][0]) == len(split.valid.items)
    assert asked[0][1].tolist() == split.valid.items.tolist()  # validation questions, and no other
    assert ranker.numbers.tolist() == [9.0, 2.0]
