"""All open consoles of this process: how many there may be, and who looks at what."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

from vpspanel.consoles.console import Console
from vpspanel.consoles.models import Kind
from vpspanel.consoles.viewer import Ended
from vpspanel.events.guard import Owner
from vpspanel.events.threads import DatabaseThreads

PER_USER = 20  # open consoles and handshakes in this process
PER_SERVER = 8  # of each kind

Place = tuple[int, Kind]  # server, kind


class Room:
    """The consoles of one event loop."""

    def __init__(self) -> None:
        self.threads = DatabaseThreads("consoles", 2)
        self.writer = DatabaseThreads("console-events")
        self.hosts = ThreadPoolExecutor(4, "console-hosts")  # calls that end by themselves
        self._consoles: dict[Place, dict[Console[Any], Owner]] = {}
        self._users: Counter[Hashable] = Counter()
        self._servers: Counter[Hashable] = Counter()

    @contextlib.contextmanager
    def seat(self, user_id: int, place: Place) -> Iterator[None]:
        """A place for one more. Raises `Ended` when there is none."""
        if self._users[user_id] >= PER_USER:
            raise Ended(4429, f"You have {PER_USER} consoles open. Close one first.")
        if self._servers[place] >= PER_SERVER:
            raise Ended(4429, "Too many people have this console open.")
        self._users[user_id] += 1
        self._servers[place] += 1
        try:
            yield
        finally:
            _count_down(self._users, user_id)
            _count_down(self._servers, place)

    @contextlib.contextmanager
    def present(self, place: Place, console: Console[Any], owner: Owner) -> Iterator[None]:
        """Others find the console as long as the block lasts."""
        self._consoles.setdefault(place, {})[console] = owner
        self._introduce(place)
        try:
            yield
        finally:
            del self._consoles[place][console]
            if not self._consoles[place]:
                del self._consoles[place]
            self._introduce(place)

    def rivals(self, place: Place, console: Console[Any] | None) -> list[Any]:
        """Other consoles of the same kind and server."""
        return [other for other in self._consoles.get(place, {}) if other is not console]

    def is_mine(self, place: Place, owner: Owner) -> bool:
        """Whether the same sign-in holds this console already, in another tab."""
        consoles = self._consoles.get(place, {})
        return any(console.holds and other == owner for console, other in consoles.items())

    def _introduce(self, place: Place) -> None:
        consoles = list(self._consoles.get(place, {}))
        for console in consoles:
            console.meet([other.name for other in consoles if other is not console])


def _count_down(counter: Counter[Hashable], key: Hashable) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, Room] = WeakKeyDictionary()


def room() -> Room:
    """The one of this process."""
    return _rooms.setdefault(asyncio.get_running_loop(), Room())
