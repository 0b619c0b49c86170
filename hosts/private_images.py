"""Private images: a disk of a host becomes a file of the library, and goes when nobody wants it.

The file is that of one row only, unlike those of the catalogue. Once it is
there a private image is staged and used like any other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4

from hosts.errors import LibraryFull
from hosts.images.inspect import inspect_image
from hosts.library import image_dir
from hosts.models import ImageStatus
from hosts.virt.driver import Driver, Progress

SPARE_BYTES = 2 * 1024**3  # what the library leaves free for everything else on its disk


def new_file() -> str:
    """A name that no file of the library has, under the image directory."""
    return f"files/private-{uuid4().hex}.qcow2"


def keep_volume(
    driver: Driver,
    pool: str,
    volume: str,
    file: str,
    *,
    size_bytes: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Bring a flat volume of about `size_bytes` into the library as `file`.

    Returns the columns that say so, for the caller to write. Safe to call twice. Raises
    `LibraryFull`, `ImageError` if it is no plain qcow2, and what
    `Driver.download_volume` raises.
    """
    _need_room(size_bytes)
    with _draft(Path(file).stem) as draft:
        with draft.open("wb") as sink:
            counted = _Hashing(sink)
            try:
                driver.download_volume(pool, volume, cast(BinaryIO, counted), progress=progress)
            except OSError as error:
                raise LibraryFull(f"{draft.name} cannot be written: {error}") from error
        found = inspect_image(draft, expected_format="qcow2")
        kept = image_dir() / file
        kept.parent.mkdir(exist_ok=True)
        size = draft.stat().st_size
        draft.replace(kept)
    return {
        "sha256": counted.digest.hexdigest(),
        "format": found.format,
        "file": file,
        "size_bytes": size,
        "virtual_size_bytes": found.virtual_size_bytes,
        "status": ImageStatus.AVAILABLE,
        "progress": 100,
    }


def forget_file(file: str) -> None:
    """Remove the file of a private image that nobody wants, also if it is only half there.

    Hosts keep what stands on it.
    """
    path = image_dir() / file
    if not path.name.startswith("private-"):
        raise ValueError(f"{file} is not the file of a private image")
    path.unlink(missing_ok=True)
    _remove_drafts(path.stem)


def _need_room(size_bytes: int) -> None:
    free = shutil.disk_usage(image_dir()).free
    if free - size_bytes < SPARE_BYTES:
        raise LibraryFull(f"{size_bytes} bytes are to be kept, and {free} are free")


@contextlib.contextmanager
def _draft(name: str) -> Iterator[Path]:
    """A file of its own to write to; those of workers that died before are removed."""
    _remove_drafts(name)
    folder = _drafts()
    folder.mkdir(exist_ok=True)
    handle, path = tempfile.mkstemp(prefix=f"{name}-", dir=folder)
    os.close(handle)
    try:
        yield Path(path)
    finally:
        Path(path).unlink(missing_ok=True)


def _drafts() -> Path:
    return image_dir() / "drafts"


def _remove_drafts(name: str) -> None:
    for left in _drafts().glob(f"{name}-*"):
        left.unlink(missing_ok=True)


class _Hashing:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self.digest.update(data)
        return self._file.write(data)
