"""All open consoles of this process: how many there may be, and who looks at what."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError

from vpspanel.consoles.console import Console
from vpspanel.consoles.models import Kind
from vpspanel.consoles.recordings import keep_recording, record_began
from vpspanel.consoles.serial_line import SerialLine
from vpspanel.consoles.services import Place, find_place
from vpspanel.consoles.taping import Taping
from vpspanel.consoles.viewer import Ended
from vpspanel.events.threads import DatabaseThreads

log = structlog.get_logger(__name__)

Key = tuple[int, Kind]  # server, kind


class Room:
    """The consoles of one event loop."""

    def __init__(self) -> None:
        self.threads = DatabaseThreads("consoles", 2)
        self.writer = DatabaseThreads("console-events")
        self.hosts = ThreadPoolExecutor(4, "console-hosts")  # calls that end by themselves
        self._consoles: dict[Key, list[Console]] = {}
        self._lines: WeakValueDictionary[int, SerialLine] = WeakValueDictionary()
        self._notes: set[asyncio.Task[None]] = set()
        self._users: Counter[Hashable] = Counter()
        self._servers: Counter[Hashable] = Counter()

    @contextlib.contextmanager
    def seat(self, user_id: int, key: Key) -> Iterator[None]:
        """A place for one more, from its handshake on. Raises `Ended` when there is none."""
        if self._users[user_id] >= settings.CONSOLES_PER_USER:
            most = settings.CONSOLES_PER_USER
            raise Ended(4429, f"You have {most} consoles open. Close one first.")
        if self._servers[key] >= settings.CONSOLES_PER_SERVER:
            raise Ended(4429, "Too many people have this console open.")
        self._users[user_id] += 1
        self._servers[key] += 1
        try:
            yield
        finally:
            _count_down(self._users, user_id)
            _count_down(self._servers, key)

    @contextlib.contextmanager
    def present(self, key: Key, console: Console) -> Iterator[None]:
        """Others find the console as long as the block lasts."""
        self._consoles.setdefault(key, []).append(console)
        self._introduce(key)
        try:
            yield
        finally:
            self._consoles[key].remove(console)
            self._introduce(key)
            if not self._consoles[key]:
                del self._consoles[key]

    def line(self, server_id: int) -> SerialLine:
        """The server's serial port, the same for everybody who holds on to it."""
        line = self._lines.get(server_id)
        if line is None:
            taping = Taping(
                lambda actor: self._note(record_began, actor, server_id),
                lambda tape: self._note(keep_recording, server_id, tape),
            )
            line = SerialLine(partial(self.place, server_id), taping)
            self._lines[server_id] = line
        return line

    def _note(self, record: Callable[..., object], *args: object) -> None:
        """Write it down beside the bytes."""
        task = asyncio.create_task(self._record(record, *args))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _record(self, record: Callable[..., object], *args: object) -> None:
        try:
            await self.writer.run(record, *args)
        except (DatabaseError, ObjectDoesNotExist):
            log.exception("console_not_recorded", record=record.__name__)

    async def place(self, server_id: int) -> Place | None:
        """Where the server is now."""
        return await self.threads.run(find_place, server_id)

    def _introduce(self, key: Key) -> None:
        consoles = self._consoles[key]
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
