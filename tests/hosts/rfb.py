"""A VNC client (RFB 3.8) for tests: what a viewer sends, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import struct
from typing import cast

VERSION = b"RFB 003.008\n"
RAW = 0
EXTENDED_KEYS = -258
KEY_RETURN = 0xFF0D


def set_encodings(*encodings: int) -> bytes:
    """The message."""
    return struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings)


def ask(width: int, height: int, *, incremental: bool = False) -> bytes:
    """FramebufferUpdateRequest for the whole screen."""
    return struct.pack(">BBHHHH", 3, incremental, 0, 0, width, height)


def key(keysym: int, *, down: bool = True) -> bytes:
    """KeyEvent."""
    return struct.pack(">BBxxI", 4, down, keysym)


def stroke(keysym: int) -> bytes:
    """Pressed and let go."""
    return key(keysym) + key(keysym, down=False)


class Picture:
    """What a viewer has on its screen: 32 bits per pixel, as `Client` asks for."""

    def __init__(self, width: int, height: int):
        self.width = width
        self.height = height
        self.pixels = bytearray(width * height * 4)
        self.encodings: set[int] = set()

    def take(self, data: bytes) -> int:
        """Draw one FramebufferUpdate; the bytes it had, or 0 if it is not complete."""
        if len(data) < 4:
            return 0
        if data[0] != 0:
            raise ValueError(f"message {data[0]}")
        (count,) = struct.unpack_from(">H", data, 2)
        at = 4
        for _ in range(count):
            if len(data) < at + 12:
                return 0
            x, y, width, height, encoding = struct.unpack_from(">HHHHi", data, at)
            at += 12
            if encoding == RAW:
                size = width * height * 4
                if len(data) < at + size:
                    return 0
                self._draw(x, y, width, height, data[at : at + size])
                at += size
            self.encodings.add(encoding)
        return at

    def _draw(self, x: int, y: int, width: int, height: int, pixels: bytes) -> None:
        for line in range(height):
            start = ((y + line) * self.width + x) * 4
            piece = pixels[line * width * 4 : (line + 1) * width * 4]
            self.pixels[start : start + width * 4] = piece

    def colours(self) -> int:
        """How many different ones there are."""
        return len({bytes(self.pixels[at : at + 4]) for at in range(0, len(self.pixels), 4)})


class Client(asyncio.Protocol):
    """A viewer at the driver's end: `asyncio.Protocol` with something to wait for."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.received = bytearray()
        self.lost = False
        self._changed = asyncio.Event()
        self.picture = Picture(0, 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._changed.set()

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    async def take(self, count: int) -> bytes:
        """The next bytes. Raises `EOFError` if the connection ends before."""
        while len(self.received) < count:
            await self._change()
        data = bytes(self.received[:count])
        del self.received[:count]
        return data

    async def until_lost(self) -> None:
        while not self.lost:
            self.received.clear()
            self._changed.clear()
            await self._changed.wait()

    async def _change(self) -> None:
        if self.lost:
            raise EOFError
        self._changed.clear()
        await self._changed.wait()

    async def handshake(self, *encodings: int) -> str:
        """Up to the first request; the screen's name."""
        assert await self.take(12) == VERSION
        self.write(VERSION)
        assert await self.take(2) == b"\x01\x01"
        self.write(b"\x01")
        assert await self.take(4) == bytes(4)
        self.write(b"\x01")
        head = await self.take(24)
        width, height = struct.unpack_from(">HH", head)
        (length,) = struct.unpack_from(">I", head, 20)
        self.picture = Picture(width, height)
        self.write(struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.write(set_encodings(RAW, *encodings))
        return (await self.take(length)).decode()

    async def update(self, *, incremental: bool = False) -> None:
        """Ask for the screen and draw what comes."""
        self.write(ask(self.picture.width, self.picture.height, incremental=incremental))
        while not (used := self.picture.take(bytes(self.received))):
            await self._change()
        del self.received[:used]
