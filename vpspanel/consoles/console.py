"""One open console of one viewer, from its ticket to its end.

What a serial console and a screen have in common is here; the rest is in
serial_console.py and screen.py. No ORM on the way of the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from django.conf import settings

from vpspanel.consoles.reopening import State
from vpspanel.consoles.services import How
from vpspanel.consoles.viewer import Ended, Viewer

log = structlog.get_logger(__name__)


class Console:
    """What one viewer sees of one server."""

    def __init__(self, viewer: Viewer, *, connected: Callable[[How], None], name: str, types: bool):
        self.name = name  # of the person: others are told it
        self._viewer = viewer
        self._connected = connected
        self._types = types
        self._end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()
        self._told: dict[str, object] = {}
        self._notices: list[str] = []

    # --- what differs ----------------------------------------------------------------

    async def _hear(self, message: bytes | dict[str, Any]) -> None:
        """Something came from the page."""
        raise NotImplementedError

    async def _serve(self) -> None:
        """Show what the guest writes, for as long as it is not cancelled."""
        raise NotImplementedError

    def _shown(self) -> State | None:
        """How it is for this viewer; None before anything is known."""
        raise NotImplementedError

    def _facts(self) -> dict[str, object]:
        """What the page is told beside the state."""
        return {}

    def nudge(self) -> None:
        """Something happened to the server: try now what would be tried later."""
        raise NotImplementedError

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

    def notice(self, sentence: str) -> None:
        """Say this beside the bytes."""
        self._notices.append(sentence)
        self._news.set()

    def meet(self, names: Sequence[str]) -> None:
        """Who else has this console open now."""

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

    async def _tell_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._say()

    async def _say(self) -> None:
        """Tell the page how it is, if that is news to it."""
        while self._notices:
            await self._viewer.tell("notice", message=self._notices.pop(0))
        state = self._shown()
        if state is None:
            return
        facts = {"state": state.word, "message": state.sentence, "types": self._types}
        facts |= self._facts()
        if facts != self._told:
            self._told = facts
            await self._viewer.tell("state", **facts)


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
