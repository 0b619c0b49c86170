"""The guests of the console part: one process that speaks enough RFB on a UNIX socket.

A key is echoed. A question for a picture brings as many MiB as its first
coordinate says. `python -m tests.bench.console_guest PATH`.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import cast

import uvloop

from tests.hosts.rfb import VERSION

MIB = 1024 * 1024
PIECE = bytes(256 * 1024)
NAME = b"bench"
INIT = struct.pack(">HH16xI", 640, 400, len(NAME)) + NAME
# What the client says in turn, and what is said to that.
GREETING = ((len(VERSION), b"\x01\x01"), (1, bytes(4)), (1, INIT))
KEY, QUESTION = 4, 3
SIZES = {KEY: 8, QUESTION: 10}


class Guest(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._heard = bytearray()
        self._greeting = list(GREETING)
        self._left = 0  # bytes of the picture that are still to be sent
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(VERSION)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while self._greeting and len(self._heard) >= self._greeting[0][0]:
            size, answer = self._greeting.pop(0)
            del self._heard[:size]
            self._transport.write(answer)
        while not self._greeting and self._heard and len(self._heard) >= SIZES[self._heard[0]]:
            message = bytes(self._heard[: SIZES[self._heard[0]]])
            del self._heard[: len(message)]
            if message[0] == KEY:
                self._transport.write(message)
            else:
                self._left += struct.unpack_from(">H", message, 2)[0] * MIB
                self._draw()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._draw()

    def _draw(self) -> None:
        while self._left and not self._full and not self._transport.is_closing():
            self._left -= len(PIECE)
            self._transport.write(PIECE)


async def main(path: str) -> None:
    """Until it is killed."""
    server = await asyncio.get_running_loop().create_unix_server(Guest, path, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
