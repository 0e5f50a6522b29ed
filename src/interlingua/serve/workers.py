"""Several processes that serve one address: started together, started again when one dies, drained together.

The parent loads no model and has no threads: it imports what is heavy, divides itself, and watches. Each worker opens
the run by itself; the weights stay in their files, which all of them share in memory. What changes goes through the
store, which each follows.
"""

from __future__ import annotations

import errno
import gc
import mmap
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from interlingua.errors import ConfigError
from interlingua.progress import say

if TYPE_CHECKING:
    from interlingua.serve.rates import Takes

QUICKLY_S, QUICK_DEATHS = 10.0, 5
"""so many deaths of workers that were never ready or lived shorter than this, one after the other, end the service"""
SPARE_S = 5.0
"""a worker that is there so long after its time to drain is killed"""
EVENLY = sys.platform == "linux"
"""the system divides connections among sockets of one address; elsewhere the workers have one socket"""
ROW = "iii"
"""of one worker on the board: ready, requests that wait, was ready since its start"""
SIZE = struct.calcsize(ROW)
ENDING = (signal.SIGTERM, signal.SIGINT)
METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""environment variable: where prometheus_client sums over processes"""


@contextmanager
def summed_counts() -> Iterator[None]:
    """Has the counts of all processes summed. Begins before prometheus_client is imported, which looks only then."""
    with TemporaryDirectory(prefix="interlingua-counts-", ignore_cleanup_errors=True) as folder:
        os.environ[METRICS] = folder
        try:
            yield
        finally:
            os.environ.pop(METRICS, None)


class Board:
    """Which workers are ready and how many requests wait there, in memory that all of them share."""

    def __init__(self, count: int) -> None:
        self.count, self._memory = count, mmap.mmap(-1, SIZE * count)

    def set(self, number: int, ready: bool, waiting: int = 0) -> None:
        """Worker ``number`` from 0 on."""
        was = ready or self.was_ready(number)
        struct.pack_into(ROW, self._memory, SIZE * number, ready, waiting, was)

    def was_ready(self, number: int) -> bool:
        """Whether this worker answers or did before."""
        return bool(self._all()[number][2])

    def clear(self, number: int) -> None:
        """Worker ``number`` is no more."""
        struct.pack_into(ROW, self._memory, SIZE * number, 0, 0, 0)

    @property
    def ready(self) -> int:
        """How many answer now."""
        return sum(ready for ready, _, _ in self._all())

    @property
    def waiting(self) -> int:
        """Requests that wait, with all workers together."""
        return sum(waiting for _, waiting, _ in self._all())

    def _all(self) -> list[tuple[int, int, int]]:
        return list(struct.iter_unpack(ROW, self._memory[:]))


class Worker:
    """One process's place among the others."""

    def __init__(
        self, number: int, board: Board, listening: socket.socket, parent: int, buckets: Takes | None = None
    ) -> None:
        """``buckets``: in which all processes count what a caller asks together; None: each for itself."""
        self.number, self.board, self.listening, self.parent = number, board, listening, parent
        self.buckets = buckets
        self._waiting: Callable[[], int] | None = None

    @property
    def orphaned(self) -> bool:
        """The parent is no more: nobody would start or stop this one."""
        return os.getppid() != self.parent

    def waiting(self, own: Callable[[], int]) -> Callable[[], int]:
        """How many requests wait with all workers; ``own``: with this one."""
        self._waiting = own
        return lambda: self.board.waiting

    def tell(self, ready: bool) -> None:
        """Says how this one is, for the others; ten times a second."""
        self.board.set(self.number, ready, 0 if self._waiting is None else self._waiting())


def check(count: int, store: str | None) -> None:
    """Refuses what cannot be shared.

    Raises:
        ConfigError: a system that cannot divide processes, or several workers without a store.
    """
    if count > 1 and sys.platform == "win32":
        raise ConfigError("--workers: this system cannot divide a process; start several services on one --store")
    if count > 1 and store is None:
        raise ConfigError(
            f"--workers {count} needs --store: items and events that one process is given must reach the others; "
            "write e.g. --store shop.sqlite"
        )


class Workers:
    """The parent."""

    def __init__(self, count: int, serve: Callable[[Worker], None], host: str, port: int, drain_s: float) -> None:
        """Reserves the address.

        Args:
            count: of processes.
            serve: runs in each; returns when it has drained.
            host: address to listen on.
            port: 0: a free one.
            drain_s: how long a worker may take after SIGTERM.
        """
        self.count, self.serve, self.drain_s = count, serve, drain_s
        self.board, self.buckets = Board(count), _buckets()
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if EVENLY and port:
            self._nobody_there(host, port)
        self._held = self._bound(host, port)
        if EVENLY:
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # see _nobody_there
        self._address = self._held.getsockname()
        self._pids: dict[int, tuple[int, float]] = {}  # pid -> (number, since)
        self._stopping = 0.0
        self._deaths = 0

    def run(self) -> int:
        """Until a signal; the exit status: 1 where workers did not live."""
        before = {sig: signal.signal(sig, self._stop) for sig in ENDING}
        host, port = self._address[:2]
        say(f"{self.count} workers on http://{f'[{host}]' if ':' in host else host}:{port}")
        gc.collect()
        gc.freeze()  # what is imported stays in pages that nobody writes
        try:
            self._start(0)  # alone at first: it enters the run into the store
            while self._pids and not self.board.ready:
                self._wait()
            for number in range(1, self.count):
                self._start(number)
            while self._pids:
                self._wait()
            return 1 if self._deaths >= QUICK_DEATHS else 0
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)
            self._held.close()

    def _nobody_there(self, host: str, port: int) -> None:
        """Refuses an address that another service has, also one whose workers are still loading.

        Such a one listens nowhere yet, and has reserved the address with a socket that shares it with its own workers.
        That socket does not reuse addresses (any more: it had to, past connections of a service that has just ended),
        and against it no other that shares nothing may listen.
        """
        tried = self._bound(host, port, shared=False)
        try:
            tried.listen(1)
        except OSError as error:
            raise _taken(host, port, error) from None
        finally:
            tried.close()

    def _bound(self, host: str, port: int, shared: bool = EVENLY) -> socket.socket:
        """A socket at the address; ``shared``: with others that are shared as well."""
        out = socket.socket(self._family, socket.SOCK_STREAM)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            out.bind((host, port))
        except OSError as error:
            out.close()
            raise _taken(host, port, error) from None
        out.set_inheritable(True)
        return out

    def _start(self, number: int) -> None:
        """Unless the service ends. A signal waits until the worker is among those that are told of it."""
        parent = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            if self._stopping:
                return
            pid = os.fork()
            if not pid:
                self._work(number, parent, mask)
            self._pids[pid] = number, time.monotonic()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _work(self, number: int, parent: int, mask: set[int]) -> NoReturn:
        """What the new process does; ``mask``: the signals that were held back before its start."""
        status = 1
        try:
            for sig in ENDING:
                signal.signal(sig, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            listening = self._bound(*self._address[:2]) if EVENLY else self._held
            self.serve(Worker(number, self.board, listening, parent, self.buckets))
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException as error:
            say(f"error: worker {number + 1}: {error}")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _wait(self) -> None:
        """One worker's end, or a while."""
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            time.sleep(0.05)
            if self._stopping and time.monotonic() - self._stopping > self.drain_s + SPARE_S:
                self._send(signal.SIGKILL)
            return
        known = self._pids.pop(pid, None)
        if known is None:  # a child of what this process was before, or of whoever had it adopted
            return
        number, since = known
        lived = self.board.was_ready(number) and time.monotonic() - since >= QUICKLY_S
        self.board.clear(number)
        self._forget(pid)
        if self._stopping:
            return
        self._deaths = 0 if lived else self._deaths + 1
        if self._deaths >= QUICK_DEATHS:
            say(f"error: {self._deaths} workers died before they were ready or soon after; giving up")
            self._stop(signal.SIGTERM, None)
            return
        say(f"warning: worker {number + 1} died ({_ended(status)}); starting another")
        self._start(number)

    def _forget(self, pid: int) -> None:
        """Drops what a worker measured of itself; what it counted stays."""
        if METRICS not in os.environ:
            return
        from prometheus_client.multiprocess import mark_process_dead

        with suppress(OSError):
            mark_process_dead(pid, os.environ[METRICS])

    def _stop(self, sig: int, frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = time.monotonic()
            self._send(signal.SIGTERM)

    def _send(self, sig: int) -> None:
        for pid in list(self._pids):
            with suppress(ProcessLookupError):
                os.kill(pid, sig)


def _buckets() -> Takes:
    from interlingua.serve.shared_rates import SharedBuckets  # not on systems that cannot divide a process

    return SharedBuckets()


def _taken(host: str, port: int, error: OSError) -> ConfigError:
    what = f"cannot listen on {host}, port {port}: {error.strerror}"
    if error.errno in (errno.EADDRINUSE, errno.EACCES):
        what += "; end what is there, or name another --port"
    return ConfigError(what)


def _ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"status {code}"
