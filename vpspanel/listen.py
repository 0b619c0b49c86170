"""The socket that the web process listens on, and what to do when there is none to be had."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import psutil


class CannotListen(Exception):
    """The address cannot be had; the text says why and what to do."""


def open_listener(bind: str, port: int) -> socket.socket:
    """A listening TCP socket on `bind` (an address or a host name) and `port`.

    Raises CannotListen.
    """
    if not 0 < port < 65536:
        raise CannotListen(f"PORT={port}: a port is a number from 1 to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            bind.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CannotListen(
            f"BIND={bind}: not an address of this machine. Use 127.0.0.1 for this machine only, "
            "0.0.0.0 for all its addresses."
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise CannotListen(_explain(error, bind, port)) from error
    return listener


def _explain(error: OSError, bind: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {bind} is in use{_by_whom(port)}. "
            f"Stop that, or take another port: make run PORT={port + 1}"
        )
    if error.errno == errno.EACCES:
        return (
            f"This user may not listen on port {port}: ports below 1024 need root. "
            "Take a higher one (make run PORT=8000) and put a web server such as Caddy in front."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"BIND={bind}: this machine does not have that address. Use 127.0.0.1 for this "
            "machine only, 0.0.0.0 for all its addresses."
        )
    return f"Cannot listen on {bind} port {port}: {error.strerror}."


def _by_whom(port: int) -> str:
    """` by NAME (process N)` where the system lets this user see it, else nothing."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        here = connection.laddr and connection.laddr.port == port
        if here and connection.status == psutil.CONN_LISTEN and connection.pid:
            try:
                name = Path(f"/proc/{connection.pid}/comm").read_text().strip()
            except OSError:
                return ""
            return f" by {name} (process {connection.pid})"
    return ""
