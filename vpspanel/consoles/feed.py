"""What a serial line has written and a viewer has not been sent yet; and what it wrote last."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

LIMIT = 256 * 1024  # bytes that wait for one viewer; of more, the oldest are lost
FULL = 64 * 1024  # from here on a viewer counts as behind
FRAME = 64 * 1024
REMEMBERED = 64 * 1024


class Past(bytes):
    """What was written before its viewer came: to be shown, its questions not to be answered."""


class Feed:
    """One viewer's share. `drained` is called when there is room again."""

    def __init__(self, drained: Callable[[], None]) -> None:
        self._drained = drained
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ready = asyncio.Event()
        self.dropped = 0

    @property
    def is_full(self) -> bool:
        """Whether its viewer is slower than the line."""
        return self._size >= FULL

    def put(self, data: bytes) -> None:
        """One more piece; a viewer that is too slow for it loses the oldest."""
        self._chunks.append(data)
        self._size += len(data)
        while self._size > LIMIT:
            lost = len(self._chunks.popleft())
            self._size -= lost
            self.dropped += lost
        self._ready.set()

    async def read(self) -> bytes:
        """What there is, a frame at most; waits until there is something."""
        await self._ready.wait()
        parts = [self._chunks.popleft()]
        size = len(parts[0])
        while not isinstance(parts[0], Past) and self._fits(size):
            parts.append(self._chunks.popleft())
            size += len(parts[-1])
        self._size -= size
        if not self._chunks:
            self._ready.clear()
        self._drained()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _fits(self, size: int) -> bool:
        return bool(self._chunks) and size + len(self._chunks[0]) <= FRAME


class History:
    """The last bytes of a line, so that the screen of who joins is not empty."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        self._bytes += data
        surplus = len(self._bytes) - REMEMBERED
        if surplus > 0:
            del self._bytes[:surplus]

    def recall(self) -> Past:
        """From the beginning of a line on, if something was lost before it."""
        if len(self._bytes) < REMEMBERED:
            return Past(self._bytes)
        return Past(self._bytes[self._bytes.find(b"\n") + 1 :])
