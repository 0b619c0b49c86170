"""Screens of remote hosts: a UNIX socket there, through a real SSH connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncssh
import pytest

from hosts.virt.errors import HostUnreachable, Unsupported
from hosts.virt.libvirt import LibvirtDriver
from hosts.virt.tunnel import Address, Tunnel, parse_address
from tests.hosts.real_guests import Guests, guests
from tests.hosts.rfb import EXTENDED_KEYS, Client
from tests.kvm import kvm_host

__all__ = ["guests", "kvm_host"]


@dataclass
class Gate:
    """An SSH server on this machine, and the address of the host behind it."""

    uri: str
    directory: Path
    connections: list[asyncssh.SSHServerConnection]


class _Server(asyncssh.SSHServer):
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._gate.connections.append(conn)

    def unix_connection_requested(self, dest_path: str) -> Any:
        return lambda reader, writer: _relay(dest_path, reader, writer)


async def _relay(
    path: str, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]
) -> None:
    theirs, ours = await asyncio.open_unix_connection(path)

    async def up() -> None:
        while data := await reader.read(65536):
            ours.write(data)
            await ours.drain()

    async def down() -> None:
        while data := await theirs.read(65536):
            writer.write(data)
            await writer.drain()

    tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
    with contextlib.suppress(OSError, asyncssh.Error):
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    ours.close()
    writer.close()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    made = Gate("", tmp_path, [])
    server_key = asyncssh.generate_private_key("ssh-ed25519")
    client_key = asyncssh.generate_private_key("ssh-ed25519")
    client_key.write_private_key(str(tmp_path / "id"))
    client_key.write_public_key(str(tmp_path / "authorized"))
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[server_key],
        server_factory=lambda: _Server(made),
        authorized_client_keys=str(tmp_path / "authorized"),
        encoding=None,
    )
    port = server.sockets[0].getsockname()[1]
    public = server_key.export_public_key().decode().strip()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {public}\n")
    made.uri = (
        f"qemu+ssh://someone@127.0.0.1:{port}/system"
        f"?keyfile={tmp_path}/id&known_hosts={tmp_path}/known"
    )
    yield made
    server.close()
    for connection in made.connections:
        connection.abort()
    await server.wait_closed()


@pytest.fixture
async def echo(tmp_path: Path) -> AsyncIterator[str]:
    """The path of a socket that says what it hears, and floods after an F."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1024):
                writer.write(data)
                while data == b"F":
                    writer.write(bytes(65536))
                    await writer.drain()

    path = str(tmp_path / "echo.sock")
    server = await asyncio.start_unix_server(serve, path)
    yield path
    server.close()


def test_addresses_are_read_as_libvirt_reads_them() -> None:
    address = parse_address("qemu+ssh://ro%40ot@kvm1.example:2222/system?keyfile=/k&no_tty=1")
    assert address == Address("kvm1.example", 2222, "ro@ot", "/k", None)
    assert parse_address("qemu+ssh://[2001:db8::1]/system").host == "2001:db8::1"
    with pytest.raises(ValueError, match="names no host"):
        parse_address("qemu+ssh:///system")


async def test_bytes_go_both_ways_and_one_connection_serves_all(gate: Gate, echo: str) -> None:
    tunnel = Tunnel(gate.uri)
    clients = [Client() for _ in range(3)]
    async with asyncio.timeout(20):
        for number, client in enumerate(clients):
            await tunnel.connect(echo, client)
            client.write(b"hello %d" % number)
        for number, client in enumerate(clients):
            assert await client.take(7) == b"hello %d" % number
    assert len(gate.connections) == 1
    assert clients[0].transport is not None
    clients[0].transport.close()
    async with asyncio.timeout(5):
        await clients[0].until_lost()
    clients[1].write(b"still here")
    async with asyncio.timeout(5):
        assert await clients[1].take(10) == b"still here"
    tunnel.close()
    async with asyncio.timeout(5):
        await clients[1].until_lost()


async def test_a_viewer_that_pauses_holds_the_far_end_back(gate: Gate, echo: str) -> None:
    tunnel = Tunnel(gate.uri)
    stalled, quick = Client(), Client()
    async with asyncio.timeout(20):
        await tunnel.connect(echo, stalled)
        await tunnel.connect(echo, quick)
        assert stalled.transport is not None
        stalled.transport.pause_reading()
        stalled.write(b"F")
        await asyncio.sleep(0.5)
        held = len(stalled.received)
        quick.write(b"x")
        assert await quick.take(1) == b"x"
        assert len(stalled.received) == held
        stalled.transport.resume_reading()
        await stalled.take(1024 * 1024)
        stalled.transport.abort()
    tunnel.close()


async def test_another_host_key_ends_the_attempt(gate: Gate, echo: str) -> None:
    port = gate.uri.split(":")[2].partition("/")[0]
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    for known in (f"[127.0.0.1]:{port} {other}\n", ""):
        (gate.directory / "known").write_text(known)
        client = Client()
        with pytest.raises(HostUnreachable, match="ost key"):
            await Tunnel(gate.uri).connect(echo, client)
        assert client.transport is None


async def test_another_key_of_ours_is_refused(gate: Gate, echo: str) -> None:
    (gate.directory / "id").unlink()
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(gate.directory / "id"))
    with pytest.raises(HostUnreachable):
        await Tunnel(gate.uri).connect(echo, Client())


async def test_no_socket_and_no_server_are_an_unreachable_screen(gate: Gate, echo: str) -> None:
    tunnel = Tunnel(gate.uri)
    with pytest.raises(HostUnreachable):
        await Tunnel("qemu+ssh://nobody@127.0.0.1:1/system").connect(echo, Client())
    client = Client()
    with contextlib.suppress(HostUnreachable):
        await tunnel.connect(f"{gate.directory}/none.sock", client)
        async with asyncio.timeout(5):
            await client.until_lost()
    tunnel.close()


async def test_the_far_end_going_away_is_seen(gate: Gate, echo: str) -> None:
    tunnel = Tunnel(gate.uri)
    client = Client()
    await tunnel.connect(echo, client)
    gate.connections[0].abort()
    async with asyncio.timeout(5):
        await client.until_lost()
    again = Client()
    await tunnel.connect(echo, again)
    again.write(b"back")
    async with asyncio.timeout(5):
        assert await again.take(4) == b"back"
    tunnel.close()


@pytest.mark.qemu
async def test_a_real_screen_by_the_path_in_the_live_definition(gate: Gate, guests: Guests) -> None:
    """The driver's own way for `qemu+ssh://`, with SSH for the bytes and libvirt at hand."""
    spec = guests.running()
    driver = guests.driver
    driver._tunnel = Tunnel(gate.uri)
    original = _Server.unix_connection_requested

    def inside(self: _Server, dest_path: str) -> Any:
        assert dest_path.startswith("/var/lib/libvirt/")
        path = f"{guests.host.dir}/lib/{dest_path.removeprefix('/var/lib/libvirt/')}"
        return original(self, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Server, "unix_connection_requested", inside)
        client = Client()
        async with asyncio.timeout(30):
            await driver.open_vnc(spec.uuid, client)
            await client.handshake(EXTENDED_KEYS)
            await client.update()
    assert client.picture.width >= 320
    driver._tunnel.close()


@pytest.mark.libvirt
async def test_hosts_over_tls_have_no_screen() -> None:
    driver = LibvirtDriver("qemu+tls://kvm1.example/system")
    with pytest.raises(Unsupported, match="SSH"):
        await driver.open_vnc(uuid4(), Client())
    driver.close()
