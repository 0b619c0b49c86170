"""One viewer of a server's serial console: at the keyboard, or watching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

from vpspanel.consoles.console import Console
from vpspanel.consoles.feed import Past
from vpspanel.consoles.reopening import State
from vpspanel.consoles.serial_line import Seat, SerialLine
from vpspanel.consoles.services import How
from vpspanel.consoles.viewer import Viewer
from vpspanel.events.actor import Actor
from vpspanel.events.guard import Owner

LARGEST = 1000  # columns or rows


def _is_size(number: object) -> TypeGuard[int]:
    return isinstance(number, int) and 0 < number <= LARGEST


class SerialConsole(Console):
    """See `Console`. `again`: the page has shown it before and needs no repetition."""

    def __init__(
        self,
        viewer: Viewer,
        *,
        line: SerialLine,
        connected: Callable[[How], None],
        actor: Actor,
        owner: Owner,
        types: bool,
        again: bool,
        banner: str = "",
        is_guest: bool = False,
    ):
        super().__init__(viewer, connected=connected, name=actor.name, types=types)
        self._line = line
        self._seat = Seat(
            actor, owner, types, self._news.set, self.notice, self._fail, banner, seen=again
        )
        self._is_guest = is_guest
        self._told_off = False

    def _fail(self) -> None:
        self.end(1011, "Something went wrong here.")

    def allow(self, types: bool) -> None:
        if types != self._types:
            self._types = types
            self._line.allow(self._seat, types)

    def nudge(self) -> None:
        self._line.nudge()

    async def _serve(self) -> None:
        feed = self._line.join(self._seat)
        try:
            while True:
                data = await feed.read()
                if isinstance(data, Past):
                    await self._viewer.tell("past", bytes=len(data))
                await self._viewer.send_bytes(data)
        finally:
            await self._line.leave(self._seat)

    # --- from the page -----------------------------------------------------------------

    async def _hear(self, message: bytes | dict[str, Any]) -> None:
        if isinstance(message, bytes):
            await self._type(message)
        elif message.get("type") == "take":
            self._line.take(self._seat)
        elif message.get("type") == "watch":
            self._line.watch(self._seat)
        elif message.get("type") == "record" and not self._is_guest:
            self._line.record(self._seat, message.get("on") is True)
        elif message.get("type") == "size":
            columns, rows = message.get("columns"), message.get("rows")
            if _is_size(columns) and _is_size(rows):
                self._line.resize(self._seat, columns, rows)

    async def _type(self, data: bytes) -> None:
        if self._line.state is not State.CONNECTED or not data:
            return
        if self._line.holder is self._seat and self._line.type(data):
            self._told_off = False
        elif not self._told_off:
            self._told_off = True
            await self._viewer.tell("notice", message=self._why_not())

    def _why_not(self) -> str:
        if not self._types:
            return "Your role in this project may watch, not type."
        if self._line.holder is not self._seat:
            return "You are watching. Take the console over to type."
        return "The server does not read what is typed; some of it was dropped."

    # --- to the page ---------------------------------------------------------------------

    def _shown(self) -> State | None:
        line, seat = self._line, self._seat
        if line.state is not State.CONNECTED:
            return line.state
        if line.holder in (None, seat):
            return State.CONNECTED
        if seat.taken_by:
            return State.TAKEN
        return State.WATCHING if seat.watches else State.BUSY

    def _facts(self) -> dict[str, object]:
        state, holder = self._shown(), self._line.holder
        if state is None:
            return {}
        others = [
            {"name": seat.name, "types": seat is holder}
            for seat in self._line.seats
            if seat is not self._seat and not seat.banner and (seat.watches or seat is holder)
        ]
        by = self._seat.taken_by or (holder.name if holder is not None else "")
        if self._is_guest:  # who works there is nobody's business
            return {"message": state.sentence.format(by="somebody")}
        return {
            "message": state.sentence.format(by=by),
            "others": others,
            "recording": self._line.taping.by,
            "banner": " ".join(sorted({other.banner for other in self._line.staff})),
        }

    async def _say(self) -> None:
        state, seat = self._shown(), self._seat
        if state in (State.CONNECTED, State.WATCHING):
            arrived = How.WATCHES if self._line.holder not in (None, seat) else How.OPENED
            self._connected(How.TOOK_OVER if seat.took else arrived)
            seat.took = False
        await super()._say()
