"""The browser's end of a console: frames of bytes, and small JSON messages beside them.

Memory is bounded on both ways. To the browser: a send waits until the socket
takes it, and until the page has said (`{"type": "ack", "bytes": n}`) that it
has drawn most of what it got, because a browser itself never stops reading.
From the browser: frames are small, and reading pauses when they come too fast.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

from vpspanel.events.origin import Message, Receive, Send

HELLO_WITHIN = 5.0  # seconds from the handshake to the ticket
STALLED_AFTER = 60.0  # seconds without taking anything
WINDOW = 512 * 1024  # bytes the page may be behind
FRAME_LIMIT = 64 * 1024
TEXT_LIMIT = 1024
FRAME_COST = 64  # what a frame costs besides its bytes
TYPED_PER_SECOND = 64 * 1024
TYPED_BURST = 256 * 1024


@dataclass
class Ended(Exception):
    """Why a console ends: what the close frame says."""

    code: int
    reason: str


LEFT = Ended(1000, "left")
IDLE = Ended(4411, "Nothing was typed and nothing shown for a long time.")


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message."""

    ticket: str
    acks: bool
    again: bool  # the page has shown this console before


class Bucket:
    """Lets `burst` through at once and `rate` per second after that."""

    def __init__(self, rate: float, burst: float):
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = time.monotonic()

    def take(self, cost: float) -> float:
        """Seconds to wait before going on."""
        now = time.monotonic()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate) - cost
        self._at = now
        return max(0.0, -self._level / self._rate)


class Viewer:
    """One websocket. Its methods raise `Ended` when there is no use in going on."""

    def __init__(self, receive: Receive, send: Send):
        self._receive = receive
        self._send = send
        self._bucket = Bucket(TYPED_PER_SECOND, TYPED_BURST)
        self._acks = False
        self._behind = 0
        self._room = asyncio.Event()
        self._used = time.monotonic()

    async def hello(self) -> Hello:
        """The first message, which must come soon and be `{"type": "hello", "ticket": …}`."""
        try:
            async with asyncio.timeout(HELLO_WITHIN):
                message = await self.receive()
        except TimeoutError:
            raise Ended(4408, "No ticket came.") from None
        if not isinstance(message, dict) or not isinstance(message.get("ticket"), str):
            raise Ended(4400, "The first message must be a ticket.")
        self._acks = message.get("acks") is True
        return Hello(message["ticket"], self._acks, message.get("again") is True)

    async def receive(self) -> bytes | dict[str, Any]:
        """The next thing that was typed, or the next JSON message that is not an ack."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                raise LEFT
            data: bytes | None = message.get("bytes")
            text: str = message.get("text") or ""
            if len(data or b"") > FRAME_LIMIT or len(text) > TEXT_LIMIT:
                raise Ended(1009, "That was too much at once.")
            wait = self._bucket.take(len(data or text) + FRAME_COST)
            if wait:
                await asyncio.sleep(wait)
            if data is not None:
                self._used = time.monotonic()
                return data
            control = _parse(text)
            if control.get("type") != "ack":
                return control
            self._drawn(control.get("bytes"))

    async def send_bytes(self, data: bytes) -> None:
        """Show `data`; returns when the page has room for more."""
        try:
            async with asyncio.timeout(STALLED_AFTER):
                while self._acks and self._behind >= WINDOW:
                    self._room.clear()
                    await self._room.wait()
                await self._put({"type": "websocket.send", "bytes": data})
        except TimeoutError:
            raise Ended(4408, "This page did not take the output for a minute.") from None
        self._behind += len(data)
        self._used = time.monotonic()

    async def until_idle(self, seconds: float) -> None:
        """Wait until for so long nothing was typed and nothing shown, then raise `IDLE`."""
        left = seconds
        while left > 0:
            await asyncio.sleep(left)
            left = self._used + seconds - time.monotonic()
        raise IDLE

    async def tell(self, kind: str, **fields: object) -> None:
        """A JSON message beside the bytes."""
        text = json.dumps({"type": kind, **fields})
        try:
            async with asyncio.timeout(STALLED_AFTER):
                await self._put({"type": "websocket.send", "text": text})
        except TimeoutError:
            raise Ended(4408, "This page did not take the output for a minute.") from None

    async def close(self, end: Ended) -> None:
        """Say why; a browser that reads nothing is not waited for."""
        message = {"type": "websocket.close", "code": end.code, "reason": end.reason[:120]}
        try:
            async with asyncio.timeout(1):
                await self._send(message)
        except (OSError, RuntimeError, TimeoutError):
            return  # it is gone already, or reads nothing

    async def _put(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:  # uvicorn's ClientDisconnected is one
            raise LEFT from None

    def _drawn(self, count: object) -> None:
        if not isinstance(count, int) or not 0 <= count <= self._behind:
            raise Ended(4400, "Acknowledged more than was sent.")
        self._behind -= count
        self._room.set()


def _parse(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise Ended(4400, "That was not a message.")
    return message
