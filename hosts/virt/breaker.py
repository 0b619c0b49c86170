"""A circuit breaker: while a host does not answer, say so at once instead of waiting again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hosts.virt.errors import HostUnreachable


class Breaker:
    """Closed while the host answers; after a failure open for `first` seconds, then twice as long,
    at most `longest`. When that time is over one caller may try; its result decides for all.
    """

    def __init__(self, first: float = 1.0, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._lock = threading.Lock()
        self._pause = 0.0
        self._closed_until = 0.0  # monotonic; nobody passes before
        self._error = HostUnreachable("")
        self._trying = False

    @property
    def open(self) -> bool:
        """True while the host is taken for unreachable."""
        with self._lock:
            return self._pause > 0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around opening a connection. `HostUnreachable` inside opens the breaker, an end without
        an error closes it. Raises `HostUnreachable` at once while it is open.
        """
        with self._lock:
            if self._pause:
                if self._trying or time.monotonic() < self._closed_until:
                    raise type(self._error)(str(self._error))
                self._trying = True
            trying = self._trying
        try:
            yield
        except HostUnreachable as error:
            self._failed(error)
            raise
        else:
            self.close()
        finally:
            if trying:
                with self._lock:
                    self._trying = False

    def close(self) -> None:
        """The host answers."""
        with self._lock:
            self._pause = 0.0

    def _failed(self, error: HostUnreachable) -> None:
        with self._lock:
            self._pause = min(self._pause * 2 or self._first, self._longest)
            self._closed_until = time.monotonic() + self._pause
            self._error = error
