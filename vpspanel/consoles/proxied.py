"""A screen that `consoleproxy` carries: the panel opens it, hands it over, and watches the right.

Runs in the door (door.py). Close codes beside those of the other consoles:
4405 the server is off, 4412 the right to type has changed, 4503 the host does
not answer; the page then asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from hosts.virt.errors import VirtError
from hosts.virt.handover import screen_socket
from hosts.virt.registry import driver_for
from vpspanel.consoles.console import Console
from vpspanel.consoles.door import Caller
from vpspanel.consoles.models import Kind
from vpspanel.consoles.reopening import State, state_for
from vpspanel.consoles.services import How, Place
from vpspanel.consoles.viewer import Ended, Hello, Viewer
from vpspanel.consoles.visit import Visit, serve
from vpspanel.events.origin import Receive, Scope, Send

OFF, CHANGED, UNREACHABLE = 4405, 4412, 4503


async def proxied_screen(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint; its server is a `Caller`."""
    caller: Caller = scope["caller"]

    def make(visit: Visit, types: bool, hello: Hello) -> ProxiedScreen:
        return ProxiedScreen(
            visit.viewer,
            place=visit.place,
            connected=visit.note_connected,
            name=visit.name,
            types=types,
            caller=caller,
        )

    await serve(scope, receive, send, Kind.VNC, make)


class ProxiedScreen(Console):
    """See `Console`; no byte of it comes by here."""

    def __init__(
        self,
        viewer: Viewer,
        *,
        place: Callable[[], Awaitable[Place | None]],
        connected: Callable[[How], None],
        name: str,
        types: bool,
        caller: Caller,
    ):
        super().__init__(viewer, connected=connected, name=name, types=types)
        self._place = place
        self._caller = caller

    def allow(self, types: bool) -> None:
        """A change ends it: QEMU lets go of the keys, and the page comes back as what it is."""
        if types != self._types:
            self.end(CHANGED, "Your role in this project has changed.")

    def nudge(self) -> None:
        """Nothing to do: the page asks again when the screen has ended."""

    def _parts(self) -> list[Coroutine[Any, Any, None]]:
        return [self._listen(), self._serve()]

    async def _serve(self) -> None:
        place = await self._place()
        if place is None:
            raise Ended(OFF, State.WAITING.sentence)
        try:
            screen = await screen_socket(driver_for(place.uri), place.uuid)
        except VirtError as error:
            state = state_for(error)
            code = OFF if state is State.STOPPED else UNREACHABLE
            raise Ended(code, state.sentence) from None
        with screen:
            self._caller.hand_over(screen, types=self._types)
        self._connected(How.OPENED)
        await asyncio.Event().wait()
