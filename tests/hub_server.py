"""The part of the Hugging Face hub's HTTP interface that pushing and fetching a model need, on this machine.

Repositories are kept in memory: branch -> commits -> path -> bytes. What is asked, and with which token, is recorded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_this_test"


class Hub:
    """What lies on it."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, str]] = {}
        """name -> branch -> commit"""
        self.private: dict[str, bool] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        """commit -> path -> contents"""
        self.objects: dict[str, bytes] = {}
        """sha256 -> contents of a large file"""
        self.large: set[str] = set()
        self.messages: list[str] = []
        self.asked: list[tuple[str, str]] = []

    def add(self, name: str, branch: str, files: dict[str, bytes], message: str) -> str:
        text = json.dumps(
            [branch, message, len(self.commits)] + [[k, hashlib.sha1(v).hexdigest()] for k, v in files.items()]
        )
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit] = files
        self.repositories[name][branch] = commit
        self.messages.append(message)
        return commit

    def resolve(self, name: str, revision: str) -> str | None:
        branches = self.repositories.get(name, {})
        return revision if revision in branches.values() or revision in self.commits else branches.get(revision)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do()

    def do_GET(self) -> None:
        self.do()

    def do_POST(self) -> None:
        self.do()

    def do_PUT(self) -> None:
        self.do()

    def do(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append((self.command, path))
        for method, pattern, function in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                return function(self, body, *match.groups())
        return self.answer({"error": f"{self.command} {path} is no part of this hub"}, 404)

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        if not isinstance(value, bytes):
            headers = {"Content-Type": "application/json"} | headers
        if isinstance(value, dict) and "error" in value:
            headers |= {"X-Error-Message": value["error"]}
        for name, text in ({"Content-Length": str(len(raw))} | headers).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def may_write(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.answer({"error": "Invalid credentials"}, 401)
        return False

    def create(self, body: bytes) -> None:
        if not self.may_write():
            return
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            return self.answer({"error": "You already created this model repo", "url": self.url(name)}, 409)
        self.hub.repositories[name] = {}
        self.hub.private[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.add(name, "main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        return self.answer({"url": self.url(name), "name": name})

    def url(self, name: str) -> str:
        return f"http://{self.headers['Host']}/{name}"

    def branch(self, body: bytes, name: str, branch: str) -> None:
        if not self.may_write():
            return
        if branch in self.hub.repositories[name]:
            return self.answer({"error": "exists"}, 409)
        self.hub.repositories[name][branch] = self.hub.repositories[name]["main"]
        return self.answer({})

    def check_yaml(self, body: bytes) -> None:
        import yaml

        text = json.loads(body)["content"].split("---\n")[1]
        known = isinstance(yaml.safe_load(text), dict)
        self.answer({"errors": [] if known else [{"message": "no mapping"}], "warnings": []}, 200 if known else 400)

    def modes(self, body: bytes, name: str, revision: str) -> None:
        files = json.loads(body)["files"]
        modes = {f["path"]: "lfs" if f["path"].endswith(".safetensors") else "regular" for f in files}
        self.answer({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})

    def batch(self, body: bytes, name: str) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.url('upload')}/{each['oid']}", "header": {}}}}
            for each in json.loads(body)["objects"]
        ]
        self.answer({"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.objects[oid] = body
        self.answer({})

    def commit(self, body: bytes, name: str, branch: str) -> None:
        if not self.may_write():
            return
        files = dict(self.hub.commits[self.hub.repositories[name][branch]])
        message = ""
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
                self.hub.large.add(value["path"])
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise AssertionError(entry)
        made = self.hub.add(name, branch, files, message)
        self.answer({"success": True, "commitOid": made, "commitUrl": f"{self.url(name)}/commit/{made}"})

    def info(self, body: bytes, name: str, revision: str | None = None) -> None:
        if name not in self.hub.repositories:
            return self.answer({"error": "Repository not found"}, 404, **{"X-Error-Code": "RepoNotFound"})
        found = self.hub.resolve(name, revision or "main")
        if found is None:
            return self.answer({"error": f"Invalid rev id: {revision}"}, 404, **{"X-Error-Code": "RevisionNotFound"})
        files = [{"rfilename": path} for path in self.hub.commits[found]]
        return self.answer({"id": name, "modelId": name, "sha": found, "siblings": files, "tags": [], "private": False})

    def tree(self, body: bytes, name: str, revision: str) -> None:
        found = self.hub.resolve(name, revision)
        files = self.hub.commits[str(found)]
        self.answer([{"type": "file", "path": p, "size": len(v), **self.identity(p, v)} for p, v in files.items()])

    def identity(self, path: str, contents: bytes) -> dict[str, Any]:
        oid = hashlib.sha1(contents).hexdigest()
        if path not in self.hub.large:
            return {"oid": oid}
        return {
            "oid": oid,
            "lfs": {"oid": hashlib.sha256(contents).hexdigest(), "size": len(contents), "pointerSize": 1},
        }

    def file(self, body: bytes, name: str, revision: str, path: str) -> None:
        found = self.hub.resolve(name, revision)
        if found is None or path not in self.hub.commits[found]:
            return self.answer({"error": "Entry not found"}, 404, **{"X-Error-Code": "EntryNotFound"})
        contents = self.hub.commits[found][path]
        identity = self.identity(path, contents)
        tag = identity["lfs"]["oid"] if "lfs" in identity else identity["oid"]
        return self.answer(contents, ETag=f'"{tag}"', **{"X-Repo-Commit": found})


NAME = r"([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.check_yaml),
    ("POST", f"/api/models/{NAME}/branch/(.+)", Handler.branch),
    ("POST", f"/api/models/{NAME}/preupload/(.+)", Handler.modes),
    ("POST", f"/{NAME}\\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/upload/([0-9a-f]+)", Handler.upload),
    ("POST", f"/api/models/{NAME}/commit/(.+)", Handler.commit),
    ("GET", f"/api/models/{NAME}", Handler.info),
    ("GET", f"/api/models/{NAME}/revision/(.+)", Handler.info),
    ("GET", f"/api/models/{NAME}/tree/([^/]+)", Handler.tree),
    ("GET HEAD", f"/{NAME}/resolve/([^/]+)/(.+)", Handler.file),
]


@contextmanager
def serving() -> Iterator[tuple[str, Hub]]:
    """Address and contents of a hub, for the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", hub
    finally:
        server.shutdown()
        server.server_close()
