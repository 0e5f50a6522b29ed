"""A server on this machine that speaks the OpenAI protocol as badly as a test asks it to, and remembers every call."""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

Manner = Callable[[str, int], str]
"""(what was asked, how often before) -> manner of the reply"""
GOOD = ("good", "fenced", "chatty", "cut-late")
"""manners that carry a usable answer"""
WIDTH = 64
ENDLESS = 64 << 20
"""bytes after which even an endless reply ends: a test must not fill the memory of whoever reads it all"""
BOMB_SIZE = 200 << 20
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "half": lambda key: key[3:14],
    "upper": str.upper,
    "backwards": lambda key: key[::-1],
    "base64": lambda key: base64.b64encode(f"the key is {key}!".encode()).decode(),
    "base64-1": lambda key: base64.urlsafe_b64encode(f"?{key}".encode()).decode(),
    "base64-2": lambda key: base64.b64encode(f"??{key}??".encode()).decode(),
    "hex": lambda key: key.encode().hex(),
    "hex-spaced": lambda key: key.encode().hex(" ").upper(),
    "percent": lambda key: "".join(f"%{ord(c):02X}" for c in key),
    "escaped": str,
    "entities": lambda key: "".join(f"&#{ord(c)};" for c in key),
}
"""ways in which a server may repeat the key"""


class FakeServer:
    """Counts by question: what was asked, how often, how it was answered."""

    def __init__(self, manner: Manner | None = None, delay: float = 0.0) -> None:
        self.manner: Manner = manner or (lambda _question, _before: "good")
        self.delay = delay
        self.calls: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.times: list[float] = []
        self.sent = 0
        self.refused_formats: tuple[str, ...] = ()
        self.answer: Callable[[str], str] = lambda question: json.dumps(profile_for(question))
        """what a good answer to a question says"""
        self.prompt_tokens, self.completion_tokens = 100, 50
        self.lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def next_manner(self, question: str, body: dict[str, Any]) -> str:
        question = question.split("\n\nAnswer with the JSON")[0]  # the reminder after an unusable answer
        with self.lock:
            before = self._counts[question]
            self._counts[question] += 1
            manner = self.manner(question, before)
            self.calls.append((question, manner))
            self.bodies.append(body)
            self.times.append(time.monotonic())
        return manner

    def good(self) -> Counter[str]:
        """Question -> usable answers that were given to it."""
        with self.lock:
            return Counter(question for question, manner in self.calls if manner in GOOD)

    @property
    def questions(self) -> set[str]:
        with self.lock:
            return {question for question, _ in self.calls}


def profile_for(question: str) -> dict[str, str]:
    """A different profile for each question."""
    number = zlib.crc32(question.encode())
    return {"summarization": f"People who like number {number}.", "reasoning": "It says so."}


def filled(text: str, names: Collection[str]) -> str:
    """An answer of the usual fields, made one of those that the schema asks for: each holds a number below 100."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict) or set(found) & set(names):
        return text
    return json.dumps({name: str(zlib.crc32(f"{name} {text}".encode()) % 100) for name in names})


@cache
def bomb() -> bytes:
    """200 MB in less than one."""
    return gzip.compress(b'{"choices": "' + b"x" * BOMB_SIZE + b'"}', compresslevel=1)


def handler_of(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.keys.add(self.headers.get("Authorization", ""))
            if self.path.endswith("/embeddings"):
                self.embeddings(body)
            else:
                self.chat(body)

        def chat(self, body: dict[str, Any]) -> None:
            kind = body.get("response_format", {}).get("type", "none")
            if kind in server.refused_formats:
                self.reply(400, {"error": {"message": f"response_format {kind} is not supported"}})
                return
            question = body["messages"][-1]["content"]
            manner = server.next_manner(question, body)
            time.sleep(server.delay)
            if self.trouble(manner):
                return
            text = server.answer(question.split("\n\nAnswer with the JSON")[0])
            if names := body.get("response_format", {}).get("json_schema", {}).get("schema", {}).get("properties"):
                text = filled(text, names)
            finish = "stop"
            if manner == "prose":
                text = "Sure! People who like this will enjoy it very much."
            elif manner == "fenced":
                text = f"```json\n{text}\n```"
            elif manner == "chatty":
                text = f"Of course, here it is:\n{text}\nAnything else?"
            elif manner == "cut":
                text, finish = text[:25], "length"
            elif manner == "cut-late":
                text, finish = text[: text.index("It says") + 3], "length"
            elif manner == "none":
                text = json.dumps({"summarization": "None", "reasoning": "None"})
            elif manner.startswith("echo-"):
                text = self.echo(manner.removeprefix("echo-"))
            self.reply(200, self.completion(text, finish), truncated=manner == "truncated")

        def echo(self, way: str) -> str:
            """A usable answer that holds the key."""
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            encoded = ENCODINGS.get(way, str)(key)
            text = json.dumps({"summarization": f"Likes tea, {encoded}, and more.", "reasoning": f"{encoded}"})
            return text.replace(key, "".join(f"\\u{ord(c):04x}" for c in key)) if way == "escaped" else text

        def monster(self, manner: str) -> bool:
            """Replies that are too much."""
            if manner.startswith("wait-"):
                self.reply(429, {"error": {"message": "slow down"}}, {"Retry-After": manner.removeprefix("wait-")})
            elif manner.startswith("deep"):
                depth = int(manner.removeprefix("deep-"))
                self.raw(b'{"choices": ' + b'{"a":[' * depth + b"]}" * depth + b"}")
            elif manner.startswith("body-"):
                self.raw(manner.removeprefix("body-").encode())
            elif manner == "bomb":
                self.raw(bomb(), {"Content-Encoding": "gzip"})
            elif manner == "announced":
                self.raw(b"{", length=2 << 30)
            elif manner == "endless":
                self.raw(b'{"choices": "', length=None, then=b"x" * 65536)
            else:
                return False
            return True

        def raw(
            self, data: bytes, headers: dict[str, str] | None = None, length: int | None = -1, then: bytes = b""
        ) -> None:
            self.send_response(200)
            for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
                self.send_header(name, value)
            if length is not None:
                self.send_header("Content-Length", str(len(data) if length < 0 else length))
            else:
                self.send_header("Transfer-Encoding", "chunked")
                self.close_connection = True
            self.end_headers()
            part = data
            try:
                while length is None and server.sent < ENDLESS:
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                    with server.lock:
                        server.sent += len(part)
                    part = then
                if length is not None:
                    self.wfile.write(data)
            except OSError:
                self.close_connection = True
            if length is not None and length > len(data):
                time.sleep(1.0)
                self.close_connection = True

        def trouble(self, manner: str) -> bool:
            """Replies that carry no answer."""
            if manner == "429":
                self.reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.2"})
            elif manner == "500":
                self.reply(500, {"error": {"message": "oops"}})
            elif manner == "hang":
                time.sleep(2.0)
                self.close_connection = True
            elif manner == "drop":
                self.connection.close()
                self.close_connection = True
            elif manner in ("400", "401"):
                sent = self.headers.get("Authorization", "")
                self.reply(int(manner), {"error": {"message": f"bad request, key {sent.removeprefix('Bearer ')}"}})
            else:
                return self.monster(manner)
            return True

        def completion(self, text: str, finish: str) -> dict[str, Any]:
            usage = {"prompt_tokens": server.prompt_tokens, "completion_tokens": server.completion_tokens}
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
            base = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            return base | {"usage": usage | {"total_tokens": sum(usage.values())}}

        def embeddings(self, body: dict[str, Any]) -> None:
            texts = body["input"]
            manner = server.next_manner("\n".join(texts), body)
            time.sleep(server.delay)
            if self.trouble(manner):
                return
            if any(not text.strip() for text in texts):
                self.reply(400, {"error": {"message": "input must not be empty"}})
                return
            data = [{"object": "embedding", "index": n, "embedding": hashed(t).tolist()} for n, t in enumerate(texts)]
            usage = {"prompt_tokens": len(texts) * 5, "total_tokens": len(texts) * 5}
            body = {"object": "list", "model": "m", "data": data[::-1], "usage": usage}
            self.reply(200, body, truncated=manner == "truncated")

        def reply(
            self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None, truncated: bool = False
        ) -> None:
            data = json.dumps(body).encode()
            if truncated:
                data = data[: len(data) // 2]
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def hashed(text: str) -> np.ndarray:
    """(WIDTH,) words counted into places: alike texts have alike vectors."""
    row = np.zeros(WIDTH, np.float32)
    for word in re.findall(r"\w+", text.lower()) or [text]:
        row[zlib.crc32(word.encode("utf-8", "replace")) % WIDTH] += 1
    return row / np.linalg.norm(row)


class QuietServer(ThreadingHTTPServer):
    """Dropped connections are what the tests are about: no tracebacks for them."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def serving(server: FakeServer) -> Iterator[str]:
    """Serves while the block runs; yields the base URL."""
    http = QuietServer(("127.0.0.1", 0), handler_of(server))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}/v1"
    finally:
        http.shutdown()
        http.server_close()
