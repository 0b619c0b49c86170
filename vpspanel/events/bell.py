"""A doorbell between the processes of one machine.

The database says what there is to do; a bell only says *look now*. Each
listener binds a UNIX datagram socket in the run directory; `ring` sends one
byte to all of that name and never waits. A lost ring costs no more than the
listener's own time-out, so listeners always have one.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from django.conf import settings


def _run_dir() -> Path:
    path = Path(settings.VAR_DIR) / "run"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """The directory by descriptor: a socket's path may not exceed 107 bytes."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def ring(name: str) -> int:
    """Wake every listener called `name`; how many there were. Never waits, never raises."""
    reached = 0
    try:
        directory = _run_dir()
        with (
            _short_path(directory) as short,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
        ):
            for path in directory.glob(f"{name}-*.bell"):
                reached += _send(sender, f"{short}/{path.name}", path)
    except OSError:
        return reached
    return reached


def _send(sender: socket.socket, address: str, path: Path) -> int:
    try:
        sender.sendto(b"!", address)
    except BlockingIOError:
        return 1  # its buffer is full of rings: it will look anyway
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)  # left by a process that was killed
        return 0
    except OSError:
        return 0
    return 1


class Bell:
    """A listener. Use as a context manager; `fileno()` fits any event loop."""

    def __init__(self, name: str):
        self._path = _run_dir() / f"{name}-{os.getpid()}-{id(self):x}.bell"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with _short_path(self._path.parent) as short:
            self._socket.bind(f"{short}/{self._path.name}")

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Forget all rings so far; True if there was one."""
        rung = False
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(1):
                rung = True
        return rung

    def wait(self, timeout: float) -> bool:
        """True as soon as somebody rings, False after `timeout` seconds."""
        select.select([self._socket], [], [], timeout)
        return self.drain()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
