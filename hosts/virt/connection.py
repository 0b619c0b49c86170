"""The connections to one host, so that nothing it does can hold up more than one call.

A call into a frozen QEMU does not return, and where two calls share a connection
libvirt 9.0 may leave the answer to the second lying until the first is answered
or the next keepalive comes (two seconds, with each question anew): its thread that
reads for both is woken just before it sleeps. So a connection serves one call at a
time. Queries and actions have connections of their own (a lane), which are used
again, the last one first, up to sixteen each; and every call runs in a thread that
its caller leaves behind at the deadline. A guest has one call in flight at a time,
besides the one that ends it.
Consoles, uploads and the watch have connections to themselves, because data
that a guest does not take stops everything behind it.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import libvirt

from hosts.virt.breaker import Breaker
from hosts.virt.errors import CallTimeout, HostUnreachable
from hosts.virt.events import start_event_loop
from hosts.virt.lane import Lane, Task, close_all, close_late, is_alive
from hosts.virt.translate import unreachable
from hosts.virt.uri import openable

R = TypeVar("R")

HOPELESS_SECONDS = 60.0  # an attempt to connect that took so long does not keep others from trying


class Purpose(enum.StrEnum):
    """Which lane a call takes."""

    QUERY = "query"
    ACTION = "action"


Key = tuple[Purpose, UUID, bool]


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. A daemon that says nothing is given up after
    `keepalive_interval * (keepalive_count + 1)`.
    """

    connections: int = 16  # per lane
    left_behind: int = 12  # calls per host
    patience: float = 0.1  # when no connection is free by then, another one is opened
    unused: float = (
        60.0  # a connection that nobody needed for so long is closed, if others are idle
    )
    openings: int = 8
    open_deadline: float = 8.0
    keepalive_interval: int = 2
    keepalive_count: int = 3


class HostLink:
    """All that this process has open to one host."""

    def __init__(self, uri: str, limits: Limits | None = None) -> None:
        self.uri = uri
        self.limits = limits or Limits()
        self.breaker = Breaker()
        self._lanes = {purpose: Lane() for purpose in Purpose}
        self._lock = threading.Lock()
        self._left_behind = 0
        self._of_guest: dict[Key, _Call] = {}
        self._guest_freed = threading.Condition(self._lock)
        self._openings = 0
        self._closed = False

    # --- calls ----------------------------------------------------------------

    def call(
        self,
        purpose: Purpose,
        work: Callable[[Any], R],
        *,
        timeout: float,
        guest: UUID | None = None,
        rescue: bool = False,
    ) -> R:
        """`work(connection)`, or `CallTimeout` after `timeout` seconds, or `HostUnreachable`.

        Calls for the same `guest` wait for each other, and are refused at once
        behind one that hangs. `rescue` marks the call that ends such a hang
        (destroy): it waits only for others of its kind.
        """
        deadline = time.monotonic() + timeout
        call = _Call((purpose, guest, rescue) if guest else None)
        self._admit(call, deadline)
        try:
            lane = call.lane = self._lanes[purpose]
            connection = call.connection = self._connection(lane, deadline)
            task = Task(
                lambda: work(connection), f"libvirt-{purpose}", after=lambda: self._ended(call)
            )
        except BaseException:
            self._ended(call)
            raise
        if task.wait(deadline - time.monotonic()) or not self._leave_behind(call):
            return self._result(lane, connection, task)
        raise CallTimeout(f"{self.uri}: no answer within {timeout:g} s")

    def _admit(self, call: _Call, deadline: float) -> None:
        """Count the call in, once no other is under way for its guest."""
        with self._lock:
            # A guest that hangs must not lock its own way out.
            if self._left_behind >= self.limits.left_behind and not call.rescue:
                raise HostUnreachable(f"{self.uri}: {self._left_behind} calls hang on this host")
            while call.key is not None and (other := self._of_guest.get(call.key)) is not None:
                left = deadline - time.monotonic()
                if other.left_behind or left <= 0:
                    raise CallTimeout(f"{self.uri}: an earlier call for this guest still hangs")
                self._guest_freed.wait(left)
            if call.key is not None:
                self._of_guest[call.key] = call

    def _result(self, lane: Lane, connection: Any, task: Task[R]) -> R:
        try:
            return task.result()
        except HostUnreachable:
            lane.drop(connection)
            raise
        except Exception as error:
            if not is_alive(connection):
                lane.drop(connection)
                raise HostUnreachable(f"{self.uri}: the connection was lost ({error})") from error
            raise

    def _leave_behind(self, call: _Call) -> bool:
        """False if the call ended in the last moment after all."""
        with self._lock:
            if call.ended:
                return False
            call.left_behind = True
            self._left_behind += 1
            self._guest_freed.notify_all()
            return True

    def _ended(self, call: _Call) -> None:
        with self._lock:
            call.ended = True
            self._left_behind -= call.left_behind
            if call.key is not None:
                del self._of_guest[call.key]
                self._guest_freed.notify_all()
            closed = self._closed
        if call.lane is None or call.connection is None:
            return
        old = call.lane.give_back(call.connection, self.limits.unused)
        close_all([*old, *(call.lane.empty() if closed else ())])

    # --- connections ------------------------------------------------------------

    def _connection(self, lane: Lane, deadline: float) -> Any:
        """One that nobody else uses: an idle one, or a new one if none becomes idle in a moment."""
        while True:
            patience = self.limits.patience if lane.busy else 0.0
            left = deadline - time.monotonic()
            connection = lane.take(min(patience, left))
            if connection is not None:
                return connection
            if left <= 0:
                raise CallTimeout(f"{self.uri}: too many calls are under way")
            connection = self._opened(lane, deadline)
            if connection is not None:
                return connection

    def _opened(self, lane: Lane, deadline: float) -> Any | None:
        """What was opened, or became idle meanwhile; None if another caller was quicker.

        Or if there may not be more of them.
        """
        with self.breaker.attempt():
            task = self._opening_for(lane)
            if task is None:
                return None
            # A daemon that was asked long ago is not waited for all over again.
            longest = self.limits.open_deadline
            patience = max(longest - task.age, min(longest, 1.0))
            left = deadline - time.monotonic()
            connection = lane.take(min(patience, left), until=lambda: task.ended)
            if connection is not None:
                return connection
            if task.ended:
                task.result()  # why it failed
                return None
            if left < patience:  # which says nothing against the host
                raise CallTimeout(f"{self.uri}: no time left to connect")
            raise HostUnreachable(f"{self.uri}: no connection within {patience:.1f} s")

    def _opening_for(self, lane: Lane) -> Task[None] | None:
        """The attempt under way, or a new one if there is none or it hangs for a minute.

        Callers wait for one together, so that a silent host is asked once. Once
        it has answered, each may ask for a connection of its own.
        """
        with lane.changed:
            under_way = lane.opening
            if under_way is not None and not under_way.ended:
                many = self._openings >= self.limits.openings
                if under_way.age < HOPELESS_SECONDS and (many or not lane.size()):
                    return under_way
            if lane.size() + lane.coming >= self.limits.connections:
                return None
            lane.opening = self._start_opening(lambda: self._open_for(lane), lane)
            lane.coming += 1
            return lane.opening

    def _open_for(self, lane: Lane) -> None:
        """Also when nobody waits for it any more: the host answers again."""
        lane.add(self._open())
        self.breaker.close()

    def open_alone(self, timeout: float | None = None) -> Any:
        """A connection for one console, upload or watch; the caller closes it.

        Raises `HostUnreachable`.
        """
        patience = self.limits.open_deadline if timeout is None else timeout
        with self.breaker.attempt():
            task = self._start_opening(self._open)
            if task.wait(patience):
                return task.result()
            close_late(task)
            raise HostUnreachable(f"{self.uri}: no connection within {patience:g} s")

    def _start_opening(self, work: Callable[[], R], lane: Lane | None = None) -> Task[R]:
        with self._lock:
            if self._closed:
                raise HostUnreachable(f"{self.uri}: closed")
            if self._openings >= self.limits.openings:
                raise HostUnreachable(f"{self.uri}: {self._openings} attempts to connect hang")
            self._openings += 1
        start_event_loop()
        return Task(work, "libvirt-open", after=lambda: self._opening_ended(lane))

    def _opening_ended(self, lane: Lane | None) -> None:
        with self._lock:
            self._openings -= 1
            closed = self._closed
        if lane is not None:
            lane.arrived()
            close_all(lane.empty() if closed else [])

    def _open(self) -> Any:
        try:
            connection = libvirt.open(openable(self.uri))
        except libvirt.libvirtError as error:
            raise unreachable(self.uri, str(error)) from error
        limits = self.limits
        # The test driver lives in this process and has nothing to keep alive.
        with suppress(libvirt.libvirtError):
            connection.setKeepAlive(limits.keepalive_interval, limits.keepalive_count)
        if not is_alive(connection):
            raise HostUnreachable(f"{self.uri}: the connection was lost at once")
        return connection

    def close(self) -> None:
        """Close the lanes; what is in use, when it is given back.

        Waits two seconds at most: closing is a call, too.
        """
        with self._lock:
            self._closed = True
        tasks = close_all([one for lane in self._lanes.values() for one in lane.empty()])
        deadline = time.monotonic() + 2
        for task in tasks:
            task.wait(deadline - time.monotonic())


@dataclass(eq=False, slots=True)
class _Call:
    """One call on its way; `left_behind` and `ended` change under the link's lock."""

    key: Key | None
    lane: Lane | None = None
    connection: Any | None = None
    left_behind: bool = False
    ended: bool = False

    @property
    def rescue(self) -> bool:
        return self.key is not None and self.key[2]
