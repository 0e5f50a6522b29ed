"""The keys that a running service knows: of its environment, and of a file that is read again when it changes."""

from __future__ import annotations

import hmac
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from interlingua.errors import ConfigError
from interlingua.serve.keys import FILE_VARIABLE, RANK, Key, Role, checked, hashed, read_keys, read_lines

KEY_VARIABLE = "INTERLINGUA_KEY"
"""environment variable with one key itself, of the role admin; an argument would stand in the list of processes"""
SHORTEST = 16
"""characters of that key"""
LOOK_EVERY_S = 0.5
"""so often it is seen whether the file has changed"""

log = logging.getLogger("interlingua.serve")


class KeyRing:
    """Keys by what is presented."""

    def __init__(
        self, fixed: Sequence[Key] = (), file: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Reads the file.

        Raises:
            ConfigError: it cannot be used.
        """
        self.file, self.clock = file, clock
        self._fixed = list(fixed)
        self._state, self._looked = self._stamp(), clock()
        self._keys = self._all(() if file is None else read_keys(file))
        self._known = {key.role for key in self._keys}

    def find(self, presented: str) -> Key | None:
        """The valid key that was presented. All are compared, each in constant time."""
        self._look()
        digest, found = hashed(presented), None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found if found is not None and found.valid(datetime.now(UTC)) else None

    def has(self, lowest: Role = "read", *, exactly: bool = False) -> bool:
        """Whether there is, or was since the start, a key of this role (or of one that includes it): also an expired
        or revoked one, because taking keys away must not open what they closed.
        """
        self._look()
        return any(role == lowest or (not exactly and RANK[role] >= RANK[lowest]) for role in self._known)

    def _all(self, of_file: Sequence[Key]) -> list[Key]:
        return checked([*self._fixed, *of_file], "the service")

    def _look(self) -> None:
        """Reads the file again where it has changed; one that cannot be used leaves the keys as they were."""
        now = self.clock()
        if self.file is None or now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        state = self._stamp()
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = self._all(read_keys(self.file))
        except ConfigError as error:
            log.warning("the keys stay as they were: %s", error)
            return
        self._known |= {key.role for key in self._keys}
        log.info("keys read again from %s: %d", self.file, len(self._keys))

    def _stamp(self) -> tuple[int, ...]:
        """What changes when the file does."""
        if self.file is None:
            return ()
        try:
            found = self.file.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode)


def ring_of(file: Path | None = None, environment: Mapping[str, str] = os.environ) -> KeyRing:
    """The keys of a service: of ``INTERLINGUA_KEY`` and ``INTERLINGUA_KEYS``, and of the file that an option names.

    Raises:
        ConfigError: a key that can be guessed; a file or lines that cannot be used; two files.
    """
    fixed = []
    single = environment.get(KEY_VARIABLE, "").strip()
    if single:
        fixed.append(Key(name=KEY_VARIABLE, role="admin", sha256=hashed(_strong(single))))
    named = environment.get(FILE_VARIABLE, "").strip()
    if named and (len(named.split()) < 3 or Path(named).is_file()):
        if file is not None and Path(named) != file:
            raise ConfigError(f"--keys names {file} and {FILE_VARIABLE} names {named}; name one file")
        file = Path(named)
    elif named:
        fixed += read_lines(named)
    return KeyRing(fixed, file)


def _strong(key: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{KEY_VARIABLE} has a character that no header can carry; use letters, digits, - and _")
    if len(key) < SHORTEST:
        raise ConfigError(
            f"{KEY_VARIABLE} has {len(key)} characters, and fewer than {SHORTEST} can be guessed; make a key with "
            "python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return key
