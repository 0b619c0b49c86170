"""The connections to one host, so that nothing it does can hold up more than one call.

libvirt serves five calls of a connection at once, and a call into a frozen QEMU
does not return. So queries and actions have a connection each (a lane) with at
most four calls in flight, and every call runs in a thread of its own that its
caller leaves behind at the deadline. A guest has one call in flight at a time,
besides the one that ends it. A lane whose calls are all under way gets a new
connection with new slots, until there are sixteen calls on the host.
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
from typing import Any, Generic, TypeVar
from uuid import UUID

import libvirt

from hosts.virt.breaker import Breaker
from hosts.virt.errors import CallTimeout, HostUnreachable
from hosts.virt.events import start_event_loop
from hosts.virt.translate import translate, unreachable
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

    in_flight: int = 4  # per connection
    calls: int = 16  # per host
    left_behind: int = 12  # per host
    patience: float = 0.25  # a slot that is not free by then is taken on another connection
    openings: int = 8
    open_deadline: float = 8.0
    keepalive_interval: int = 2
    keepalive_count: int = 3


class Task(Generic[R]):
    """`work` in a daemon thread: a thread that never returns must not keep the process alive."""

    def __init__(self, work: Callable[[], R], name: str, after: Callable[[], None] | None = None):
        self._work = work
        self._after = after
        self._ended = threading.Event()
        self._started = time.monotonic()
        self._result: R | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except libvirt.libvirtError as error:
            self._error = translate(error)
        except BaseException as error:  # raised again in the caller's thread
            self._error = error
        self._ended.set()
        if self._after is not None:
            self._after()

    def wait(self, seconds: float) -> bool:
        """True if it has ended."""
        return self._ended.wait(max(seconds, 0))

    @property
    def ended(self) -> bool:
        """True once `result` may be asked for."""
        return self._ended.is_set()

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._started

    def result(self) -> R:
        """What `work` returned, or raise what it raised. Only after it ended."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


class Lane:
    """One shared connection, opened when needed, with the slots that belong to it."""

    def __init__(self, limits: Limits) -> None:
        self.lock = threading.Lock()
        self.connection: Any | None = None
        self.opening: Task[Any] | None = None
        self.slots = threading.BoundedSemaphore(limits.in_flight)

    def alive(self) -> Any | None:
        """The connection, if it still is one."""
        with self.lock:
            if self.connection is not None and not _is_alive(self.connection):
                self.connection = None
            return self.connection

    def drop(self, connection: Any) -> None:
        with self.lock:
            if self.connection is connection:
                self.connection = None


class HostLink:
    """All that this process has open to one host."""

    def __init__(self, uri: str, limits: Limits | None = None) -> None:
        self.uri = uri
        self.limits = limits or Limits()
        self.breaker = Breaker()
        self._lanes = {purpose: Lane(self.limits) for purpose in Purpose}
        self._lock = threading.Lock()
        self._calls = 0
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
            lane = self._lane(purpose, deadline)
            call.slots = lane.slots
            connection = self._connect(lane, deadline)
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
            self._calls += 1

    def _lane(self, purpose: Purpose, deadline: float) -> Lane:
        """A lane with a slot taken on it: the one in use, or a new one if that stays full."""
        while True:
            lane = self._lanes[purpose]
            left = deadline - time.monotonic()
            if lane.slots.acquire(timeout=max(min(left, self.limits.patience), 0)):
                return lane
            if left <= 0:
                raise CallTimeout(f"{self.uri}: too many calls are under way")
            with self._lock:
                # While it is still being opened, a second one would open no sooner.
                room = self._calls <= self.limits.calls and lane.opening is None
                if room and self._lanes[purpose] is lane:
                    self._lanes[purpose] = Lane(self.limits)

    def _result(self, lane: Lane, connection: Any, task: Task[R]) -> R:
        try:
            return task.result()
        except HostUnreachable:
            lane.drop(connection)
            raise
        except Exception as error:
            if not _is_alive(connection):
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
            self._calls -= 1
            self._left_behind -= call.left_behind
            if call.key is not None:
                del self._of_guest[call.key]
                self._guest_freed.notify_all()
        if call.slots is not None:
            call.slots.release()

    # --- connections ------------------------------------------------------------

    def _connect(self, lane: Lane, deadline: float) -> Any:
        """The lane's connection. If there is none, one caller opens it and the others wait."""
        connection = lane.alive()
        if connection is not None:
            return connection
        with self.breaker.attempt():
            task = self._opening_of(lane)
            # A daemon that was asked long ago is not waited for all over again.
            longest = self.limits.open_deadline
            patience = max(longest - task.age, min(longest, 1.0))
            left = deadline - time.monotonic()
            if not task.wait(min(patience, left)):
                if left < patience:  # which says nothing against the host
                    raise CallTimeout(f"{self.uri}: no time left to connect")
                raise HostUnreachable(f"{self.uri}: no connection within {patience:.1f} s")
            with lane.lock:
                if lane.opening is task:
                    lane.opening = None
                    lane.connection = task.result()
            connection = lane.alive()
            if connection is None:
                raise HostUnreachable(f"{self.uri}: the connection was lost at once")
            return connection

    def _opening_of(self, lane: Lane) -> Task[Any]:
        """The attempt under way, or a new one if there is none or it hangs for a minute."""
        with lane.lock:
            if lane.opening is not None and not lane.opening.ended:
                if lane.opening.age < HOPELESS_SECONDS:
                    return lane.opening
                close_late(lane.opening)
            elif lane.opening is not None:
                return lane.opening
            lane.opening = self._start_opening()
            return lane.opening

    def open_alone(self, timeout: float | None = None) -> Any:
        """A connection for one console, upload or watch; the caller closes it.

        Raises `HostUnreachable`.
        """
        patience = self.limits.open_deadline if timeout is None else timeout
        with self.breaker.attempt():
            task = self._start_opening()
            if task.wait(patience):
                return task.result()
            close_late(task)
            raise HostUnreachable(f"{self.uri}: no connection within {patience:g} s")

    def _start_opening(self) -> Task[Any]:
        with self._lock:
            if self._closed:
                raise HostUnreachable(f"{self.uri}: closed")
            if self._openings >= self.limits.openings:
                raise HostUnreachable(f"{self.uri}: {self._openings} attempts to connect hang")
            self._openings += 1
        start_event_loop()
        return Task(self._open, "libvirt-open", after=self._opening_ended)

    def _opening_ended(self) -> None:
        with self._lock:
            self._openings -= 1

    def _open(self) -> Any:
        try:
            connection = libvirt.open(openable(self.uri))
        except libvirt.libvirtError as error:
            raise unreachable(self.uri, str(error)) from error
        limits = self.limits
        # The test driver lives in this process and has nothing to keep alive.
        with suppress(libvirt.libvirtError):
            connection.setKeepAlive(limits.keepalive_interval, limits.keepalive_count)
        return connection

    def close(self) -> None:
        """Close the lanes. Waits two seconds at most: closing is a call, too."""
        with self._lock:
            self._closed = True
        tasks = []
        for lane in self._lanes.values():
            with lane.lock:
                connection, lane.connection = lane.connection, None
            if connection is not None:
                tasks.append(Task(connection.close, "libvirt-close"))
        deadline = time.monotonic() + 2
        for task in tasks:
            task.wait(deadline - time.monotonic())


@dataclass(eq=False, slots=True)
class _Call:
    """One call on its way; `left_behind` and `ended` change under the link's lock."""

    key: Key | None
    slots: threading.BoundedSemaphore | None = None
    left_behind: bool = False
    ended: bool = False

    @property
    def rescue(self) -> bool:
        return self.key is not None and self.key[2]


def _is_alive(connection: Any) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def close_late(task: Task[Any]) -> None:
    """Nobody waits for what this task opens any more: close it when it comes."""

    def close() -> None:
        task.wait(threading.TIMEOUT_MAX)
        with suppress(Exception):
            task.result().close()

    threading.Thread(target=close, name="libvirt-close", daemon=True).start()
