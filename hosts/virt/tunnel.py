"""UNIX sockets of a remote host, through SSH.

The same host, user, key and known host key as libvirt's own `qemu+ssh://`
address: `?keyfile=` and `?known_hosts=`, else the panel's (ssh.py). A host key
that is not known ends the attempt: there is no way to go on without.

One SSH connection per event loop carries all screens of the host, each in a
channel with its own window, and ends a while after the last of them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from weakref import WeakKeyDictionary

import asyncssh

from hosts.virt import ssh
from hosts.virt.errors import HostUnreachable, WrongHost
from hosts.virt.ssh import CONNECT_WITHIN

KEEPALIVE_SECONDS = 3.0
KEEPALIVE_COUNT = 3
IDLE_SECONDS = 30.0
WINDOW = 256 * 1024  # bytes that may wait here for a viewer that stalls


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how to knock; None where the address says nothing."""

    host: str
    port: int | None
    user: str | None
    keyfile: str | None
    known_hosts: str | None


def parse_address(uri: str) -> Address:
    """The SSH part of a `qemu+ssh://` address. Raises `ValueError` if it names no host."""
    parts = urlsplit(uri)
    if not parts.hostname:
        raise ValueError(f"{uri!r} names no host")
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return Address(
        host=parts.hostname,
        port=parts.port,
        user=unquote(parts.username) if parts.username else None,
        keyfile=options.get("keyfile"),
        known_hosts=options.get("known_hosts"),
    )


@dataclass(slots=True)
class _Shared:
    """The connection of one event loop."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: asyncssh.SSHClientConnection | None = None
    users: int = 0
    ending: asyncio.TimerHandle | None = None


class Tunnel:
    """The way to one host. Opens nothing before it is used."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._address = parse_address(uri)
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()

    async def connect(self, path: str, viewer: asyncio.Protocol) -> None:
        """Connect `viewer` to the socket `path` of the host. Raises `HostUnreachable`."""
        shared = self._loops.setdefault(asyncio.get_running_loop(), _Shared())
        use = _Use(shared)
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                connection = await self._connection(shared)
                await connection.create_unix_connection(
                    lambda: Channel(viewer, use), path, window=WINDOW
                )
        except (OSError, asyncssh.Error, TimeoutError) as error:
            use.end()
            raise _no_way(self._address, error) from error
        except BaseException:
            use.end()
            raise

    def close(self) -> None:
        """End every connection, from any thread."""
        for loop, shared in list(self._loops.items()):
            if shared.connection is not None and not loop.is_closed():
                loop.call_soon_threadsafe(shared.connection.abort)

    async def _connection(self, shared: _Shared) -> asyncssh.SSHClientConnection:
        async with shared.lock:
            if shared.connection is None or shared.connection.is_closed():
                shared.connection = await asyncssh.connect(
                    self._address.host, **_options(self._address, self._uri)
                )
            return shared.connection


def _no_way(address: Address, error: Exception) -> HostUnreachable:
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return WrongHost(f"{address.host}: its SSH host key is not the one that staff confirmed")
    said = str(error) or f"no answer within {CONNECT_WITHIN:g} s"
    return HostUnreachable(f"{address.host}: {said}")


async def run(uri: str, command: str) -> str:
    """What `command` prints on the machine. Raises `HostUnreachable`, also if it fails there."""
    address = parse_address(uri)
    try:
        async with (
            asyncio.timeout(CONNECT_WITHIN),
            asyncssh.connect(address.host, **_options(address, uri)) as connection,
        ):
            return str((await connection.run(command, check=True)).stdout)
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise _no_way(address, error) from error


class _Use:
    """One screen's share of the connection, until `end`."""

    def __init__(self, shared: _Shared) -> None:
        self._shared: _Shared | None = shared
        shared.users += 1

    def end(self) -> None:
        """Safe to call twice."""
        shared, self._shared = self._shared, None
        if shared is None:
            return
        shared.users -= 1
        if shared.ending is not None:
            shared.ending.cancel()
        shared.ending = asyncio.get_running_loop().call_later(IDLE_SECONDS, _end_idle, shared)


def _end_idle(shared: _Shared) -> None:
    if not shared.users and shared.connection is not None:
        shared.connection.close()
        shared.connection = None


def _options(address: Address, uri: str) -> dict[str, Any]:
    """Only what the address says is said; a password or a terminal is never asked for.

    Makes the panel's key pair if it is used and there is none yet.
    """
    home = ssh.home()
    if home is not None and ssh.uses_home(uri):
        home.prepare()
        address = replace(
            address,
            keyfile=str(home.key),
            known_hosts=address.known_hosts or str(home.known_hosts),
        )
    options: dict[str, Any] = {
        "preferred_auth": "publickey",
        "connect_timeout": CONNECT_WITHIN,
        "login_timeout": CONNECT_WITHIN,
        "keepalive_interval": KEEPALIVE_SECONDS,
        "keepalive_count_max": KEEPALIVE_COUNT,
    }
    if address.keyfile is not None:
        options["config"] = None  # nobody's own configuration has a say in it
    if address.port is not None:
        options["port"] = address.port
    if address.user is not None:
        options["username"] = address.user
    if address.keyfile is not None:
        options["client_keys"] = [address.keyfile]
        options["agent_path"] = None
    if address.known_hosts is not None:
        options["known_hosts"] = address.known_hosts
    return options


class Channel(asyncssh.SSHUNIXSession[bytes]):
    """An SSH channel that looks like a transport to an `asyncio.Protocol`."""

    def __init__(self, viewer: asyncio.Protocol, use: _Use) -> None:
        self._viewer = viewer
        self._use = use

    def connection_made(self, chan: asyncssh.SSHUNIXChannel[bytes]) -> None:
        self._viewer.connection_made(ChannelTransport(chan))

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._viewer.data_received(data)

    def eof_received(self) -> bool:
        return False  # the channel closes then

    def connection_lost(self, exc: Exception | None) -> None:
        self._use.end()
        self._viewer.connection_lost(exc)

    def pause_writing(self) -> None:
        self._viewer.pause_writing()

    def resume_writing(self) -> None:
        self._viewer.resume_writing()


class ChannelTransport(asyncio.Transport):
    """What `Driver.open_vnc` promises of a transport."""

    def __init__(self, channel: asyncssh.SSHUNIXChannel[bytes]) -> None:
        super().__init__()
        self._channel = channel

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._channel.is_closing():
            self._channel.write(bytes(data))

    def is_closing(self) -> bool:
        return self._channel.is_closing()

    def close(self) -> None:
        self._channel.close()

    def abort(self) -> None:
        self._channel.abort()

    def pause_reading(self) -> None:
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        self._channel.resume_reading()
