"""One open console, from its ticket to its end: the browser's end and the guest's end.

The socket outlives the guest's stream: when the guest stops, its host goes
away or somebody takes the console over, the page is told, and the stream is
opened again as soon as it can be. No ORM on the way of the bytes. What a
serial console and a screen have in common is here; the rest is in
serial_console.py and screen.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

import structlog
from django.conf import settings

from hosts.virt.errors import ConsoleBusy, InvalidState, NotFound, VirtError
from vpspanel.consoles.flag import Flag
from vpspanel.consoles.services import Place
from vpspanel.consoles.viewer import Ended, Viewer

log = structlog.get_logger(__name__)

PAUSES = (0.3, 0.6, 1.2, 2.0)  # seconds before each try to open it again; then the last
LASTED = 5.0  # seconds after which a connection counts as a good one
NUDGE_PAUSE = 0.2

Line = TypeVar("Line")  # the guest's end


class State(enum.Enum):
    """What the page shows beside the bytes."""

    CONNECTING = ("connecting", "Connecting to the server …")
    CONNECTED = ("connected", "Connected.")
    STOPPED = ("stopped", "The server is off. Its console opens again when it starts.")
    WAITING = ("stopped", "The server is not there yet. Its console opens when it starts.")
    RECONNECTING = ("reconnecting", "The connection to the server was interrupted. Reconnecting …")
    UNREACHABLE = ("unreachable", "The host does not answer at the moment. Trying again …")
    BUSY = ("busy", "Somebody else has this console open.")
    TAKEN = ("taken", "The console was taken over by {by}.")

    def __init__(self, word: str, sentence: str):
        self.word = word
        self.sentence = sentence


class Console(Generic[Line]):
    """What one viewer sees of one server."""

    def __init__(
        self,
        viewer: Viewer,
        *,
        place: Callable[[], Awaitable[Place | None]],
        connected: Callable[[bool], None],
        name: str,
        types: bool,
    ):
        self.name = name  # of the person: others are told it
        self._viewer = viewer
        self._place = place
        self._connected = connected
        self._types = types
        self._end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._wake = Flag()
        self._news = Flag()
        self._state: State | None = None

    # --- what differs ----------------------------------------------------------------

    async def _hear(self, message: bytes | dict[str, Any]) -> None:
        """Something came from the page."""
        raise NotImplementedError

    async def _open(self) -> tuple[Line | None, State]:
        """The guest's end, or the state that says why there is none."""
        raise NotImplementedError

    async def _pump(self, line: Line) -> None:
        """Carry bytes both ways until the guest's end is closed."""
        raise NotImplementedError

    def _lost(self) -> State:
        """What it is once the guest's end was closed."""
        return State.RECONNECTING

    async def _may_retry(self, state: State) -> bool:
        """Whether to pause and try again in this state, or to do so at once."""
        return True

    def _facts(self) -> dict[str, object]:
        """What the page is told beside the state."""
        return {}

    # --- what others tell it -------------------------------------------------------

    def end(self, code: int, reason: str) -> None:
        """Close it now."""
        if not self._end.done():
            self._end.set_result(Ended(code, reason))

    def allow(self, types: bool) -> None:
        """Whether its viewer may type from now on."""
        if types != self._types:
            self._types = types
            self._news.set()

    def meet(self, names: Sequence[str]) -> None:
        """Who else has this console open now."""

    @property
    def holds(self) -> bool:
        """Whether it has the guest's end now."""
        return self._state is State.CONNECTED

    def nudge(self) -> None:
        """Something happened to the server: try now what would be tried later."""
        self._wake.set()

    # --- its life --------------------------------------------------------------------

    async def run(self) -> Ended:
        """Serve until one side ends it; says why."""
        tasks = [asyncio.create_task(part) for part in self._parts()]
        waited: list[asyncio.Future[Any]] = [self._end, *tasks]
        try:
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return _why(done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _parts(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on side by side; it ends with the first that ends."""
        parts = [self._listen(), self._serve(), self._tell_news()]
        if settings.CONSOLE_IDLE_SECONDS:
            parts.append(self._viewer.until_idle(settings.CONSOLE_IDLE_SECONDS))
        return parts

    async def _listen(self) -> None:
        while True:
            await self._hear(await self._viewer.receive())

    async def _serve(self) -> None:
        tries = 0
        await self._tell(State.CONNECTING)
        while True:
            line, state = await self._open()
            if line is not None:
                started = asyncio.get_running_loop().time()
                await self._tell(State.CONNECTED)
                await self._pump(line)
                if asyncio.get_running_loop().time() - started > LASTED:
                    tries = 0
                state = self._lost()
            await self._tell(state)
            if await self._may_retry(state):
                await self._pause(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until something happens to the server; never less than a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
                self._wake.clear()
                await asyncio.sleep(NUDGE_PAUSE)

    async def _tell_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._state is not None:
                await self._say(self._state)

    async def _tell(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            await self._say(state)

    async def _say(self, state: State) -> None:
        facts = {"state": state.word, "message": state.sentence, "types": self._types}
        await self._viewer.tell("state", **(facts | self._facts()))


def state_for(error: VirtError) -> State:
    """What the page shows when the host refused to open the console."""
    if isinstance(error, ConsoleBusy):
        return State.BUSY
    if isinstance(error, InvalidState | NotFound):
        return State.STOPPED
    log.info("console_not_opened", code=error.code, detail=str(error))
    return State.UNREACHABLE


def _why(done: set[asyncio.Future[Any]]) -> Ended:
    for future in done:
        error = future.exception()
        if isinstance(error, Ended):
            return error
        if error is not None:
            log.error("console_failed", exc_info=error)
            return Ended(1011, "Something went wrong here.")
        result = future.result()
        if isinstance(result, Ended):
            return result
    return Ended(1011, "Something went wrong here.")
