"""Keys: stored as hashes, in a file that is read again when it changes; `interlingua keys` makes and revokes them."""

from __future__ import annotations

import json
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interlingua.cli.main import app
from interlingua.errors import ConfigError
from interlingua.serve import keyring
from interlingua.serve.keyring import KeyRing, ring_of
from interlingua.serve.keys import editing, hashed, make_key, read_keys, read_lines, revoke


def stored(path: Path, *names: str, role: str = "write") -> list[str]:
    """New keys in a file."""
    made = [make_key(name, role) for name in names]
    with editing(path) as keys:
        keys += [key for _, key in made]
    return [secret for secret, _ in made]


def test_a_file_holds_hashes_that_its_owner_alone_may_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    (secret,) = stored(path, "shop")
    assert len(secret) > 40
    assert secret not in path.read_text()
    assert hashed(secret) in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir() if "lock" not in p.name] == ["keys.toml"]
    assert [key.name for key in read_keys(path)] == ["shop"]


def test_a_changed_file_keeps_its_mode_for_a_service_under_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.toml"
    stored(path, "shop")
    path.chmod(0o640)
    revoke(path, "shop")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    if os.geteuid() == 0:
        os.chown(path, 12_345, 12_346)
        stored(path, "other")
        assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 12_346)
    before = path.read_bytes()

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refused)
    with pytest.raises(ConfigError, match="belongs to another user"):
        revoke(path, "shop")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if each.suffix != ".lock"] == ["keys.toml"]


def test_toml_json_and_lines_say_the_same(tmp_path: Path) -> None:
    digest = hashed("k")
    (tmp_path / "k.toml").write_text(
        f"[[keys]]\nname = 'shop'\nrole = 'write'\nsha256 = '{digest}'\nrate = '5/min'\n"
        "expires = 2030-01-01T00:00:00Z\n"
    )
    key = {"name": "shop", "role": "write", "sha256": digest.upper(), "rate": "5/min"}
    (tmp_path / "k.json").write_text(json.dumps({"keys": [key | {"expires": "2030-01-01T00:00:00Z"}]}))
    lines = f"\n shop write {digest} rate=5/min expires=2030-01-01T00:00:00Z\n"
    assert read_keys(tmp_path / "k.toml") == read_keys(tmp_path / "k.json") == read_lines(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[keys]", "is no TOML"),
        ("keys = 3", "no list 'keys'"),
        ("others = []", "no list 'keys'"),
        ("[[keys]]\nname = 'a'\nrole = 'write'\nsha256 = 'il_SECRET'", "sha256 is not the 64"),
        ("[[keys]]\nname = 'a'\nrole = 'write'\nkey = 'il_SECRET'", "sha256 is not the 64"),
        ("[[keys]]\nname = 'a'\nrole = 'owner'\nsha256 = '{a}'", "role"),
        ("[[keys]]\nname = 'a b'\nrole = 'read'\nsha256 = '{a}'", "name"),
        ("[[keys]]\nname = 'a'\nrole = 'read'\nsha256 = '{a}'\nrate = '0/s'", "100/s"),
        ("[[keys]]\nname = 'a'\nrole = 'read'\nsha256 = '{a}'\nexpires = 2030-01-01T00:00:00", "timezone"),
        ("[[keys]]\nname = 'a'\nrole = 'read'\nsha256 = '{a}'\nrolle = 1", "rolle"),
        ("[[keys]]\nname = 'a'\nrole = 'read'\nsha256 = '{a}'\n" * 2, "two keys of the name 'a'"),
        (
            "[[keys]]\nname = 'a'\nrole = 'read'\nsha256 = '{a}'\n[[keys]]\nname = 'b'\nrole = 'read'\nsha256 = '{a}'",
            "the same sha256 twice",
        ),
        ("#" * (1 << 21), "no file of keys"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_its_secrets(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text.replace("{a}", "a" * 64))
    with pytest.raises(ConfigError, match=said) as error:
        read_keys(path)
    assert "SECRET" not in str(error.value)


@pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX's")
def test_a_file_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    stored(path, "shop")
    path.chmod(0o606)
    with pytest.raises(ConfigError, match="chmod o-w"):
        read_keys(path)


@pytest.mark.parametrize("line", ["shop write", "shop write SECRET", f"shop write {'a' * 64} extra"])
def test_a_line_that_is_none_is_refused_without_what_it_says(line: str) -> None:
    with pytest.raises(ConfigError, match="line 1 of INTERLINGUA_KEYS") as error:
        read_lines(line)
    assert "SECRET" not in str(error.value)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_changed_file_counts_and_a_broken_one_does_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, clock = tmp_path / "keys.toml", Clock()
    (first,) = stored(path, "one")
    ring = KeyRing(file=path, clock=clock)
    assert ring.find(first).name == "one"  # type: ignore[union-attr]
    (second,) = stored(path, "two", role="read")
    clock.now += keyring.LOOK_EVERY_S
    assert ring.find(second).name == "two"  # type: ignore[union-attr]
    revoke(path, "one")
    clock.now += keyring.LOOK_EVERY_S
    assert ring.find(first) is None
    with caplog.at_level(logging.WARNING):
        for broken in ("[[keys", None):
            path.unlink()
            if broken:
                path.write_text(broken)
            clock.now += keyring.LOOK_EVERY_S
            assert ring.find(second) is not None
            assert ring.find(first) is None
    assert caplog.text.count("the keys stay as they were") == 2
    stored(path, "three")
    clock.now += keyring.LOOK_EVERY_S
    assert ring.find(second) is None
    assert ring.has("read", exactly=True)  # once there was such a key, questions stay closed


def test_expired_and_revoked_keys_are_none_and_still_close(tmp_path: Path) -> None:
    secret, key = make_key("old", "read", expires=datetime.now(UTC) - timedelta(seconds=1))
    ring = KeyRing([key])
    assert ring.find(secret) is None
    assert ring.has("read", exactly=True)
    assert not ring.has("write")
    path = tmp_path / "keys.toml"
    (gone,) = stored(path, "last", role="read")
    revoke(path, "last")
    assert KeyRing(file=path).find(gone) is None
    assert KeyRing(file=path).has("read", exactly=True)


def test_the_environment_names_a_key_a_file_or_lines(tmp_path: Path) -> None:
    path = tmp_path / "my keys" / "k.toml"
    path.parent.mkdir()
    (secret,) = stored(path, "shop")
    both = ring_of(environment={"INTERLINGUA_KEY": "k" * 16, "INTERLINGUA_KEYS": str(path)})
    assert both.find("k" * 16).role == "admin"  # type: ignore[union-attr]
    assert both.find(secret).role == "write"  # type: ignore[union-attr]
    lines = ring_of(path, {"INTERLINGUA_KEYS": f"page read {hashed('p')}"})
    assert lines.find("p").name == "page"  # type: ignore[union-attr]
    assert lines.find(secret).name == "shop"  # type: ignore[union-attr]
    assert not ring_of(environment={}).has()
    with pytest.raises(ConfigError, match="name one file"):
        ring_of(tmp_path / "other.toml", {"INTERLINGUA_KEYS": str(path)})
    with pytest.raises(ConfigError, match="interlingua keys new --file"):
        ring_of(environment={"INTERLINGUA_KEYS": str(tmp_path / "none.toml")})


def test_the_command_makes_lists_and_revokes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INTERLINGUA_KEYS", raising=False)
    call = CliRunner().invoke
    made = call(app, ["keys", "new", "--role", "write", "--name", "shop", "--rate", "100/s", "--expires", "2099-01-31"])
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert KeyRing(file=tmp_path / "keys.toml").find(secret).name == "shop"  # type: ignore[union-attr]
    listed = call(app, ["keys", "list"])
    assert "shop" in listed.stdout
    assert "2099-01-31" in listed.stdout
    assert secret not in listed.output
    assert hashed(secret) not in listed.output
    assert isinstance(call(app, ["keys", "new", "--name", "shop"]).exception, ConfigError)
    assert isinstance(call(app, ["keys", "new", "--name", "b", "--expires", "2001-01-01"]).exception, ConfigError)
    assert isinstance(call(app, ["keys", "revoke", "sho"]).exception, ConfigError)
    assert call(app, ["keys", "revoke", "shop"]).exit_code == 0
    assert KeyRing(file=tmp_path / "keys.toml").find(secret) is None
    (key,) = json.loads(call(app, ["keys", "list", "--json"]).stdout)["keys"]
    assert key["name"] == "shop"
    assert key["revoked"]
    monkeypatch.setenv("INTERLINGUA_KEYS", str(tmp_path / "more.toml"))
    assert call(app, ["keys", "new", "--name", "page"]).exit_code == 0
    assert [key.name for key in read_keys(tmp_path / "more.toml")] == ["page"]
