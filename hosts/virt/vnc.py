"""The way to a guest's screen: the UNIX socket on which QEMU speaks VNC (RFB).

On this machine libvirt hands over a socket that is connected already
(`openGraphicsFD`), so no path and no file permission matters. On another one
the socket's path is read from the live definition and reached through SSH
(tunnel.py). Either way the caller's protocol gets the bytes as they come:
nothing is buffered here, and `pause_reading` holds QEMU back.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any
from uuid import UUID

import libvirt

from hosts.virt import domains
from hosts.virt.console import in_thread
from hosts.virt.errors import InvalidState, Unsupported
from hosts.virt.hostinfo import parse

LISTENER = "devices/graphics[@type='vnc']/listen[@type='socket']"


async def connect_locally(
    connect: Callable[[], Any],
    uuid: UUID,
    viewer: asyncio.Protocol,
    timeout: float,  # noqa: ASYNC109
) -> None:
    """See `Driver.open_vnc`. `connect` gives a connection that only this call uses."""
    screen = await in_thread(lambda: _open(connect, uuid), "libvirt-screen", timeout)
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: viewer, sock=screen)
    except BaseException:
        screen.close()
        raise


def _open(connect: Callable[[], Any], uuid: UUID) -> socket.socket:
    connection = connect()
    try:
        domain = _running(connection, uuid)
        # There is no password to skip: who may reach the socket is decided before it.
        descriptor = domain.openGraphicsFD(0, libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH)
    finally:
        connection.close()
    screen = socket.socket(fileno=descriptor)
    screen.setblocking(False)
    return screen


def socket_path(connection: Any, uuid: UUID) -> str:
    """Where QEMU listens on the guest's host. Raises as `Driver.open_vnc`."""
    described = parse(_running(connection, uuid).XMLDesc(0))
    listener = described.find(LISTENER)
    path = "" if listener is None else listener.get("socket", "")
    if not path.startswith("/"):
        raise Unsupported(f"Domain {uuid} has no VNC screen on a UNIX socket")
    return path


def _running(connection: Any, uuid: UUID) -> Any:
    domain = domains.need_ours(connection, uuid)
    if not domain.isActive():
        raise InvalidState(f"Domain {domain.name()} is off")
    return domain
