"""Fetching an image: resumed after a cut, checked against its maker's checksum, never half there.

A file appears under its name only when it is whole and right. Until then it is
`NAME.part` beside it, with `NAME.part.json` saying of which url and version it
is a part; both survive a cut or a crash so that the next call goes on.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import shutil
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import TypeVar

from hosts.images import web
from hosts.images.catalogue import Checksum
from hosts.images.checksums import file_digest, published_digest
from hosts.images.errors import ImageError, ImageErrorCode

#: Called with the bytes that are there and the bytes of the whole, if the server told.
ByteProgress = Callable[[int, int | None], None]

_Result = TypeVar("_Result")

CHUNK = 256 * 1024
#: An attempt that brought so many bytes does not count as failed; one byte would never end.
WORTHWHILE = 256 * 1024
#: Left free on the file system, for whoever else writes there.
SPARE_BYTES = 64 * 1024 * 1024

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a download may cost. Times are in seconds."""

    max_bytes: int = 20 * 1024**3
    wait: float = 30.0  # for the connection and for each piece
    total: float = 4 * 3600.0
    attempts: int = 5  # in a row that brought next to nothing
    backoff: float = 1.0  # doubled for each attempt, up to a minute
    slowest: int = 2048  # bytes per second, averaged over `slow_window`
    slow_window: float = 60.0


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that is whole and right. `sha256` names it from now on."""

    path: Path
    sha256: str
    size_bytes: int


def download_image(
    url: str,
    checksum: Checksum,
    target: Path,
    *,
    progress: ByteProgress = lambda done, total: None,
    limits: Limits = Limits(),
    cancelled: Callable[[], bool] = lambda: False,
) -> Downloaded:
    """Fetches `url` to `target`; returns at once if the right file is there already.

    Waits while another process fetches the same target.
    Raises ImageError: BAD_URL, UNREACHABLE, HTTP_ERROR, TIMEOUT, TOO_LARGE,
    CHECKSUM_MISSING, CHECKSUM_MISMATCH, DISK_FULL, STORAGE or CANCELLED.
    """
    web.check_url(url)
    with _storage_errors(target), _only_one(target):
        job = _Download(url, target, progress, limits, cancelled)
        digest = job.persist(lambda: published_digest(checksum, timeout=limits.wait))
        if target.exists() and file_digest(target, checksum.algorithm) == digest:
            return _described(target)
        try:
            job.persist(job.fetch)
        except OSError as error:
            if error.errno in _FULL:
                job.forget()  # the room is needed more than the part
            raise
        if file_digest(job.part, checksum.algorithm) != digest:
            job.forget()
            raise ImageError(
                ImageErrorCode.CHECKSUM_MISMATCH,
                f"{url} does not have the {checksum.algorithm} that {checksum.source} gives",
            )
        job.publish()
        return _described(target)


def _described(path: Path) -> Downloaded:
    return Downloaded(path, file_digest(path, "sha256"), path.stat().st_size)


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _storage_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ImageError(
                ImageErrorCode.DISK_FULL, f"no room for {target.name} in {target.parent}"
            ) from error
        raise ImageError(
            ImageErrorCode.STORAGE, f"cannot write {target}: {error.strerror or error}"
        ) from error


class _Download:
    """One file on its way: what is there of it, and how it goes on."""

    def __init__(
        self,
        url: str,
        target: Path,
        progress: ByteProgress,
        limits: Limits,
        cancelled: Callable[[], bool],
    ) -> None:
        self.url, self.target, self.limits = url, target, limits
        self.part = target.with_name(target.name + ".part")
        self.notes = target.with_name(target.name + ".part.json")
        self.report, self.cancelled = progress, cancelled
        self.deadline = time.monotonic() + limits.total
        self.gained = 0  # new bytes in the present attempt

    # --- the file so far

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def validator(self) -> str | None:
        """The server's name for the version of which we have a part, if it is for this url."""
        try:
            notes = json.loads(self.notes.read_text())
            return str(notes["validator"]) if notes["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def publish(self) -> None:
        with self.part.open("rb") as handle:
            os.fsync(handle.fileno())
        self.part.replace(self.target)
        self.notes.unlink(missing_ok=True)
        folder = os.open(self.target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # --- attempts

    def persist(self, step: Callable[[], _Result]) -> _Result:
        """Runs a step until it succeeds, or until too many attempts in a row brought too little."""
        failures = 0
        while True:
            self.gained = 0
            try:
                return step()
            except web.PassingFault as fault:
                failures = 1 if self.gained >= WORTHWHILE else failures + 1
                if failures >= self.limits.attempts:
                    raise fault.error from fault
                pause = min(60.0, self.limits.backoff * 2 ** (failures - 1))
                self.rest(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries only

    def rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.keep_going()
            time.sleep(min(left, 0.5))

    def keep_going(self) -> None:
        """Raises ImageError if nobody wants the file any more, or the time is over."""
        if self.cancelled():
            raise ImageError(ImageErrorCode.CANCELLED, f"the download of {self.url} was cancelled")
        if time.monotonic() > self.deadline:
            raise ImageError(
                ImageErrorCode.TIMEOUT, f"{self.url} took more than {self.limits.total:g} s"
            )

    # --- one attempt

    def fetch(self) -> None:
        """Asks for what is missing and writes it down. Returns when the part is whole."""
        validator = self.validator()
        have = self.have() if validator else 0
        headers = {}
        if have:
            headers = {"Range": f"bytes={have}-", "If-Range": f"{validator}"}
        try:
            with web.get(self.url, timeout=self.limits.wait, headers=headers) as response:
                start = self.start_of(response, have)
                self.note(response)
                total = self.total_of(response, start)
                with self.part.open("r+b" if start else "wb") as file:
                    file.seek(start)
                    file.truncate()
                    self.copy(response, file.write, start, total)
        except urllib.error.HTTPError as error:
            # 416: our part is not shorter than the file, so it is whole or of another version.
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return
            self.forget()
            raise web.PassingFault(ImageErrorCode.HTTP_ERROR, "the part was refused") from error

    def start_of(self, response: HTTPResponse, have: int) -> int:
        """Where the answer begins: after our part, or at zero if the server sends it all again."""
        if response.status != 206:
            return 0
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            self.forget()
            raise web.PassingFault(ImageErrorCode.HTTP_ERROR, "the server sent another part")
        return have

    def note(self, response: HTTPResponse) -> None:
        """Writes down the version, if it has a name under which it can be asked for again."""
        tag = response.headers.get("ETag", "")
        # A weak tag ("W/…") promises no equal bytes, so it may not be used for ranges.
        validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
        if validator:
            self.notes.write_text(json.dumps({"url": self.url, "validator": validator}))
        else:
            self.notes.unlink(missing_ok=True)

    def total_of(self, response: HTTPResponse, start: int) -> int | None:
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isascii() and length.isdigit() else None
        self.check_size(total or 0)
        if total and total - start + SPARE_BYTES > shutil.disk_usage(self.part.parent).free:
            raise OSError(errno.ENOSPC, "not enough room for the whole file")
        return total

    def check_size(self, size: int) -> None:
        if size > self.limits.max_bytes:
            self.forget()
            raise ImageError(
                ImageErrorCode.TOO_LARGE,
                f"{self.url} has more than {self.limits.max_bytes} bytes",
            )

    def copy(
        self, response: HTTPResponse, write: Callable[[bytes], int], done: int, total: int | None
    ) -> None:
        window_began, window_bytes = time.monotonic(), 0
        self.report(done, total)
        while piece := response.read1(CHUNK):
            self.keep_going()
            write(piece)
            done += len(piece)
            window_bytes += len(piece)
            self.gained += len(piece)
            self.check_size(done)
            self.report(done, total)
            spent = time.monotonic() - window_began
            if spent >= self.limits.slow_window:
                if window_bytes < self.limits.slowest * spent:
                    raise ImageError(
                        ImageErrorCode.TIMEOUT,
                        f"{self.url} sends less than {self.limits.slowest} bytes per second",
                    )
                window_began, window_bytes = time.monotonic(), 0
        if total is not None and done < total:
            raise web.PassingFault(
                ImageErrorCode.UNREACHABLE, f"{self.url} was cut after {done} of {total} bytes"
            )
