"""A guest's screen as a socket that another process may have."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from uuid import UUID

import pytest

from hosts.virt.errors import InvalidState
from hosts.virt.handover import screen_socket
from tests.hosts.contract import ContractHost, on_hosts_with
from tests.hosts.rfb import Client
from tests.kvm import kvm_host

__all__ = ["kvm_host"]

MIB = 1024 * 1024


async def shows_a_picture(screen: socket.socket) -> None:
    """Whether a VNC client is happy with it."""
    screen.setblocking(False)
    client = Client()
    async with asyncio.timeout(20):
        await asyncio.get_running_loop().create_unix_connection(lambda: client, sock=screen)
        assert await client.handshake()
        await client.update()
    assert client.picture.width >= 320
    assert client.transport is not None
    client.transport.abort()


@on_hosts_with("open_vnc")
async def test_it_is_the_very_socket_of_the_guest(host: ContractHost) -> None:
    await shows_a_picture(await screen_socket(host.driver, host.booted()))


@on_hosts_with("open_vnc")
async def test_there_is_none_while_the_guest_is_off(host: ContractHost) -> None:
    uuid = host.running()
    host.driver.destroy(uuid)
    with pytest.raises(InvalidState):
        await screen_socket(host.driver, uuid)


class Hidden(asyncio.Transport):
    """A transport without a socket, like a channel of SSH."""

    def __init__(self, real: asyncio.Transport):
        super().__init__()
        self._real = real
        for name in ("write", "close", "abort", "pause_reading", "resume_reading", "is_closing"):
            setattr(self, name, getattr(real, name))


class Remote:
    """A driver whose screens come through such a transport: one that talks, one that hears."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.far: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    async def open_vnc(self, _uuid: UUID, viewer: asyncio.Protocol) -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        for end in (ours, theirs):
            end.setblocking(False)

        class Relay(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                viewer.connection_made(Hidden(transport))

            data_received = viewer.data_received
            pause_writing = viewer.pause_writing
            resume_writing = viewer.resume_writing
            connection_lost = viewer.connection_lost

        remote = self

        class Guest(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                remote.far = transport

            def data_received(self, data: bytes) -> None:
                remote.said.put_nowait(data)

            def connection_lost(self, exc: Exception | None) -> None:
                remote.lost.set()

        await loop.create_unix_connection(Guest, sock=theirs)
        await loop.create_unix_connection(Relay, sock=ours)


async def test_what_comes_through_ssh_is_spliced_and_held_back() -> None:
    remote = Remote()
    screen = await screen_socket(remote, UUID(int=1))  # type: ignore[arg-type]
    assert remote.far is not None
    sent = bytes(range(256)) * 1024 * 64  # 16 MiB, of which nobody reads anything yet
    remote.far.write(sent)
    await asyncio.sleep(0.3)
    assert remote.far.get_write_buffer_size() > len(sent) - 4 * MIB
    screen.setblocking(False)
    loop = asyncio.get_running_loop()
    received = bytearray()
    async with asyncio.timeout(30):
        while len(received) < len(sent):
            received += await loop.sock_recv(screen, 256 * 1024)
        assert received == sent
        await loop.sock_sendall(screen, b"typed")
        assert await remote.said.get() == b"typed"
        screen.close()
        await remote.lost.wait()
