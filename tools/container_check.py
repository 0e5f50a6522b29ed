"""Runs the steps of the Dockerfile in a root made by debootstrap, where no image can be pulled: build, ask, stop.

    python tools/container_check.py [--root FOLDER] [--mirror URL] [--bind FOLDER]... [--env NAME]... [--built]

Needs Linux, root's rights, debootstrap, unshare and setpriv. Every RUN, COPY, ENV, ARG, WORKDIR and USER is done in its
order. ENTRYPOINT and CMD then run with a read-only root, as the image's user, without capabilities, and HEALTHCHECK is
asked. What is not the same: the base is Debian's own Python instead of the python image, nothing isolates the network
(port 8000 must be free), and compose.yaml is not run. ``--bind`` and ``--env`` bring what pip needs on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = "python3,python3-venv,ca-certificates"
PATIENCE_S = 180


@dataclass
class Stage:
    """One FROM and what follows it."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages_of(file: Path) -> list[Stage]:
    """The stages of a Dockerfile; continued lines are joined, comments left out."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        name, _, value = line.strip().partition(" ")
        if name == "FROM":
            base, _, called = value.partition(" AS ")
            found.append(Stage(called, base))
        elif name:
            found[-1].steps.append((name, value.strip()))
    return found


def say(text: str) -> None:
    """A line of the report."""
    print(f"container-check: {text}", flush=True)


class Root:
    """A folder that stands for a container's root, with what a Dockerfile has set in it."""

    def __init__(
        self, folder: Path, binds: Sequence[str], environment: dict[str, str], arguments: dict[str, str]
    ) -> None:
        self.folder, self.binds, self.extra, self.arguments = folder, binds, environment, arguments
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.workdir, self.user = "/", "0:0"
        self.exec: dict[str, list[str]] = {}

    def command(self, inner: Sequence[str], *, sealed: bool, data: Path | None = None) -> list[str]:
        """The command inside the root; ``sealed``: as a container would run it, else as a build step."""
        root, steps = str(self.folder), ["set -e"]
        steps += [f"mount --bind {root} {root}"]
        if sealed:
            steps += [f"mount -o remount,bind,ro {root}", f"mount --bind {data} {root}/data"]
        steps += [f"mount -t tmpfs tmpfs {root}/tmp", f"mount -t proc proc {root}/proc"]
        steps += [f"mount --rbind /dev {root}/dev"]
        if not sealed:
            steps += [f"mkdir -p {root}{each} && mount --bind {each} {root}{each}" for each in self.binds]
        settings = self.environment | ({} if sealed else self.extra)
        inside = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in settings.items()), *inner]
        if sealed:
            user, _, group = self.user.partition(":")
            inside = [
                "/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--bounding-set=-all",
                "--inh-caps=-all", "--no-new-privs", *inside,
            ]  # fmt: skip
        steps.append(f"exec chroot {root} {shlex.join(inside)}")
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGTERM", "sh", "-c", "\n".join(steps)]

    def shell(self, text: str) -> list[str]:
        """A shell's command in the working directory."""
        return ["/bin/sh", "-c", f"cd {self.workdir} && {text}"]

    def do(self, name: str, value: str, roots: dict[str, Root]) -> None:
        """One instruction."""
        if name == "RUN":
            subprocess.run(self.command(self.shell(value), sealed=False), check=True)
        elif name == "COPY":
            self._copy(value, roots)
        elif name in ("ENV", "ARG"):
            for word in shlex.split(value):
                key, _, given = word.partition("=")
                given = self.arguments.get(key, given) if name == "ARG" else given
                self.environment[key] = re.sub(r"\$(\w+)", lambda m: self.environment.get(m[1], ""), given)
        elif name == "WORKDIR":
            self.workdir = value
            (self.folder / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            self.user = value
        elif name in ("ENTRYPOINT", "CMD"):
            self.exec[name] = json.loads(value)
        elif name == "HEALTHCHECK":
            self.exec[name] = json.loads(value[value.index("[") :])
        else:
            say(f"{name} {value}: says something to an engine, and does nothing here")

    def _copy(self, value: str, roots: dict[str, Root]) -> None:
        words = value.split()
        source = roots[words.pop(0).removeprefix("--from=")].folder if words[0].startswith("--from=") else REPOSITORY
        target = self.folder / os.path.normpath(os.path.join(self.workdir, words[-1])).lstrip("/")
        for each in words[:-1]:
            path = source / each.lstrip("/")
            if path.is_dir():
                shutil.copytree(
                    path, target, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target / path.name)


def base_of(folder: Path, mirror: str) -> Path:
    """A fresh Debian with Python, made once; it stands for the python image."""
    base = folder / "base"
    if not (base / "usr/bin/python3").exists():
        say(f"debootstrap bookworm from {mirror}, with {PACKAGES}")
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(base), mirror], check=True
        )
    for name in ("resolv.conf", "ssl/certs/ca-certificates.crt"):
        if Path("/etc", name).exists():
            (base / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path("/etc", name), base / "etc" / name)
    return base


def built(folder: Path, options: argparse.Namespace) -> Root:
    """The root of the last stage."""
    base = base_of(folder, options.mirror)
    environment = {name: os.environ[name] for name in options.env if name in os.environ}
    arguments = dict(each.split("=", 1) for each in options.build_arg)
    roots: dict[str, Root] = {}
    for number, stage in enumerate(stages_of(REPOSITORY / "Dockerfile")):
        place = folder / f"stage-{number}"
        if not options.built:
            shutil.rmtree(place, ignore_errors=True)
            subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(place)], check=True)
        root = roots[stage.name] = Root(place, options.bind, environment, arguments)
        for name, value in stage.steps:
            if options.built and name in ("RUN", "COPY"):
                continue
            say(f"stage {number}: {name} {value}"[:150])
            root.do(name, value, roots)
    return root


def tried(root: Root, folder: Path) -> None:
    """Trains a small run as the image's user, serves it as the image would, asks, and stops it."""
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    user, _, group = root.user.partition(":")
    os.chown(data, int(user), int(group))
    page = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
    for name in ("events.csv", "items.csv"):
        (data / name).write_text(re.search(rf"```csv {name}\n(.*?)```", page, re.S)[1])  # type: ignore[index]
    inside = ["run", "textknn", "--data", "events.csv", "--set", "data.options.items=items.csv"]
    inside += ["--set", "data.filter.min_user=1", "--set", "data.filter.min_item=1"]
    key = _said(root, data, ["keys", "new", "--role", "write", "--name", "shop", "--file", "keys.toml"]).split()[0]
    _said(root, data, inside)
    run = next(data.glob("runs/evaluate-*")).relative_to(data)
    _said(root, data, ["promote", str(run), "--store", "store.sqlite"])
    who = subprocess.run(
        root.command(root.shell("id -u; touch /opt/x 2>&1; grep CapBnd /proc/self/status"), sealed=True, data=data),
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert who.split()[0] == user, who
    assert "Read-only file system" in who, who
    assert re.search(r"CapBnd:\s+0+$", who, re.M), who
    say(f"user {user}, read-only root, no capability")
    command = root.exec["ENTRYPOINT"] + root.exec["CMD"]
    say(f"start: {shlex.join(command)}")
    first = root.shell(f"exec {shlex.join(command)}")  # the first process, as in a container
    with subprocess.Popen(root.command(first, sealed=True, data=data)) as service:
        try:
            _until_healthy(root, data, service)
            new = {"items": [{"item_id": "b9", "title": "A planet far in space", "categories": ["science fiction"]}]}
            assert _ask("/v1/items", new, key)["added"] == ["b9"]
            listed = _ask("/v1/recommend", {"user_id": "cem", "k": 3, "explain": 3}, key)["items"]
            assert "b9" in [one["item_id"] for one in listed], listed
            say("an item was added by its text, and is recommended with a reason")
            stopped = time.monotonic()
            for child in _children(service.pid):
                os.kill(child, signal.SIGTERM)
            service.wait(30)
            say(f"SIGTERM: ended after {time.monotonic() - stopped:.1f} s")
        finally:
            service.kill()


def _said(root: Root, data: Path, arguments: list[str]) -> str:
    """What a command of the image prints."""
    say(f"in the image: interlingua {shlex.join(arguments)}")
    command = root.command(root.shell(shlex.join([*root.exec["ENTRYPOINT"], *arguments])), sealed=True, data=data)
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _until_healthy(root: Root, data: Path, service: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_S
    check = root.command(root.exec["HEALTHCHECK"], sealed=True, data=data)
    while subprocess.run(check, stderr=subprocess.DEVNULL).returncode:
        if service.poll() is not None or time.monotonic() > until:
            raise SystemExit("container-check: the service was never healthy")
        time.sleep(1)
    say("HEALTHCHECK: healthy")


def _ask(path: str, body: object, key: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    with urlopen(Request(f"http://127.0.0.1:8000{path}", json.dumps(body).encode(), headers), timeout=30) as answer:
        return dict(json.loads(answer.read()))


def _children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def main() -> None:
    """Builds, starts, asks, stops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=REPOSITORY / "build" / "container")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--bind", action="append", default=[], help="folder or file that build steps see too")
    parser.add_argument("--env", action="append", default=[], help="variable that build steps see too")
    parser.add_argument("--built", action="store_true", help="try what an earlier call has built")
    parser.add_argument("--build-arg", action="append", default=[], help="NAME=VALUE of an ARG")
    options = parser.parse_args()
    missing = [tool for tool in ("debootstrap", "unshare", "setpriv") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        sys.exit(f"container-check: needs root's rights and {', '.join(missing) or 'nothing else'}")
    folder = options.root.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    tried(built(folder, options), folder)
    say("done")


if __name__ == "__main__":
    main()
