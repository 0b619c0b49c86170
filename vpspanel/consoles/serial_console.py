"""A server's serial console: one holder at a time, who may be relieved by another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from hosts.virt.driver import SerialStream
from hosts.virt.errors import VirtError
from hosts.virt.registry import driver_for
from vpspanel.consoles.console import Console, State, state_for
from vpspanel.consoles.services import Place
from vpspanel.consoles.viewer import Viewer

log = structlog.get_logger(__name__)

CLOSE_WITHIN = 5.0
TYPED_LIMIT = 256 * 1024  # bytes kept for a guest that does not read


class SerialConsole(Console[SerialStream]):
    """See `Console`."""

    def __init__(
        self,
        viewer: Viewer,
        *,
        place: Callable[[], Awaitable[Place | None]],
        rivals: Callable[[], list[SerialConsole]],
        connected: Callable[[bool], None],
        name: str,
        types: bool,
    ):
        super().__init__(viewer, place=place, connected=connected, name=name, types=types)
        self._rivals = rivals
        self._force = False
        self._taken_by = ""
        self._typed = bytearray()
        self._has_typed = asyncio.Event()
        self._told_off = False

    def take(self) -> None:
        """Cut off whoever has the console, at the next try."""
        self._force = True
        self._taken_by = ""
        self._wake.set()

    async def _hear(self, message: bytes | dict[str, Any]) -> None:
        if isinstance(message, bytes):
            await self._type(message)
        elif message.get("type") == "take" and self._types:
            self.take()

    async def _type(self, data: bytes) -> None:
        if self._state is not State.CONNECTED or not data:
            return
        if self._types and len(self._typed) + len(data) <= TYPED_LIMIT:
            self._typed += data
            self._has_typed.set()
            self._told_off = False
        elif not self._told_off:
            self._told_off = True
            await self._viewer.tell(
                "notice",
                message="The server does not read what is typed; some of it was dropped."
                if self._types
                else "Your role in this project may watch, not type.",
            )

    async def _open(self) -> tuple[SerialStream | None, State]:
        place = await self._place()
        if place is None:
            return None, State.WAITING
        force, self._force = self._force, False
        rivals = self._rivals() if force else []
        for rival in rivals:  # before it happens, or they would ask for it again at once
            rival._taken_by = self.name
        try:
            stream = await open_stream(place, force=force)
        except VirtError as error:
            for rival in rivals:
                rival._taken_by = ""
            return None, state_for(error)
        self._connected(force)
        return stream, State.CONNECTED

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
            await asyncio.gather(*tasks, return_exceptions=True)
            await _close_stream(stream)

    async def _show(self, stream: SerialStream) -> None:
        while data := await stream.read():
            await self._viewer.send_bytes(data)

    async def _hand_over(self, stream: SerialStream) -> None:
        while True:
            await self._has_typed.wait()
            self._has_typed.clear()
            data = bytes(self._typed)
            self._typed.clear()
            await stream.write(data)

    def _lost(self) -> State:
        return State.TAKEN if self._taken_by else State.RECONNECTING

    async def _may_retry(self, state: State) -> bool:
        if state is not State.TAKEN:
            return True
        while not self._force:
            self._wake.clear()
            await self._wake.wait()
        await self._tell(State.CONNECTING)
        return False

    def _facts(self) -> dict[str, object]:
        if self._state is None:
            return {}
        return {"message": self._state.sentence.format(by=self._taken_by)}


async def open_stream(place: Place, *, force: bool) -> SerialStream:
    """The guest's serial port. Whoever stops waiting for it leaves no console open behind."""
    opening = asyncio.ensure_future(driver_for(place.uri).open_serial(place.uuid, force=force))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_late)
        raise


_closing: set[asyncio.Task[None]] = set()  # the loop alone would not keep them alive


def _close_late(opening: asyncio.Future[SerialStream]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        task = asyncio.ensure_future(_close_stream(opening.result()))
        _closing.add(task)
        task.add_done_callback(_closing.discard)


async def _close_stream(stream: SerialStream) -> None:
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await stream.close()
    except (TimeoutError, VirtError):
        log.warning("console_stream_not_closed", exc_info=True)
