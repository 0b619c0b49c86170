"""Carrying a volume's file from one host to another, through the panel.

Any two hosts will do, whatever drivers they have: the file flows from a
download into an upload, and at most `HELD` bytes of it are here at a time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import BinaryIO, cast

from hosts.virt.driver import Driver, Progress
from hosts.virt.errors import NotFound, VirtError
from hosts.virt.spec import VolumeSeen

HELD = 8 * 1024**2
MIB = 1024**2
GIVES_UP = 5.0  # seconds in which a download that nobody needs any more ends


class Cut(VirtError):
    """The other end of the pipe is gone."""

    code = "cut"


def find(driver: Driver, pool: str, name: str) -> VolumeSeen:
    """What is known of one volume. Raises `NotFound`."""
    for volume in driver.volumes(pool):
        if volume.name == name:
            return volume
    raise NotFound(f"No volume {name} in pool {pool}")


def carry(
    source: Driver,
    target: Driver,
    name: str,
    *,
    from_pool: str,
    to_pool: str,
    bandwidth_mib: int = 0,
    progress: Progress | None = None,
    timeout: float = 3600,
) -> None:
    """The file lies in the other host's pool, under the same name and as it is here.

    One of that name there is left as it is. `progress` is told the bytes sent,
    in the caller's thread; what it raises ends this and comes out of it.
    Raises what `Driver.download_volume` and `Driver.upload_volume` raise.
    """
    volume = find(source, from_pool, name)
    pipe = Pipe(bandwidth_mib * MIB)
    reader = threading.Thread(
        target=_download, args=(source, from_pool, name, pipe, timeout), daemon=True
    )
    reader.start()
    try:
        target.upload_volume(
            to_pool,
            name,
            cast(BinaryIO, pipe),
            length=volume.file_bytes,
            format=volume.format,
            capacity_bytes=volume.capacity_bytes,
            progress=progress,
            timeout=timeout,
        )
    finally:
        pipe.cut()
        reader.join(GIVES_UP)


def _download(source: Driver, pool: str, name: str, pipe: Pipe, timeout: float) -> None:
    try:
        source.download_volume(pool, name, cast(BinaryIO, pipe), timeout=timeout)
        pipe.end()
    except Exception as error:  # told to whoever reads
        pipe.end(error)


class Pipe:
    """Written in one thread and read in another; waits on both sides."""

    def __init__(self, bytes_per_second: int = 0) -> None:
        self._change = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._cut = False
        self._error: Exception | None = None
        self._rate = bytes_per_second
        self._began = time.monotonic()
        self._written = 0

    def write(self, data: bytes) -> int:
        """Take `data` when there is room, and no sooner than the rate allows. Raises `Cut`."""
        with self._change:
            self._change.wait_for(lambda: self._cut or self._held < HELD)
            while not self._cut and (pause := self._too_early()) > 0:
                self._change.wait(pause)
            if self._cut:
                raise Cut("nobody reads any more")
            self._chunks.append(bytes(data))
            self._held += len(data)
            self._written += len(data)
            self._change.notify_all()
        return len(data)

    def _too_early(self) -> float:
        """Seconds until the next bytes may come."""
        if not self._rate:
            return 0.0
        return self._began + self._written / self._rate - time.monotonic()

    def read(self, size: int) -> bytes:
        """At most `size` bytes; `b""` at the end. Raises what the writer failed with."""
        with self._change:
            self._change.wait_for(lambda: self._cut or self._chunks or self._ended)
            if self._error is not None:
                raise self._error
            if not self._chunks:
                return b""
            chunk = self._chunks.popleft()
            if len(chunk) > size:
                self._chunks.appendleft(chunk[size:])
                chunk = chunk[:size]
            self._held -= len(chunk)
            self._change.notify_all()
            return chunk

    def end(self, error: Exception | None = None) -> None:
        """Nothing more is written, because that was all or because of `error`."""
        with self._change:
            self._ended, self._error = True, error
            self._change.notify_all()

    def cut(self) -> None:
        """Nobody reads any more."""
        with self._change:
            self._cut = True
            self._change.notify_all()
