"""The VNC server (RFB 3.8) of a simulated guest: one viewer's connection to its text screen.

Speaks what a viewer of QEMU meets: no password, 32, 16 or 8 bits per pixel,
raw rectangles of whole text rows, and QEMU's extended key events.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from hosts.virt.fake_font import HEIGHT, WIDTH, glyph

VERSION = b"RFB 003.008\n"
EXTENDED_KEYS = -258  # QEMU's pseudo-encoding: key events carry scancodes, too
CUT_LIMIT = 1024 * 1024
BUFFER_LIMIT = CUT_LIMIT + 1024

Colour = tuple[int, int, int]
Cell = tuple[str, Colour, Colour]


class Screen(Protocol):
    """What a connection shows."""

    name: str
    columns: int
    rows: int

    def cells(self, row: int) -> list[Cell]:
        """One row: character, foreground, background."""

    def key(self, keysym: int, down: bool) -> None:
        """A key was pressed or let go."""

    def leave(self, viewer: RfbServer) -> None:
        """The connection has ended."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the viewer wants its pixels."""

    bits: int = 32
    big_endian: bool = False
    maxima: Colour = (255, 255, 255)
    shifts: Colour = (16, 8, 0)

    def pixel(self, colour: Colour) -> bytes:
        value = 0
        for part, most, shift in zip(colour, self.maxima, self.shifts, strict=True):
            value |= part * most // 255 << shift
        size = self.bits // 8
        mask = (1 << self.bits) - 1
        return (value & mask).to_bytes(size, "big" if self.big_endian else "little")

    def pack(self) -> bytes:
        values = (self.bits, 24, self.big_endian, 1, *self.maxima, *self.shifts)
        return struct.pack(">BBBBHHHBBB3x", *values)

    @staticmethod
    def unpack(data: bytes) -> PixelFormat:
        bits, _, big, true_colour, *rest = struct.unpack(">BBBBHHHBBB3x", data)
        red, green, blue, *shifts = rest
        if bits not in (8, 16, 32) or not true_colour or max(shifts) >= bits:
            raise ValueError("not a true-colour format of 8, 16 or 32 bits")
        return PixelFormat(bits, bool(big), (red, green, blue), (shifts[0], shifts[1], shifts[2]))


class RfbServer(asyncio.Protocol):
    """One connection. Everything that is not RFB ends it."""

    def __init__(self, screen: Screen) -> None:
        self.transport: asyncio.Transport | None = None
        self._screen = screen
        self._read = bytearray()
        self._need: Callable[[], int] = self._version
        self._format = PixelFormat()
        self._dirty: set[int] = set()
        self._asked = False
        self._paused = False
        self._extended_keys = False
        self._brushes: dict[tuple[Colour, Colour], list[bytes]] = {}

    # --- what the transport calls ------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(VERSION)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._screen.leave(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._update()

    def data_received(self, data: bytes) -> None:
        self._read += data
        try:
            while self._read and (used := self._need()):
                del self._read[:used]
            if len(self._read) > BUFFER_LIMIT:
                raise ValueError("a message without end")
        except (ValueError, struct.error):
            self._end()

    # --- what the screen calls -----------------------------------------------------

    def touch(self, row: int) -> None:
        """The row has changed."""
        self._dirty.add(row)

    def flush(self) -> None:
        """Send what has changed, if the viewer has asked for it."""
        self._update()

    def _end(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    # --- the handshake: each step returns how many bytes it has used --------------------

    def _version(self) -> int:
        if len(self._read) < len(VERSION):
            return 0
        if self._read[: len(VERSION)] != VERSION:
            raise ValueError("another version")
        self._write(b"\x01\x01")  # one kind of security: none
        self._need = self._security
        return len(VERSION)

    def _security(self) -> int:
        if self._read[0] != 1:
            raise ValueError("another kind of security")
        self._write(bytes(4))
        self._need = self._init
        return 1

    def _init(self) -> int:
        size = struct.pack(">HH", self._screen.columns * WIDTH, self._screen.rows * HEIGHT)
        name = self._screen.name.encode()
        self._write(size + self._format.pack() + struct.pack(">I", len(name)) + name)
        self._need = self._message
        return 1

    # --- messages ------------------------------------------------------------------------

    def _message(self) -> int:
        handle, least = {
            0: (self._set_format, 20),
            2: (self._set_encodings, 4),
            3: (self._ask, 10),
            4: (self._key, 8),
            5: (lambda: 6, 6),
            6: (self._cut_text, 8),
            255: (self._extended_key, 12),
        }.get(self._read[0], (None, 0))
        if handle is None:
            raise ValueError("an unknown message")
        return handle() if len(self._read) >= least else 0

    def _set_format(self) -> int:
        self._format = PixelFormat.unpack(bytes(self._read[4:20]))
        self._brushes.clear()
        return 20

    def _set_encodings(self) -> int:
        (count,) = struct.unpack_from(">H", self._read, 2)
        size = 4 + 4 * count
        if len(self._read) < size:
            return 0
        encodings = struct.unpack_from(f">{count}i", self._read, 4)
        self._extended_keys = EXTENDED_KEYS in encodings
        return int(size)

    def _ask(self) -> int:
        if not self._read[1]:
            self._dirty.update(range(self._screen.rows))
        self._asked = True
        self._update()
        return 10

    def _key(self) -> int:
        down, keysym = struct.unpack_from(">xB2xI", self._read)
        self._screen.key(keysym, bool(down))
        return 8

    def _cut_text(self) -> int:
        (length,) = struct.unpack_from(">i", self._read, 4)
        if abs(length) > CUT_LIMIT:
            raise ValueError("too much text")
        size = 8 + abs(length)
        return size if len(self._read) >= size else 0

    def _extended_key(self) -> int:
        kind, down, keysym = struct.unpack_from(">xBHI", self._read)
        if kind != 0:
            raise ValueError("not a key")
        self._screen.key(keysym, bool(down))
        return 12

    # --- pictures --------------------------------------------------------------------------

    def _update(self) -> None:
        if not self._asked or self._paused or not (self._dirty or self._extended_keys):
            return
        rows = sorted(self._dirty)
        width = self._screen.columns * WIDTH
        parts = [
            struct.pack(">HHHHi", 0, row * HEIGHT, width, HEIGHT, 0) + self._draw(row)
            for row in rows
        ]
        if self._extended_keys:
            parts.append(struct.pack(">HHHHi", 0, 0, 0, 0, EXTENDED_KEYS))
            self._extended_keys = False  # said once
        self._asked = False
        self._dirty.clear()
        self._write(struct.pack(">BxH", 0, len(parts)) + b"".join(parts))

    def _draw(self, row: int) -> bytes:
        cells = [
            (glyph(text), self._brush(fore, back)) for text, fore, back in self._screen.cells(row)
        ]
        return b"".join(brush[shape[line]] for line in range(HEIGHT) for shape, brush in cells)

    def _brush(self, fore: Colour, back: Colour) -> list[bytes]:
        """For each pattern of eight dots its pixels."""
        brush = self._brushes.get((fore, back))
        if brush is None:
            on, off = self._format.pixel(fore), self._format.pixel(back)
            brush = [
                b"".join(on if dots >> bit & 1 else off for bit in range(7, -1, -1))
                for dots in range(256)
            ]
            self._brushes[fore, back] = brush
        return brush
