"""A prepared dataset in the form of another library: the same events, the same split."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from interlingua.data.prepared import Dataset
from interlingua.data.writers import huggingface, implicit, lenskit, recbole, rectools
from interlingua.errors import DataError, unknown
from interlingua.storage import durable
from interlingua.storage.staging import staging

FORMS: dict[str, Callable[[Dataset, Path], None]] = {
    "recbole": recbole.write, "implicit": implicit.write, "rectools": rectools.write, "lenskit": lenskit.write,
    "huggingface": huggingface.write,
}  # fmt: skip


def export(data: Dataset, form: str, folder: Path | str) -> Path:
    """Writes the dataset as another library reads it; all or nothing.

    Args:
        data: what :func:`interlingua.prepare` returned.
        form: of :data:`FORMS`.
        folder: a new or empty one; RecBole's files have its name.

    Returns:
        The folder.

    Raises:
        DataError: an unknown form, a folder that holds something, or what the form cannot hold.
        ArtifactError: the folder cannot be written.
    """
    folder = Path(folder)
    if form not in FORMS:
        raise DataError(unknown("form", form, FORMS))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} holds something; name a new or empty folder")
    with durable.disk(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staging(folder.parent, folder.resolve().name) as made:
            inner = made / folder.resolve().name
            inner.mkdir()
            FORMS[form](data, inner)
            if folder.is_dir():
                folder.rmdir()
            os.replace(inner, folder)
    return folder
