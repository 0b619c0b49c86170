"""What the libvirt driver's calls are made of: lanes, deadlines, transfers in threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from hosts.virt.connection import HostLink, Limits, Purpose
from hosts.virt.errors import CallTimeout
from hosts.virt.lane import Task

R = TypeVar("R")

# Deadlines in seconds. A daemon that stopped answering is noticed by keepalive
# before the shortest of them, so that they only end for a call that hangs alone.
QUERY = 10.0
CHANGE = 30.0
# Creating a volume runs qemu-img; starting a guest waits for QEMU; destroying a
# frozen one takes libvirt ten seconds; and both wait for a guest that starts up.
SLOW = 60.0
PROGRESS_SECONDS = 0.2


class Linked:
    """One host, and all that this process has open to it."""

    def __init__(self, uri: str, limits: Limits | None = None) -> None:
        self.uri = uri
        self._link = HostLink(uri, limits)

    def _ask(self, work: Callable[[Any], R], *, timeout: float = QUERY) -> R:
        return self._link.call(Purpose.QUERY, work, timeout=timeout)

    def _do(
        self,
        work: Callable[[Any], R],
        *,
        timeout: float = CHANGE,
        guest: UUID | None = None,
        rescue: bool = False,
    ) -> R:
        return self._link.call(Purpose.ACTION, work, timeout=timeout, guest=guest, rescue=rescue)

    def _run_alone(
        self,
        work: Callable[[Any], None],
        look: Callable[[], None],
        cancel: Callable[[], None],
        *,
        what: str,
        timeout: float,
        patience: float = 1.0,
    ) -> None:
        """In a thread with a connection to itself; `look` is called in the caller's thread.

        What `look` raises, or the deadline, calls `cancel` and comes out, at the latest after
        `patience` seconds.
        """
        connection = self._link.open_alone()
        deadline = time.monotonic() + timeout

        def run() -> None:
            try:
                work(connection)
            finally:
                connection.close()

        task = Task(run, "libvirt-transfer")
        try:
            while not task.wait(min(PROGRESS_SECONDS, deadline - time.monotonic())):
                look()
                if time.monotonic() >= deadline:
                    raise CallTimeout(f"{self.uri}: {what} was not transferred in time")
            task.result()
        except BaseException:
            cancel()
            task.wait(patience)
            raise
