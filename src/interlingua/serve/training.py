"""A recipe that is trained in a process of its own beside a service, and promoted in its store when it is done."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from interlingua.errors import first_line
from interlingua.life.versions import enter, promote

if TYPE_CHECKING:
    from interlingua.serve.queue import WorkQueue
    from interlingua.store import Store

NICE = 15
"""how far it stands behind everything else on the machine"""
FINISHED = re.compile(r"^\S+ .*: (?:done in |reusing )")
"""a line of ``interlingua run`` at the end of a stage"""
LAST_S = 5.0
"""seconds that it has to end in"""
LOG = logging.getLogger("uvicorn.error")


class Training:
    """Runs beside a served model (:class:`interlingua.serve.model.Companion`)."""

    def __init__(
        self, command: list[str], name: str, stages: int, store: Store, said: Callable[[str], None] = LOG.info
    ) -> None:
        """Args:
        command: what trains, as ``interlingua run RECIPE --json``: progress on stderr, its run on stdout.
        name: of the recipe.
        stages: how many there are, for the progress.
        store: gets the run as a version, which is promoted.
        said: takes lines of progress.
        """
        self.command, self.name, self.stages, self.store, self.said = command, name, stages, store, said
        self.finished, self.ended, self.words = 0, False, f"{name} is being trained"
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def state(self) -> dict[str, Any]:
        """How far it is; an error in its words may name folders."""
        count = min(self.finished, self.stages)
        return {"name": self.name, "words": self.words, "finished": count, "stages": self.stages, "ended": self.ended}

    def start(self, line: WorkQueue) -> None:
        """Begins."""
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        if sys.platform != "win32":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, NICE)
        Thread(target=self._follow, args=(self._process,), name="training", daemon=True).start()

    def stop(self) -> None:
        """Ends it, with all that it started; finished stages stay."""
        self._stopped = True
        process = self._process
        if process is None or process.poll() is not None:
            return
        _signal(process, signal.SIGTERM)
        try:
            process.wait(LAST_S)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
            process.wait()

    def _follow(self, process: subprocess.Popen[str]) -> None:
        last = ""
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            last = line.strip() or last
            if FINISHED.match(line):
                self.finished += 1
                self.said(f"{self.name}: {self.finished} of {self.stages} steps, {line.strip()}")
        answer, code = process.stdout.read(), process.wait()
        try:
            if code == 0:
                run = Path(json.loads(answer)["run"])
                made = enter(self.store, run, f"trained beside the service: {self.name}")
                promote(self.store, made.version)
                self.words = f"{self.name} is trained, and answers from now on"
            elif not self._stopped:
                self.words = f"{self.name} could not be trained: {last or f'it ended with {code}'}"
        except Exception as error:  # whatever it is, the service goes on as it was
            self.words = f"{self.name} is trained and does not serve: {first_line(error)}"
        self.ended = True
        if not self._stopped:
            self.said(self.words)


def _signal(process: subprocess.Popen[str], number: int) -> None:
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, number)
