"""A recording of a serial console as it is made: what the server wrote, in asciicast v2.

Never what was typed: that holds passwords. It is compressed as it grows, so a
long one costs little memory; it ends by itself when it has become too long.
"""

from __future__ import annotations

import codecs
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from vpspanel.events.actor import Actor

SIZE_LIMIT = 5 * 1024 * 1024  # bytes before compression
SECONDS_LIMIT = 3600.0
GZIP = 31  # zlib's word for a gzip file

Size = tuple[int, int]  # columns, rows


@dataclass(frozen=True, slots=True)
class Tape:
    """A recording that has ended."""

    actor: Actor
    by_staff: bool
    started: datetime
    seconds: float
    size: int
    ended: str  # a sentence
    data: bytes  # gzip


class Recorder:
    """One recording. `clock` counts seconds."""

    def __init__(
        self,
        actor: Actor,
        size: Size,
        *,
        by_staff: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.actor = actor
        self.by_staff = by_staff
        self._clock = clock
        self._began = clock()
        self._started = timezone.now()
        self._written = 0
        self._parts: list[bytes] = []
        self._gzip = zlib.compressobj(wbits=GZIP)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        columns, rows = size
        stamp = int(self._started.timestamp())
        self._write({"version": 2, "width": columns, "height": rows, "timestamp": stamp})

    @property
    def full(self) -> str:
        """Why it has to end, in a sentence; "" while it may go on."""
        if self._written >= SIZE_LIMIT:
            return "It had reached 5 MiB."
        if self._clock() - self._began >= SECONDS_LIMIT:
            return "It had lasted an hour."
        return ""

    def output(self, data: bytes) -> None:
        """The server wrote this."""
        text = self._decode(data)
        if text:
            self._event("o", text)

    def resize(self, size: Size) -> None:
        """The window of who types has this size now."""
        self._event("r", f"{size[0]}x{size[1]}")

    def mark(self, label: str) -> None:
        """Something happened beside the output."""
        self._event("m", label)

    def finish(self, ended: str) -> Tape:
        """The whole recording. Nothing may be added after that."""
        data = b"".join((*self._parts, self._gzip.flush()))
        seconds = self._clock() - self._began
        return Tape(self.actor, self.by_staff, self._started, seconds, self._written, ended, data)

    def _event(self, kind: str, text: str) -> None:
        if not self.full:
            self._write([round(self._clock() - self._began, 3), kind, text])

    def _write(self, line: object) -> None:
        encoded = json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n"
        self._written += len(encoded)
        self._parts.append(self._gzip.compress(encoded))
