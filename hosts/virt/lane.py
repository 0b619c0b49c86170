"""Calls in threads of their own, and the connections of one purpose that they take in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import libvirt

from hosts.virt.translate import translate

R = TypeVar("R")


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
    """The connections of one purpose: who has one has it alone, and gives it back."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.opening: Task[None] | None = None  # the latest
        self.coming = 0  # attempts under way
        self.busy = 0
        self._idle: list[tuple[Any, float]] = []  # and since when; the last one was used last

    def take(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> Any | None:
        """A connection as soon as one is idle; None if `until` came true or the time is over."""
        with self.changed:
            self.changed.wait_for(lambda: self._has_idle() or until(), max(seconds, 0))
            if not self._has_idle():
                return None
            self.busy += 1
            return self._idle.pop()[0]

    def _has_idle(self) -> bool:
        while self._idle and not is_alive(self._idle[-1][0]):
            self._idle.pop()
        return bool(self._idle)

    def size(self) -> int:
        """How many connections there are."""
        with self.changed:
            return self.busy + len(self._idle)

    def add(self, connection: Any) -> None:
        """A new one is there."""
        with self.changed:
            self._idle.append((connection, time.monotonic()))
            self.changed.notify_all()

    def give_back(self, connection: Any, unused: float) -> list[Any]:
        """Let others have it. Returns those that nobody needs any more, to be closed."""
        now = time.monotonic()
        with self.changed:
            self.busy -= 1
            old = [one for one, since in self._idle if now - since >= unused]
            self._idle = [(one, since) for one, since in self._idle if now - since < unused]
            self.add(connection)
        return old

    def drop(self, connection: Any) -> None:
        """Nobody gets it again."""
        with self.changed:
            self._idle = [(one, since) for one, since in self._idle if one is not connection]

    def arrived(self) -> None:
        """One that was coming is there, or failed: those who wait look again."""
        with self.changed:
            self.coming -= 1
            self.changed.notify_all()

    def empty(self) -> list[Any]:
        """What was idle, to be closed."""
        with self.changed:
            idle, self._idle = [one for one, _ in self._idle], []
        return idle


def is_alive(connection: Any) -> bool:
    """Whether it still is a connection. Asks nobody."""
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


def close_all(connections: Iterable[Any]) -> list[Task[Any]]:
    """Close them; nobody has to wait for it."""
    return [Task(connection.close, "libvirt-close") for connection in connections]
