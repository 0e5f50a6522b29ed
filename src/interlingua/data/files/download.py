"""Fetches a named dataset: streamed, resumed after an interruption, sha256 checked, unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath

from interlingua.data.datasets import Download, NamedDataset
from interlingua.data.raw import Log
from interlingua.errors import DataError
from interlingua.progress import task
from interlingua.storage import durable
from interlingua.storage.staging import staging

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30
RECORD = "source.json"
"""file next to the unpacked files: their origin, sum and licence"""


def fetch(dataset: NamedDataset, root: Path, log: Log) -> Path:
    """Downloads and unpacks a dataset into ``root/name`` and returns that folder.

    Args:
        dataset: one with a ``download``.
        root: the cache's folder of datasets.
        log: shows URL and licence.

    Raises:
        DataError: no network, a wrong sum, a damaged archive, or no room; names URL and folder for a copy by hand.
    """
    download = dataset.download
    if download is None:
        raise DataError(f"the dataset {dataset.name!r} cannot be downloaded; get it from {dataset.url}")
    target = root / dataset.name
    log.note(f"downloading {dataset.name} from {download.url}")
    log.note(f"licence of {dataset.name}: {dataset.licence}")
    archive = root / f"{dataset.name}.zip.part"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _stream(download, archive, dataset.name)
        found = _checked(download, archive, log)
        _unpack(archive, target)
        record = {"name": dataset.name, "url": download.url, "sha256": found, "licence": dataset.licence}
        (target / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"cannot download {dataset.name} ({reason}); what has arrived is kept and will be continued. By hand: get "
            f"{download.url} and unpack {dataset.layout} into {target}, or set INTERLINGUA_DATA to a folder that holds "
            f"{' or '.join((dataset.name, *dataset.folders))}"
        ) from None
    except OSError as error:
        raise DataError(
            f"cannot store {dataset.name} in {root}: {error}; free space, or set INTERLINGUA_CACHE to a writable folder"
        ) from error
    archive.unlink()
    return target


def _stream(download: Download, archive: Path, name: str) -> None:
    """Continues an interrupted download if the server allows it; else starts again."""
    have = archive.stat().st_size if archive.exists() else 0
    if download.size_bytes is not None and have >= download.size_bytes:
        if have == download.size_bytes:
            return
        archive.unlink()
        have = 0
    request = urllib.request.Request(download.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the range begins at the end: everything is here already
            raise
        return
    with answer:
        resumed = have > 0 and answer.status == 206
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        expected = have + int(length) if length else None
        total = expected or download.size_bytes or 0
        with archive.open("ab" if resumed else "wb") as out, task(f"downloading {name}", total) as shown:
            shown.start_at(have)
            while block := answer.read(BLOCK_BYTES):
                out.write(block)
                shown.advance(len(block))
    got = archive.stat().st_size
    if expected is not None and got < expected:
        raise ConnectionError(f"the connection ended after {got:,} of {expected:,} bytes")


def _checked(download: Download, archive: Path, log: Log) -> str:
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if download.sha256 is None:
        log.warn(f"no sha256 is known for {download.url}, so it was not checked; found {found}")
    elif found != download.sha256:
        size = archive.stat().st_size
        archive.unlink()
        raise DataError(
            f"{download.url} has sha256 {found} ({size:,} bytes) instead of {download.sha256}: the file was damaged "
            "on the way or changed by its publisher; it was deleted, try again"
        )
    return found


def _unpack(archive: Path, target: Path) -> None:
    """Unpacks into a temporary sibling and renames it; a single top folder is removed."""
    try:
        with staging(target.parent, target.name) as temporary, zipfile.ZipFile(archive) as packed:
            files = [info for info in packed.infolist() if not info.is_dir()]
            paths = [PurePosixPath(info.filename) for info in files]
            if any(path.is_absolute() or ".." in path.parts for path in paths):
                raise DataError(f"{archive} holds paths that lead out of its folder; it was not unpacked")
            tops = {path.parts[0] for path in paths if len(path.parts) > 1}
            strip = 1 if len(tops) == 1 and all(len(path.parts) > 1 for path in paths) else 0
            for info, path in zip(files, paths, strict=True):
                out = temporary.joinpath(*path.parts[strip:])
                out.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(info) as source, out.open("wb") as sink:
                    shutil.copyfileobj(source, sink, BLOCK_BYTES)
            if target.exists():
                shutil.rmtree(target)
            durable.replace(temporary, target)
    except zipfile.BadZipFile as error:
        archive.unlink()
        raise DataError(f"{archive} is not a readable zip archive ({error}); it was deleted, try again") from None
