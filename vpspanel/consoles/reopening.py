"""Keeping a guest's end of a console open.

When the guest stops, its host goes away or somebody takes the console over,
whoever looks is told, and the guest's end is opened again as soon as it can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from typing import Generic, TypeVar

import structlog

from hosts.virt.errors import ConsoleBusy, InvalidState, NotFound, VirtError

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
    ELSEWHERE = ("busy", "Somebody else has this console open elsewhere.")
    BUSY = ("busy", "{by} has this console open. Watch, or take it over?")
    WATCHING = ("watching", "You are watching; {by} types.")
    TAKEN = ("taken", "The console was taken over by {by}. You see what happens there.")

    def __init__(self, word: str, sentence: str):
        self.word = word
        self.sentence = sentence


class Reopening(Generic[Line]):
    """Opens it, carries its bytes until it is closed, and begins again."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()

    # --- what differs ----------------------------------------------------------------

    async def _open(self) -> tuple[Line | None, State]:
        """The guest's end, or the state that says why there is none."""
        raise NotImplementedError

    async def _pump(self, line: Line) -> None:
        """Carry bytes both ways until the guest's end is closed."""
        raise NotImplementedError

    async def _tell(self, state: State) -> None:
        """It is so from now on."""
        raise NotImplementedError

    # --- the same for all ----------------------------------------------------------------

    def nudge(self) -> None:
        """Something happened to the server: try now what would be tried later."""
        self._wake.set()

    async def keep_open(self) -> None:
        """For as long as it is not cancelled."""
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
                state = State.RECONNECTING
            await self._tell(state)
            await self._pause(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until something happens to the server; never less than a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
                self._wake.clear()
                await asyncio.sleep(NUDGE_PAUSE)


def state_for(error: VirtError) -> State:
    """What the page shows when the host refused to open the console."""
    if isinstance(error, ConsoleBusy):
        return State.ELSEWHERE
    if isinstance(error, InvalidState | NotFound):
        return State.STOPPED
    log.info("console_not_opened", code=error.code, detail=str(error))
    return State.UNREACHABLE
