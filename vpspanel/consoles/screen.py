"""A server's screen (VNC): any number of viewers, each with a connection of its own to QEMU.

The page's VNC client speaks to QEMU itself; each new connection to QEMU is a
new beginning for it. So a connection has a number, which the page is told
with the state, and what the page sends counts only after
`{"type": "begin", "line": number}`: bytes that were on their way to an older
connection never reach a newer one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from hosts.virt.errors import VirtError
from hosts.virt.registry import driver_for
from vpspanel.consoles.console import Console
from vpspanel.consoles.reopening import Reopening, State, state_for
from vpspanel.consoles.rfb import ClientFilter, NotRfb
from vpspanel.consoles.services import How, Place
from vpspanel.consoles.viewer import Ended, Viewer

HELD_LIMIT = 64 * 1024  # bytes that wait for the browser before QEMU is held back


class Line(asyncio.Protocol):
    """The guest's end: a connection to QEMU, which stops sending while nobody reads."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._held: list[bytes] = []
        self._size = 0
        self._ended = False
        self._closed = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    # --- what the transport calls ----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)
        if self._size >= HELD_LIMIT and self._transport is not None:
            self._transport.pause_reading()
        self._readable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._readable.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- what the console calls ----------------------------------------------------------

    async def read(self) -> bytes:
        """All that has come; `b""` once it has ended."""
        await self._readable.wait()
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self._size = 0
        if not self._ended:
            self._readable.clear()
            if self._transport is not None:
                self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Hand over; returns when there is room for more."""
        if self._transport is not None and not self._ended:
            self._transport.write(data)
            await self._writable.wait()

    def close(self) -> None:
        """Hang up; QEMU lets go of every key that is still down."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()


class ScreenConsole(Reopening[Line], Console):
    """See `Console`."""

    def __init__(
        self,
        viewer: Viewer,
        *,
        place: Callable[[], Awaitable[Place | None]],
        connected: Callable[[How], None],
        name: str,
        types: bool,
    ):
        Console.__init__(self, viewer, connected=connected, name=name, types=types)
        Reopening.__init__(self)
        self._place = place
        self._state: State | None = None
        self._line: Line | None = None
        self._number = 0
        self._filter: ClientFilter | None = None  # once the page has begun on this line
        self._others: list[str] = []

    def allow(self, types: bool) -> None:
        if self._types and not types and self._line is not None:
            self._line.close()  # what he holds down is let go; he comes back as a watcher
        super().allow(types)

    def meet(self, names: Sequence[str]) -> None:
        if self._others != list(names):
            self._others = list(names)
            self._news.set()

    async def _serve(self) -> None:
        await self.keep_open()

    async def _tell(self, state: State) -> None:
        self._state = state
        await self._say()

    def _shown(self) -> State | None:
        return self._state

    async def _hear(self, message: bytes | dict[str, Any]) -> None:
        if isinstance(message, bytes):
            await self._pass_on(message)
            return
        begins = message.get("type") == "begin" and message.get("line") == self._number
        if begins and self._line is not None and self._filter is None:
            self._filter = ClientFilter(types=self._types)

    async def _pass_on(self, data: bytes) -> None:
        line, client = self._line, self._filter
        if line is None or client is None:
            return
        client.types = self._types
        try:
            wanted = client.feed(data)
        except NotRfb as reason:
            raise Ended(4400, str(reason)) from None
        if wanted:
            await line.write(wanted)

    async def _open(self) -> tuple[Line | None, State]:
        place = await self._place()
        if place is None:
            return None, State.WAITING
        line = Line()
        try:
            await driver_for(place.uri).open_vnc(place.uuid, line)
        except VirtError as error:
            return None, state_for(error)
        except BaseException:
            line.close()  # also if it is made after nobody waits for it any more
            raise
        self._line, self._filter = line, None
        self._number += 1
        self._connected(How.OPENED)
        return line, State.CONNECTED

    async def _pump(self, line: Line) -> None:
        try:
            while data := await line.read():
                await self._viewer.send_bytes(data)
        finally:
            self._line = self._filter = None
            line.close()

    def _facts(self) -> dict[str, object]:
        return {"line": self._number, "others": self._others}
