"""uvicorn's two protocols, with bounds that it does not have itself.

A client that never finishes its request would keep its connection for ever,
and one whose header lines never end would fill the memory: uvicorn leaves both
to a proxy in front, and a panel need not have one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from vpspanel.consoles.flag import Flag

HEAD_WITHIN = 15.0  # seconds from the connection or a request's first byte to its last header
HEAD_LIMIT = 64 * 1024  # bytes of request line and headers
SLICE = 4096  # bytes of websocket frames that are taken apart at once
ENOUGH = 4  # messages that may wait while more is read


class BoundedHttp(HttpToolsProtocol):
    """Hangs up on a request whose head is too long, or too long in coming."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._forget_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is None:
            return
        self._head_size += len(data)
        if self._head_size > HEAD_LIMIT:
            self._hang_up()

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_WITHIN, self._too_late)

    def _forget_head(self) -> None:
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_head()  # the answer to the request before is still on its way
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self._forget_head()
        self.transport.close()


class Messages:
    """As much of `asyncio.Queue` as uvicorn uses, for one reader, in a tenth of its 2,900 bytes."""

    __slots__ = ("_messages", "_some")

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._some = Flag()

    def empty(self) -> bool:
        """Whether none waits."""
        return not self._messages

    def __len__(self) -> int:
        return len(self._messages)

    def put_nowait(self, message: Any) -> None:
        """Add one; how many there may be is not decided here."""
        self._messages.append(message)
        self._some.set()

    async def get(self) -> Any:
        """The oldest, once there is one."""
        while not self._messages:
            self._some.clear()
            await self._some.wait()
        return self._messages.pop(0)


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Takes frames apart a few at a time.

    uvicorn takes apart all that one read brought: a quarter of a megabyte of
    empty frames becomes forty thousand messages in its queue. And it stops and
    starts reading around every message, which is two system calls for each key.
    """

    queue: Messages  # type: ignore[assignment]
    writable: Flag  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._unread = memoryview(b"")
        self.queue = Messages()
        self.writable = Flag(is_set=True)

    def data_received(self, data: bytes) -> None:
        self._unread = memoryview(bytes(self._unread) + data if self._unread else data)
        self._take_apart()

    async def receive(self) -> Any:
        message = await self.queue.get()
        if self.read_paused:
            self._take_apart()
        return message

    def start_keepalive(self) -> None:
        super().start_keepalive()
        # The handshake is over; its headers need not live as long as the socket.
        self.request = self.response = None  # type: ignore[assignment]

    def _take_apart(self) -> None:
        """Go on until enough messages wait; read on only if that was all."""
        paused, self.read_paused = self.read_paused, True  # uvicorn then leaves reading alone
        while self._unread and len(self.queue) < ENOUGH:
            piece, self._unread = self._unread[:SLICE], self._unread[SLICE:]
            super().data_received(bytes(piece))
        self.read_paused = bool(self._unread) or len(self.queue) >= ENOUGH
        if self.read_paused == paused or self.transport.is_closing():
            return
        if paused:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()
