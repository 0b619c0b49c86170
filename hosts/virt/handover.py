"""A guest's screen as a socket that another process may have."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import cast
from uuid import UUID

from hosts.virt.driver import Driver


class _End(asyncio.Protocol):
    """One end of a splice; what it gets goes to the other, which holds it back if it is full."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()  # until the other is there, or for ever

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


async def screen_socket(driver: Driver, uuid: UUID) -> socket.socket:
    """The guest's screen as a connected socket, fit for another process. Raises as `open_vnc`.

    On this machine it is the very socket on which QEMU speaks. What comes
    through SSH is spliced to a pair of sockets, here.
    """
    far = _End()
    await driver.open_vnc(uuid, far)
    if far.transport is None:
        raise RuntimeError("A driver gave a screen without a transport.")
    own = far.transport.get_extra_info("socket")
    if own is not None:
        descriptor = os.dup(own.fileno())
        far.transport.abort()
        return socket.socket(fileno=descriptor)
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    near = _End()
    near.other, far.other = far, near
    await asyncio.get_running_loop().create_unix_connection(lambda: near, sock=ours)
    far.resume_writing()
    near.resume_writing()
    return theirs
