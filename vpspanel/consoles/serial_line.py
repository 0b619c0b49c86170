"""A server's serial port in this process, and everybody who looks at it.

libvirt gives a serial port to one holder. Here that is the line itself: it
opens the stream once, shows what comes to all who watch, and takes what one of
them types, who holds the keyboard. Another may take it over; the one who held
it before goes on watching. The line ends when the last viewer leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

import structlog

from hosts.virt.driver import SerialStream
from hosts.virt.errors import VirtError
from hosts.virt.registry import driver_for
from vpspanel.consoles.feed import Feed, History
from vpspanel.consoles.reopening import Reopening, State, state_for
from vpspanel.consoles.services import Place
from vpspanel.consoles.taping import Taping
from vpspanel.events.actor import Actor

log = structlog.get_logger(__name__)

CLOSE_WITHIN = 5.0
ANOTHER_WINDOW = "you, in another window"
TYPED_LIMIT = 256 * 1024  # bytes kept for a guest that does not read


@dataclass(eq=False, slots=True)
class Seat:
    """One viewer's place at the line.

    `changed` is called when something is different for him, `notice` with what
    he should be told besides, `failed` when the line itself has broken.
    """

    actor: Actor
    owner: Hashable  # the sign-in: tabs of one browser need no question
    types: bool
    changed: Callable[[], None]
    notice: Callable[[str], None]
    failed: Callable[[], None]
    banner: str = ""  # what everybody reads while he is here; of staff only
    seen: bool = True  # whether he has what the line wrote last
    watches: bool = False  # without the keyboard he sees the line all the same
    taken_by: str = ""  # who took the keyboard away
    took: bool = False  # he has just taken it from somebody

    @property
    def name(self) -> str:
        """What others call him."""
        return self.actor.name


class SerialLine(Reopening[SerialStream]):
    """See above."""

    def __init__(self, place: Callable[[], Awaitable[Place | None]], taping: Taping) -> None:
        super().__init__()
        self.taping = taping
        self.state: State | None = None
        self.holder: Seat | None = None
        self._place = place
        self._feeds: dict[Seat, Feed] = {}
        self._history = History()
        self._drained = asyncio.Event()
        self._force = False
        self._typed = bytearray()
        self._has_typed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    # --- who looks -------------------------------------------------------------------

    @property
    def seats(self) -> list[Seat]:
        """Everybody, in the order in which they came."""
        return list(self._feeds)

    @property
    def staff(self) -> list[Seat]:
        """Those who look because they are staff: never unseen, never unrecorded."""
        return [seat for seat in self._feeds if seat.banner]

    def join(self, seat: Seat) -> Feed:
        """Take the seat."""
        feed = self._feeds[seat] = Feed(self._drained.set)
        seat.watches = not seat.types
        if self.holder is not None and self.holder.owner == seat.owner:
            self.take(seat)
        self._find_holder()
        self._tape_staff()
        if self._task is None:
            self._task = asyncio.create_task(self._run(self._ending), name="serial line")
            self._task.add_done_callback(self._look_why)
        self._tell_all()
        return feed

    async def leave(self, seat: Seat) -> None:
        """Give it up; returns when the port is free if it was the last."""
        del self._feeds[seat]
        if self.holder is seat:
            self.holder = None
            self._find_holder(f"{seat.name} left. You can type now.")
        self._drained.set()
        if not self._feeds:
            self.taping.stop("Everybody had left.")
        elif self.taping.by_staff and not self.staff:
            self.taping.stop("Staff had left.")
        self._tell_all()
        if not self._feeds and self._task is not None:
            self._ending, self._task, self.state = self._task, None, None
            self._ending.cancel()
            await asyncio.gather(self._ending, return_exceptions=True)

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        """As long as somebody looks; not before the port is free that others have just left."""
        if before is not None:
            await asyncio.gather(before, return_exceptions=True)
        await self.keep_open()

    def _look_why(self, task: asyncio.Task[None]) -> None:
        """It ends by being cancelled only: else whoever looks would wait for ever."""
        if task.cancelled() or task.exception() is None:
            return
        log.error("serial_line_failed", exc_info=task.exception())
        self._task = self.state = None
        for seat in self.seats:
            seat.failed()

    def take(self, seat: Seat) -> None:
        """The keyboard is his from now on, if he may type."""
        if not seat.types:
            return
        if self.state is State.ELSEWHERE:
            self._force = seat.took = True
            self.nudge()
        before, self.holder = self.holder, seat
        if before is not None and before is not seat:
            before.watches = True
            before.taken_by = ANOTHER_WINDOW if before.owner == seat.owner else seat.name
            seat.took = True
        seat.watches, seat.taken_by = True, ""
        self._tell_all()

    def watch(self, seat: Seat) -> None:
        """He has decided to watch."""
        seat.watches, seat.taken_by = True, ""
        self._tell_all()

    def allow(self, seat: Seat, types: bool) -> None:
        """Whether he may type from now on."""
        seat.types = types
        if not types:
            seat.watches = True
            if self.holder is seat:
                self.holder = None
        self._find_holder()
        self._tell_all()

    def _find_holder(self, notice: str = "") -> None:
        """A line that somebody could use is not left without."""
        if self.holder is not None:
            return
        self.holder = next((seat for seat in self._feeds if seat.types), None)
        if self.holder is not None:
            self.holder.watches, self.holder.taken_by = True, ""
            if notice:
                self.holder.notice(notice)

    def _sees(self, seat: Seat) -> bool:
        return seat.watches or self.holder in (None, seat)

    def _tell_all(self) -> None:
        """Whoever sees the line from now on gets what it wrote last."""
        for seat, feed in self._feeds.items():
            sees = self._sees(seat)
            if sees and not seat.seen and (past := self._history.recall()):
                feed.put(past)
            seat.seen = sees
            seat.changed()

    # --- recording -------------------------------------------------------------------

    def record(self, seat: Seat, on: bool) -> None:
        """Begin or end a recording, if he may type."""
        if not seat.types:
            return
        if on:
            if not self.taping.start(seat.actor):
                seat.notice("It is recorded already, or was a moment ago. Please wait a little.")
        elif self.staff:
            seat.notice("Staff are watching: it is recorded until they leave.")
        else:
            self.taping.stop(f"{seat.name} ended it.")
        self._tell_all()

    def _tape_staff(self) -> None:
        """Nothing that staff see goes unrecorded, also when a recording has become too long."""
        if not self.taping.by and self.staff:
            self.taping.start(self.staff[0].actor, by_staff=True)
            self._tell_all()

    def resize(self, seat: Seat, columns: int, rows: int) -> None:
        """The window of who types has this size."""
        if self.holder is seat:
            self.taping.resize((columns, rows))

    # --- typing ----------------------------------------------------------------------

    def type(self, data: bytes) -> bool:
        """Hand it to the guest; False if the guest does not read what is typed."""
        if len(self._typed) + len(data) > TYPED_LIMIT:
            return False
        self._typed += data
        self._has_typed.set()
        return True

    # --- the guest's end -----------------------------------------------------------------

    async def _tell(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._tell_all()

    async def _open(self) -> tuple[SerialStream | None, State]:
        place = await self._place()
        if place is None:
            return None, State.WAITING
        force, self._force = self._force, False
        try:
            return await open_stream(place, force=force), State.CONNECTED
        except VirtError as error:
            return None, state_for(error)

    async def _pump(self, stream: SerialStream) -> None:
        self._typed.clear()
        tasks = {
            asyncio.create_task(self._show(stream)),
            asyncio.create_task(self._hand_over(stream)),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except VirtError:
            log.info("console_stream_failed", exc_info=True)
        finally:
            for task in tasks:
                task.cancel()
            # In a task of its own: whatever interrupts this one, the port becomes free.
            closing = _begin_to_close(stream)
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.shield(closing)

    async def _show(self, stream: SerialStream) -> None:
        while data := await stream.read():
            self._history.add(data)
            self.taping.output(data)
            self._tape_staff()
            for seat, feed in self._feeds.items():
                if self._sees(seat):
                    feed.put(data)
            await self._room()

    async def _room(self) -> None:
        """Until the quickest of those who see it has room: who is slower loses bytes, no time."""
        while True:
            seen = [feed for seat, feed in self._feeds.items() if self._sees(seat)]
            if not seen or not all(feed.is_full for feed in seen):
                return
            self._drained.clear()
            await self._drained.wait()

    async def _hand_over(self, stream: SerialStream) -> None:
        while True:
            await self._has_typed.wait()
            self._has_typed.clear()
            data = bytes(self._typed)
            self._typed.clear()
            await stream.write(data)


async def open_stream(place: Place, *, force: bool) -> SerialStream:
    """The guest's serial port. Whoever stops waiting for it leaves no console open behind."""
    opening = asyncio.ensure_future(driver_for(place.uri).open_serial(place.uuid, force=force))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_late)
        raise


_closing: set[asyncio.Future[None]] = set()  # the loop alone would not keep them alive


def _close_late(opening: asyncio.Future[SerialStream]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _begin_to_close(opening.result())


def _begin_to_close(stream: SerialStream) -> asyncio.Future[None]:
    task = asyncio.ensure_future(_close_stream(stream))
    _closing.add(task)
    task.add_done_callback(_closing.discard)
    return task


async def _close_stream(stream: SerialStream) -> None:
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await stream.close()
    except Exception:
        log.warning("console_stream_not_closed", exc_info=True)
