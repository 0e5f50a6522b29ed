"""Questions and answers in SQLite, by the content of each question: each answer is paid for once.

Each row is committed when its answer is there, so a killed process loses at most the calls in flight. Those are kept as
open payments with the most that they can have cost: a budget that was set stays kept after a kill.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interlingua.errors import ArtifactError
from interlingua.storage import artifact

SCHEMA = 1
TABLES = """
CREATE TABLE IF NOT EXISTS answers (
  key TEXT PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL, state TEXT NOT NULL, value BLOB, raw TEXT,
  reason TEXT, tries INTEGER NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS payments (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, state TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL, money REAL NOT NULL, at REAL NOT NULL
);
"""
ASK = 500
"""keys of one SELECT"""


@dataclass(frozen=True)
class Entry:
    """The ledger's entry for one question."""

    state: str
    """``done`` or ``failed``"""
    value: bytes
    """the checked answer: JSON, or a vector's float32 bytes; empty where it failed"""
    reason: str
    """why it failed"""
    tries: int


@dataclass(frozen=True)
class Spent:
    """Sum of all calls of a ledger."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0
    """in the price table's currency; open payments count in full"""
    unknown: int = 0
    """calls whose outcome is unknown (killed or dropped in flight), counted at the most they can have cost"""

    def __sub__(self, before: Spent) -> Spent:
        return Spent(
            self.calls - before.calls,
            self.prompt_tokens - before.prompt_tokens,
            self.completion_tokens - before.completion_tokens,
            self.money - before.money,
            self.unknown - before.unknown,
        )


class Ledger:
    """One file of answers and payments; opened by one process at a time (see :func:`opened`)."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file.

        Raises:
            ArtifactError: it cannot be written, is no ledger, or is from a newer version.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            version = int(self._base.execute("PRAGMA user_version").fetchone()[0])
            if version > SCHEMA:
                raise ArtifactError(
                    f"{path} has schema {version}, this interlingua reads up to {SCHEMA}; "
                    "install the later one that wrote it"
                )
            self._base.executescript(TABLES)
            self._base.execute(f"PRAGMA user_version = {SCHEMA}")
        except (sqlite3.Error, OSError) as error:
            raise ArtifactError(
                f"cannot use {path} as a ledger of answers: {error}; choose another file or a writable folder"
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._base.close()

    def found(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Entries of the given questions."""
        out: dict[str, Entry] = {}
        for start in range(0, len(keys), ASK):
            some = list(keys[start : start + ASK])
            marks = ",".join("?" * len(some))
            rows = self._base.execute(
                f"SELECT key, state, value, reason, tries FROM answers WHERE key IN ({marks})", some
            )
            out |= {key: Entry(state, value or b"", reason or "", tries) for key, state, value, reason, tries in rows}
        return out

    def pay(self, key: str, prompt_tokens: int, completion_tokens: int, money: float) -> int:
        """Opens a payment with the most that a call can cost, before it is made."""
        row = (key, "open", prompt_tokens, completion_tokens, money, time.time())
        return int(
            self._run(
                "INSERT INTO payments (key, state, prompt_tokens, completion_tokens, money, at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            or 0
        )

    def settle(self, payment: int, prompt_tokens: int, completion_tokens: int, money: float) -> None:
        """Records the actual cost of the call (nothing if the server refused it)."""
        self._run(
            "UPDATE payments SET state = 'settled', prompt_tokens = ?, completion_tokens = ?, money = ? WHERE id = ?",
            (prompt_tokens, completion_tokens, money, payment),
        )

    def done(self, key: str, model: str, prompt: str, value: bytes, raw: str, tries: int) -> None:
        """Keeps a checked answer."""
        self._answer(key, model, prompt, "done", value, raw, "", tries)

    def failed(self, key: str, model: str, prompt: str, reason: str, raw: str, tries: int) -> None:
        """Stores the reason for a missing answer, and the reply."""
        self._answer(key, model, prompt, "failed", b"", raw, reason, tries)

    def _answer(
        self, key: str, model: str, prompt: str, state: str, value: bytes, raw: str, reason: str, tries: int
    ) -> None:
        self._run(
            "INSERT OR REPLACE INTO answers (key, model, prompt, state, value, raw, reason, tries, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, model, prompt, state, value, raw, reason, tries, time.time()),
        )

    def spent(self) -> Spent:
        """The sum of all payments, open ones in full."""
        row = self._base.execute(
            "SELECT COUNT(*), TOTAL(prompt_tokens), TOTAL(completion_tokens), TOTAL(money), TOTAL(state = 'open')"
            " FROM payments"
        ).fetchone()
        return Spent(int(row[0]), int(row[1]), int(row[2]), float(row[3]), int(row[4]))

    def _run(self, statement: str, values: Sequence[object]) -> sqlite3.Cursor:
        try:
            return self._base.execute(statement, tuple(values))
        except sqlite3.Error as error:
            raise ArtifactError(
                f"cannot write {self.path}: {error}; free space (answers so far are kept) and run again"
            ) from error


@contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    """A ledger that no other process writes meanwhile: a second one waits, then finds the answers."""
    key = artifact.content_key({"ledger": path.name})
    with artifact.locked(path.parent, "ledger", "", key):
        ledger = Ledger(path)
        try:
            yield ledger
        finally:
            ledger.close()
