"""Keys of the service: made at random, stored as hashes in a file or an environment variable, with a role each.

A key is 256 random bits, so its plain SHA-256 tells nothing: there is nothing to guess, as there is with a password. A
slow hash would only let strangers keep the service busy with wrong keys.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import AwareDatetime, Field, field_validator

from interlingua.config import Config, build
from interlingua.errors import ConfigError, shown
from interlingua.serve.rates import Rate
from interlingua.storage.durable import disk, lock, replace

Role = Literal["read", "write", "admin"]
RANK: dict[Role, int] = {"read": 0, "write": 1, "admin": 2}
"""what a role includes: all roles of a lower rank"""
FILE_VARIABLE = "INTERLINGUA_KEYS"
"""environment variable with the path of a file of keys, or with lines ``NAME ROLE SHA256``"""
PREFIX = "il_"
"""with which made keys begin, so that a scanner for secrets finds them"""
MOST_KEYS = 1000
LARGEST_FILE = 1 << 20


class Key(Config):
    """A key as it is stored: never the key itself."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """who has it; stands in logs and counts"""
    role: Role
    """read: asks; write: also changes items and events; admin: also the models"""
    sha256: str
    """of the key, 64 hexadecimal digits"""
    rate: str | None = None
    """requests, as ``100/s``; null: that of the service"""
    expires: AwareDatetime | None = None
    """from then on it is refused"""
    revoked: AwareDatetime | None = None
    """since when it is refused; it stays listed, so that taking the last key away opens nothing"""

    @field_validator("rate")
    @classmethod
    def _readable(cls, rate: str | None) -> str | None:
        try:
            return rate if rate is None else str(Rate.parse(rate))
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @property
    def limit(self) -> Rate | None:
        """``rate``, read."""
        return None if self.rate is None else Rate.parse(self.rate)

    def valid(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)


def hashed(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def make_key(name: str, role: str, rate: str | None = None, expires: datetime | None = None) -> tuple[str, Key]:
    """A new key, which nobody can show again, and what is stored of it."""
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, _key({"name": name, "role": role, "sha256": hashed(secret), "rate": rate, "expires": expires}, "key")


def read_keys(path: Path) -> list[Key]:
    """The keys of a file, in TOML (``[[keys]]``) or JSON (``{"keys": [...]}``).

    Raises:
        ConfigError: a file that cannot be read, that anybody may write, or with something in it that is no key.
    """
    try:
        with path.open("rb") as file:
            if os.name != "nt" and os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise ConfigError(f"anybody on this machine may write the keys of {path}; run: chmod o-w {path}")
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the keys of {path}: {error.strerror}; make the file with: interlingua keys new --file {path}"
        ) from None
    if len(text) > LARGEST_FILE:
        raise ConfigError(f"{path} has more than {LARGEST_FILE:,} bytes and is no file of keys")
    try:
        json_file = path.suffix.lower() == ".json"
        values: Any = json.loads(text) if json_file else tomllib.loads(text.decode())
    except (ValueError, RecursionError):  # what the parser says may repeat a line of the file
        raise ConfigError(f"{path} is no {'JSON' if json_file else 'TOML'}; expected [[keys]] tables") from None
    listed = values.get("keys") if isinstance(values, dict) else None
    if not isinstance(listed, list) or set(values) != {"keys"}:
        raise ConfigError(f"{path} has no list 'keys', or has more than that; expected [[keys]] tables alone")
    return checked([_key(value, f"key {place} of {path}") for place, value in enumerate(listed, 1)], str(path))


def read_lines(text: str) -> list[Key]:
    """The keys of ``NAME ROLE SHA256 [rate=100/s] [expires=2027-01-31T00:00:00Z]``, one a line."""
    found = []
    for place, line in enumerate((line for line in text.splitlines() if line.strip()), 1):
        words, where = line.split(), f"line {place} of {FILE_VARIABLE}"
        more = dict(word.split("=", 1) for word in words[3:] if "=" in word)
        if len(words) < 3 or len(more) != len(words) - 3:
            raise ConfigError(f"{where} is no 'NAME ROLE SHA256 [rate=100/s] [expires=TIME]'")
        found.append(_key({"name": words[0], "role": words[1], "sha256": words[2], **more}, where))
    return checked(found, FILE_VARIABLE)


def checked(keys: Sequence[Key], where: str) -> list[Key]:
    """The same keys.

    Raises:
        ConfigError: a name twice, a key twice, or too many.
    """
    if len(keys) > MOST_KEYS:
        raise ConfigError(f"{where} has {len(keys)} keys; a service takes at most {MOST_KEYS}")
    names = [key.name for key in keys]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"{where} has two keys of the name {double!r}; give each its own")
    if len({key.sha256 for key in keys}) < len(keys):
        raise ConfigError(f"{where} has the same sha256 twice; make one key per name")
    return list(keys)


@contextmanager
def editing(path: Path) -> Iterator[list[Key]]:
    """The keys of a file, in a list to be changed; written at the end, at once and readable by its owner alone."""
    if path.suffix.lower() == ".json":
        raise ConfigError(f"{path} is JSON, which is read and not written here; name a file in TOML")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent} is no folder; make it, or name another --file")
    with lock(path.with_name(f".{path.name}.lock")):
        keys = read_keys(path) if path.exists() else []
        yield keys
        tables = [key.model_dump(exclude_none=True) for key in checked(keys, str(path))]
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with disk(path):
            number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(number, "wb") as file:
                file.write(tomli_w.dumps({"keys": tables}).encode())
            _as_before(path, temporary)
            replace(temporary, path)


def _as_before(path: Path, temporary: Path) -> None:
    """Gives the new file the owner and the mode of the one it replaces: a service under another user reads it still.

    Raises:
        ConfigError: it cannot be given away; nothing has changed then.
    """
    if not path.exists():
        return
    now, before = temporary.stat(), path.stat()
    try:
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            os.chown(temporary, before.st_uid, before.st_gid)
        temporary.chmod(stat.S_IMODE(before.st_mode))
    except OSError:
        temporary.unlink()
        raise ConfigError(
            f"{path} belongs to another user, and would no longer be readable by the service; change it as that user"
        ) from None


def revoke(path: Path, name: str) -> None:
    """Refuses a key from now on; a running service notices within a second.

    Raises:
        ConfigError: no key of that name.
    """
    with editing(path) as keys:
        at = next((place for place, key in enumerate(keys) if key.name == name), None)
        if at is None:
            raise ConfigError(f"no key {shown(name)} in {path}; it has {', '.join(key.name for key in keys) or 'none'}")
        now = datetime.now(UTC).replace(microsecond=0)
        keys[at] = keys[at].model_copy(update={"revoked": keys[at].revoked or now})


def _key(values: Any, where: str) -> Key:
    """One key. What stands for ``sha256`` is not repeated in an error: it may be the key itself."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is no table with name, role and sha256")
    digest = values.get("sha256")
    if not isinstance(digest, str) or re.fullmatch(r"[0-9a-fA-F]{64}", digest) is None:
        raise ConfigError(
            f"{where}: sha256 is not the 64 hexadecimal digits of a hash; interlingua keys new makes them"
        )
    return build(Key, {**values, "sha256": digest.lower()}, where)
