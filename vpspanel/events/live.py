"""New events, as they are committed: one reader per process for all who listen.

The reader sleeps until the bell "live" rings, or one second; it reads in a
thread of its own, so that a slow request never delays it. With nobody
listening it does not run at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import structlog
from django.db import DatabaseError
from django.db.models import Max, Q

from vpspanel.events.bell import Bell
from vpspanel.events.models import Event
from vpspanel.events.threads import DatabaseThreads

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0  # seconds: other machines cannot ring our bell
LATE_COMMIT = 30.0  # seconds a number may be missing before it is taken as rolled back
MISSING_LIMIT = 1000
BATCH = 500


@dataclass(frozen=True, slots=True)
class Happened:
    """What of an event says whom it concerns."""

    id: int
    kind: str
    resource_type: str
    resource_id: int
    project_id: int | None


Listener = Callable[[Sequence[Happened]], None]


class EventReader:
    """Finds each event once, also one that is committed after later-numbered ones.

    PostgreSQL numbers rows when they are inserted, so numbers appear out of
    order; those that were skipped are looked for again for `LATE_COMMIT` s.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._missing: dict[int, float] = {}

    def read(self) -> list[Happened]:
        """What was committed since the last call; the first call only sets the mark."""
        if self._last is None:
            self._last = self._begin()
            return []
        return self._new(self._last)

    def _begin(self) -> int:
        """The last number so far; those before it that are not there yet may still come."""
        last: int = Event.objects.aggregate(last=Max("id"))["last"] or 0
        first = max(1, last - MISSING_LIMIT)
        there = set(Event.objects.filter(id__range=(first, last)).values_list("id", flat=True))
        end = time.monotonic() + LATE_COMMIT
        self._missing = dict.fromkeys(sorted(set(range(first, last)) - there), end)
        return last

    def _new(self, last: int) -> list[Happened]:
        rows = Event.objects.filter(Q(id__gt=last) | Q(id__in=list(self._missing)))
        names = ("id", "kind", "resource_type", "resource_id", "project_id")
        found = [Happened(*row) for row in rows.order_by("id").values_list(*names)[:BATCH]]
        now = time.monotonic()
        for event in found:
            self._missing.pop(event.id, None)
            if event.id > last:
                for number in range(max(last + 1, event.id - MISSING_LIMIT), event.id):
                    self._missing[number] = now + LATE_COMMIT
                last = event.id
        self._last = last
        self._missing = {number: end for number, end in self._missing.items() if end > now}
        while len(self._missing) > MISSING_LIMIT:
            del self._missing[next(iter(self._missing))]
        return found


class Tail:
    """Calls every listener, in the event loop, with what has just happened."""

    def __init__(self) -> None:
        self._listeners: dict[object, Listener] = {}
        self._wake = asyncio.Event()
        self._marked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reader = EventReader()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` from now on; returns what ends that."""
        key = object()
        self._listeners[key] = listener
        if self._task is None or self._task.done():
            self._reader = EventReader()
            self._marked.clear()
            self._task = asyncio.create_task(self._run(), name="events tail")

        def stop() -> None:
            self._listeners.pop(key, None)
            if not self._listeners:
                self._wake.set()

        return stop

    async def marked(self) -> None:
        """Wait until no event that is committed from now on can be missed."""
        await self._marked.wait()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        with (
            DatabaseThreads("events-tail") as threads,
            contextlib.closing(Bell("live")) as bell,
        ):
            loop.add_reader(bell.fileno(), self._wake.set)
            try:
                while self._listeners:
                    bell.drain()
                    self._wake.clear()
                    try:
                        events = await threads.run(self._reader.read)
                        self._marked.set()
                    except DatabaseError:
                        log.exception("events_unreadable")
                        events = []
                    self._tell(events)
                    if len(events) < BATCH:
                        await self._sleep()
            finally:
                loop.remove_reader(bell.fileno())

    async def _sleep(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._wake.wait()

    def _tell(self, events: Sequence[Happened]) -> None:
        if not events:
            return
        for listener in list(self._listeners.values()):
            try:
                listener(events)
            except Exception:
                log.exception("event_listener_failed")


_tails: WeakKeyDictionary[asyncio.AbstractEventLoop, Tail] = WeakKeyDictionary()


def tail() -> Tail:
    """The tail of this process."""
    loop = asyncio.get_running_loop()
    if loop not in _tails:
        _tails[loop] = Tail()
    return _tails[loop]
