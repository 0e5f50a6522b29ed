"""Token buckets that several processes have together, in memory that all of them share.

A table of fixed size: a caller's digest says in which row of places its bucket is, so that finding it is one look at a
row. Rows are locked with the locks of a file, which the system takes back from a process that is killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import struct
import time
from collections.abc import Callable
from tempfile import TemporaryFile

from interlingua.serve.rates import MOST, Rate, refilled

ROW = 8
"""places of one row; where one more is needed, the bucket that was asked longest ago is forgotten"""
PLACE = struct.Struct("16sdd")
"""digest of the caller, tokens, when"""
NOBODY = bytes(16)


class SharedBuckets:
    """As :class:`interlingua.serve.rates.Buckets`, made before the process divides itself. Not for threads."""

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: the same in all processes, as that of the system is."""
        self.clock, self.count = clock, -(-most // ROW)
        self._file = TemporaryFile(prefix="interlingua-rates-")  # noqa: SIM115 - open as long as the service
        self._file.truncate(self.count * ROW * PLACE.size)
        self._memory = mmap.mmap(self._file.fileno(), 0)

    def take(self, caller: str, rate: Rate) -> float:
        """Takes a token; 0.0, or where there is none the seconds until there is one."""
        digest = hashlib.blake2b(caller.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        size = ROW * PLACE.size
        start = int.from_bytes(digest[:8], "big") % self.count * size
        fcntl.lockf(self._file, fcntl.LOCK_EX, size, start)
        try:
            places = list(PLACE.iter_unpack(self._memory[start : start + size]))
            mine = next((n for n, (whose, _, _) in enumerate(places) if whose == digest), None)
            now = self.clock()
            before = None if mine is None else places[mine][1:]
            if mine is None:
                mine = min(range(ROW), key=lambda n: (places[n][0] != NOBODY, places[n][2]))
            tokens, wait = refilled(before, rate, now)
            PLACE.pack_into(self._memory, start + mine * PLACE.size, digest, tokens, now)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, size, start)
        return wait
