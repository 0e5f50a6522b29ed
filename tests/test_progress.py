"""What a person who waits can read: plain lines where stderr is no terminal, nothing on stdout."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest

from interlingua import progress


class Clock:
    """Stands in for the system's clock: waiting costs nothing."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress.time, "perf_counter", made)
    return made


def test_lines_come_at_intervals_with_the_time_that_remains(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.task("train", 10) as shown:
        for step in range(10):
            clock.now += 4
            shown.advance(note=f"loss {10 - step}")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "train: 1/10, 4.0 s elapsed, about 36 s left, loss 10"  # after two seconds nobody waits silently
    assert lines[1] == "train: 4/10, 16 s elapsed, about 24 s left, loss 7"
    assert lines[2] == "train: 7/10, 28 s elapsed, about 12 s left, loss 4"
    assert lines[-1] == "train: 10/10, 40 s elapsed, loss 1"
    assert len(lines) == 4


def test_a_long_step_says_how_far_it_is(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.task("train", 2) as shown:
        for step in range(1, 5):
            clock.now += 4
            shown.inside(step, 4 if step > 1 else None)
        shown.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: 0/2, 4.0 s elapsed, step 1"
    assert lines[1] == "train: 0/2, 16 s elapsed, about 16 s left, step 4 of 4"
    assert len(lines) == 2
    assert shown.remaining_s() == pytest.approx(16)


def test_short_work_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.task("quick", 5) as shown:
        for _ in range(5):
            clock.now += 0.01
            shown.advance()
    assert capsys.readouterr() == ("", "")


def test_resumed_work_does_not_count_towards_the_speed(clock: Clock) -> None:
    with progress.task("train", 100) as shown:
        shown.start_at(90)
        assert shown.remaining_s() is None
        clock.now += 20
        shown.advance(2)
        assert shown.done == 92
        assert shown.remaining_s() == pytest.approx(80)


def test_work_may_turn_out_to_be_more(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.task("rounds", 2) as shown:
        clock.now += 4
        shown.advance(2)
        shown.extend(2)
        assert shown.remaining_s() == pytest.approx(4)
    assert capsys.readouterr().err.splitlines() == ["rounds: 2/2, 4.0 s elapsed"]


def test_one_silent_call_is_told_by_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FIRST_AFTER_S", "PLAIN_EVERY_S"):
        monkeypatch.setattr(progress, name, 0.0)
    monkeypatch.setattr(progress, "BEAT_S", 0.01)
    with progress.call("inverse", 300.0):
        time.sleep(0.1)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"inverse: 0/1, 0\.\d s elapsed, about (4 min 5\d|5 min \d) s left", first)
    assert last.startswith("inverse: 1/1, 0.")
    with progress.call("inverse", 0.0):  # it takes longer than expected: never done before it is
        time.sleep(0.1)
    assert "0.0 s left" in capsys.readouterr().err


def test_a_call_that_fails_is_told_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), progress.call("x", 1.0):
        raise ZeroDivisionError
    assert threading.active_count() == before


def test_very_many_items_are_told_in_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    monkeypatch.setattr(
        progress.Task, "advance", lambda self, by=1, note="": steps.append(by) or self.start_at(by + self.done)
    )
    assert sum(progress.track(range(100_500), "items")) == 100_500 * 100_499 // 2
    assert sum(steps) == 100_500
    assert len(steps) < 1_100


def test_track_passes_items_through(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(["a", "b"], "items")) == ["a", "b"]
    assert list(progress.track([], "nothing")) == []
    assert capsys.readouterr().out == ""


def test_say_keeps_stdout_for_results(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("reading")
    assert capsys.readouterr() == ("", "reading\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (119.4, "119 s"),
        (120, "2 min 0 s"),
        (125, "2 min 5 s"),
        (7199, "119 min 59 s"),
        (7200, "2 h 0 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_durations_are_short_and_readable(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_a_terminal_gets_a_bar() -> None:
    """A real pseudo-terminal as stderr: the bar, the count and the note appear, stdout stays clean."""
    program = (
        "import time; from interlingua import progress; from interlingua.progress import task\n"
        "with task('short', 3) as t: t.advance(3)\n"
        "progress.FIRST_AFTER_S = 0.0\n"
        "with task('embedding', 3) as t:\n"
        "    t.start_at(1)\n"
        "    for n in range(2): time.sleep(0.15); t.advance(note=f'loss {n}')\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            shown += block
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(ours)
    assert process.returncode == 0
    assert b"embedding" in shown
    assert b"short" not in shown  # what ends within two seconds says nothing
    assert b"3/3" in shown
    assert b"loss 1" in shown
