"""Bringing an image to a host: once per pool, known by its SHA-256, never half."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import BinaryIO, cast

from hosts.images.errors import ImageError, ImageErrorCode
from hosts.library import image_path
from hosts.models import Image, StagedImage, StoragePool
from hosts.turns import Turn, turn_at
from hosts.virt.driver import Driver, Progress
from hosts.virt.errors import NotFound


def stage(
    driver: Driver, pool: StoragePool, image: Image, *, progress: Progress | None = None
) -> StagedImage:
    """The base volume of `image` lies on `pool`; it is copied there if it does not yet.

    Safe to call twice and from several workers at once, also for hosts that see
    the same storage: one copies, the others get `StagingBusy`. Raises `ImageError`
    if the local file is missing or damaged (nothing is staged then), and what
    `Driver.upload_volume` raises.
    """
    if (staged := _staged(pool, image)) is not None:
        return staged
    path = image_path(image)
    what = f"{image} is being copied to {pool}, or taken away from there"
    with turn_at(pool, image.sha256, what) as turn, path.open("rb") as file:
        # Whose turn it was may have copied it after we looked.
        if (staged := _staged(pool, image)) is not None:
            return staged

        def tell(sent: int) -> None:
            turn.keep()
            if progress is not None:
                progress(sent)

        driver.upload_volume(
            pool.name,
            image.volume,
            cast(BinaryIO, CheckedFile(file, path, image, turn)),
            length=image.size_bytes,
            format=image.format,
            capacity_bytes=image.virtual_size_bytes,
            progress=tell,
        )
        staged, _ = StagedImage.objects.get_or_create(
            pool=pool, sha256=image.sha256, defaults={"volume": image.volume}
        )
    return staged


def create_overlay(
    driver: Driver, pool: StoragePool, image: Image, name: str, *, capacity_bytes: int
) -> None:
    """A disk `name` on the staged image.

    Raises `NotFound`, and leaves no disk, if the image does not lie there, or is
    just being taken away: whoever does that ends its record first and looks for
    disks on it afterwards, so one of the two always sees the other.
    """
    driver.create_overlay(pool.name, name, base=image.volume, capacity_bytes=capacity_bytes)
    if _staged(pool, image) is None:
        driver.delete_volume(pool.name, name)
        raise NotFound(f"{image.volume} is not recorded as staged on {pool}")


def _staged(pool: StoragePool, image: Image) -> StagedImage | None:
    return StagedImage.objects.filter(pool=pool, sha256=image.sha256).first()


class CheckedFile(io.RawIOBase):
    """An image file that is checked while it is read.

    Its last bytes are handed out only if the whole has the right SHA-256: an
    upload of a damaged file fails before the volume is complete, and the bytes
    that were checked are the bytes that were sent. Nothing is handed out to who
    was stopped for so long that somebody else may be copying by now.
    """

    def __init__(self, file: BinaryIO, path: Path, image: Image, turn: Turn) -> None:
        super().__init__()
        self._turn = turn
        self._file = file
        self._path = path
        self._left = image.size_bytes
        self._expected = image.sha256
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises `ImageError` at the end of a file that is not the image."""
        self._turn.check()
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        self._digest.update(data)
        self._left -= len(data)
        if len(data) < wanted:
            raise self._damaged(f"it ends {self._left} bytes early")
        if self._left == 0 and self._digest.hexdigest() != self._expected:
            raise self._damaged(
                f"its SHA-256 is {self._digest.hexdigest()} and should be {self._expected}"
            )
        return data

    def _damaged(self, why: str) -> ImageError:
        return ImageError(
            ImageErrorCode.CHECKSUM_MISMATCH,
            f"{self._path.name} is damaged: {why}. Fetch or build the image again.",
        )
