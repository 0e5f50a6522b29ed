"""Downloads from a real server on this machine's loopback."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from interlingua.data.datasets import Download, NamedDataset
from interlingua.data.domain import Domain
from interlingua.data.files.download import fetch
from interlingua.data.raw import Log
from interlingua.errors import DataError

FILES = {
    "tiny/ratings.csv": "userId,movieId,rating,timestamp\n1,2,3,1500000000\n",
    "tiny/movies.csv": "movieId,title,genres\n2,Two,A\n",
}


def archive(files, size=0):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
        if size:
            packed.writestr("tiny/big.bin", bytes(n * 31 % 251 for n in range(size)))
    return out.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.body``; cuts the first answer after ``server.cut`` bytes; ignores ranges where told so."""

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        if self.path == "/missing.zip":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.honour_ranges else 0
        if start >= len(server.body):
            self.send_error(416)
            return
        body = server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cut:
            body, server.cut = body[: server.cut], 0
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.body, made.cut, made.honour_ranges, made.ranges = archive(FILES), 0, True, []
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()


def dataset(server, sha256="right", path="/tiny.zip", size=None):
    digest = hashlib.sha256(server.body).hexdigest() if sha256 == "right" else sha256
    url = f"http://127.0.0.1:{server.server_port}{path}"
    download = Download(url, digest, size)
    return NamedDataset("tiny", "movielens", Domain(), "a test licence", "https://example.org", "two files", download)


def test_a_dataset_is_fetched_checked_unpacked_and_its_licence_shown(server, tmp_path, capsys):
    folder = fetch(dataset(server), tmp_path / "cache", Log())
    assert sorted(p.name for p in folder.iterdir()) == ["movies.csv", "ratings.csv", "source.json"]
    assert (folder / "movies.csv").read_text() == FILES["tiny/movies.csv"]
    record = json.loads((folder / "source.json").read_text())
    assert record["licence"] == "a test licence"
    assert record["sha256"] == hashlib.sha256(server.body).hexdigest()
    shown = capsys.readouterr().err
    assert "licence of tiny: a test licence" in shown
    assert f"http://127.0.0.1:{server.server_port}/tiny.zip" in shown
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["tiny"]


def test_a_cut_download_is_continued(server, tmp_path):
    server.body, server.cut = archive(FILES, 300_000), 100_000
    with pytest.raises(DataError, match="100,000 of 300,"):
        fetch(dataset(server), tmp_path, Log(True))
    assert (tmp_path / "tiny.zip.part").stat().st_size == 100_000
    assert not (tmp_path / "tiny").exists()
    folder = fetch(dataset(server), tmp_path, Log(True))
    assert (folder / "big.bin").stat().st_size == 300_000
    assert server.ranges == [None, "bytes=100000-"]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.body, server.cut, server.honour_ranges = archive(FILES, 50_000), 20_000, False
    with pytest.raises(DataError):
        fetch(dataset(server), tmp_path, Log(True))
    assert (fetch(dataset(server), tmp_path, Log(True)) / "big.bin").stat().st_size == 50_000


def test_a_complete_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "tiny.zip.part").write_bytes(server.body)
    fetch(dataset(server), tmp_path, Log(True))
    assert server.ranges == [f"bytes={len(server.body)}-"]
    (tmp_path / "tiny.zip.part").write_bytes(server.body)
    fetch(dataset(server, size=len(server.body)), tmp_path, Log(True))
    assert len(server.ranges) == 1


def test_a_wrong_sum_deletes_the_file_and_says_both_sums(server, tmp_path):
    with pytest.raises(DataError, match=f"instead of {'0' * 64}"):
        fetch(dataset(server, "0" * 64), tmp_path, Log(True))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_sum_is_said(server, tmp_path):
    log = Log(True)
    fetch(dataset(server, None), tmp_path, log)
    assert "not checked" in log.warnings[0]


def test_no_network_names_url_and_folder(server, tmp_path):
    wanted = dataset(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError) as caught:
        fetch(wanted, tmp_path, Log(True))
    assert wanted.download.url in str(caught.value)
    assert str(tmp_path / "tiny") in str(caught.value)
    assert "INTERLINGUA_DATA" in str(caught.value)


def test_a_page_that_is_gone(server, tmp_path):
    with pytest.raises(DataError, match="Not Found"):
        fetch(dataset(server, path="/missing.zip"), tmp_path, Log(True))


def test_an_archive_that_is_none_and_one_that_climbs_out(server, tmp_path):
    server.body = b"<html>please log in</html>"
    with pytest.raises(DataError, match="not a readable zip"):
        fetch(dataset(server), tmp_path, Log(True))
    server.body = archive({"tiny/ok.csv": "x", "../../evil.csv": "y"})
    with pytest.raises(DataError, match="lead out of its folder"):
        fetch(dataset(server), tmp_path / "cache", Log(True))
    assert not (tmp_path / "evil.csv").exists()
    assert not (tmp_path / "cache" / "tiny").exists()


def test_an_unwritable_cache(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="INTERLINGUA_CACHE"):
        fetch(dataset(server), tmp_path / "file" / "cache", Log(True))
