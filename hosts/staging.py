"""Bringing an image to a host: once per pool, known by its SHA-256, never half."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

from django.db.models import Q
from django.utils import timezone

from hosts.errors import StagingBusy
from hosts.images.errors import ImageError, ImageErrorCode
from hosts.library import image_path
from hosts.models import Image, StagedImage, StagingTurn, StoragePool
from hosts.virt.driver import Driver, Progress

TURN_SECONDS = 15.0
FAR_AHEAD = timedelta(minutes=1)  # a turn that ends later is from before the clock was set back


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
    with _turn(pool, image) as turn, path.open("rb") as file:
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


def _staged(pool: StoragePool, image: Image) -> StagedImage | None:
    return StagedImage.objects.filter(pool=pool, sha256=image.sha256).first()


class Turn:
    """The only right to copy an image to a pool; of somebody who died it passes on after a while.

    What is written in the row tells whose turn it is: who finds something else
    there has lost it.
    """

    def __init__(self, pool: StoragePool, image: Image) -> None:
        pool = _first_of_storage(pool)
        self._rows = StagingTurn.objects.filter(pool=pool, sha256=image.sha256)
        self._what = f"{image} is being copied to {pool}"
        self._renewed = time.monotonic()
        self._until = _turn_ends()
        now = timezone.now()
        nobodys = Q(until__lt=now) | Q(until__gt=now + FAR_AHEAD)
        if self._rows.filter(nobodys).update(until=self._until):
            return
        _, made = StagingTurn.objects.get_or_create(
            pool=pool, sha256=image.sha256, defaults={"until": self._until}
        )
        if not made:
            raise StagingBusy(self._what)

    def check(self) -> None:
        """Raises `StagingBusy` if it was not renewed in time; asks nobody."""
        if time.monotonic() - self._renewed > TURN_SECONDS:
            raise StagingBusy(self._what)

    def keep(self) -> None:
        """Renew it now and then. Raises `StagingBusy` if it is somebody else's."""
        self.check()
        now = time.monotonic()
        if now - self._renewed < TURN_SECONDS / 5:
            return
        until = _turn_ends()
        if not self._rows.filter(until=self._until).update(until=until):
            raise StagingBusy(self._what)
        self._renewed, self._until = now, until

    def give_back(self) -> None:
        """It is the next one's, if it was still ours."""
        self._rows.filter(until=self._until).delete()


def _first_of_storage(pool: StoragePool) -> StoragePool:
    """The pool in whose name all hosts that see the same storage take turns."""
    if not pool.shared_id:
        return pool
    return StoragePool.objects.filter(shared_id=pool.shared_id).order_by("pk")[0]


@contextlib.contextmanager
def _turn(pool: StoragePool, image: Image) -> Iterator[Turn]:
    """Hold the turn. Raises `StagingBusy` while it is somebody else's."""
    turn = Turn(pool, image)
    try:
        yield turn
    finally:
        turn.give_back()


def _turn_ends() -> datetime:
    return timezone.now() + timedelta(seconds=TURN_SECONDS)


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
