"""`/ws/console/direct/?token=…`: a server's screen for programs, as bare RFB.

Any VNC client over websockets can use it, such as noVNC on a reseller's own
page. The ticket in the address is all that opens it, once, within a minute:
there is no cookie, so the origin does not matter. It carries nothing but RFB.
Close codes: 4405 the server is off, 4503 its host does not answer, 4403 the
token may no longer, 1000 the screen has ended (ask for a new address).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.urls import get_script_prefix

from hosts.virt.errors import VirtError
from hosts.virt.registry import driver_for
from vpspanel.consoles.console import Console
from vpspanel.consoles.models import Kind, Way
from vpspanel.consoles.reopening import State, state_for
from vpspanel.consoles.rfb import ClientFilter, NotRfb
from vpspanel.consoles.rights import program_id
from vpspanel.consoles.room import room
from vpspanel.consoles.screen import Line
from vpspanel.consoles.services import How, Program, redeem_program_ticket
from vpspanel.consoles.viewer import Ended, Viewer
from vpspanel.consoles.visit import Visit
from vpspanel.events.actor import Actor
from vpspanel.events.guard import Owner
from vpspanel.events.origin import Receive, Scope, Send, refuse

DIRECT_PATH = "/ws/console/direct/"
OFF, UNREACHABLE, ENDED = 4405, 4503, 1000
PROTOCOL = "binary"  # what older noVNC asks for


def direct_address(secret: str, absolute: Callable[[str], str]) -> str:
    """The whole address for this ticket; `absolute` makes one of a path of this site."""
    consoles = settings.CONSOLE_URL or f"{get_script_prefix()}ws/console/"
    address = urlsplit(absolute(f"{consoles}direct/?token={secret}"))
    secure = address.scheme in ("https", "wss")
    return address._replace(scheme="wss" if secure else "ws").geturl()


async def program_screen(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint."""
    secret = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
    program = await room().threads.run(redeem_program_ticket, secret) if secret else None
    if program is None:
        await refuse(scope, receive, send)
        return
    await receive()
    wanted = PROTOCOL if PROTOCOL in scope.get("subprotocols", ()) else None
    await send({"type": "websocket.accept", "subprotocol": wanted})
    viewer = Viewer(receive, send)
    try:
        await _show(_visit(scope, program, viewer), program)
    except Ended as end:
        await viewer.close(end)


def _visit(scope: Scope, program: Program, viewer: Viewer) -> Visit:
    client = scope.get("client")
    actor = Actor(None, "api", client[0] if client else None, program.token)
    owner = Owner(program_id(program.token.pk), "", "")
    visit = Visit(program.server_id, actor, owner, viewer, Kind.VNC)
    visit.way, visit.types = Way.TOKEN, program.types
    return visit


async def _show(visit: Visit, program: Program) -> None:
    with visit.room.seat(visit.owner.user_id, visit.key):
        await visit.show(BareScreen(visit))


class BareScreen(Console):
    """See `Console`; its viewer is told nothing beside the bytes."""

    def __init__(self, visit: Visit) -> None:
        super().__init__(
            visit.viewer, connected=visit.note_connected, name=visit.name, types=visit.types
        )
        self._place = visit.place
        self._line = Line()
        self._filter = ClientFilter(types=visit.types)

    def allow(self, types: bool) -> None:
        if types != self._types:
            self.end(4403, "The right of the token has changed.")

    def nudge(self) -> None:
        """Nothing to do: it ends with the guest's end."""

    def _parts(self) -> list[Coroutine[Any, Any, None]]:
        parts = [self._listen(), self._serve()]
        if settings.CONSOLE_IDLE_SECONDS:
            parts.append(self._viewer.until_idle(settings.CONSOLE_IDLE_SECONDS))
        return parts

    async def _hear(self, message: bytes | dict[str, Any]) -> None:
        if not isinstance(message, bytes):
            raise Ended(1003, "Only RFB is spoken here.")
        try:
            wanted = self._filter.feed(message)
        except NotRfb as reason:
            raise Ended(4400, str(reason)) from None
        if wanted:
            await self._line.write(wanted)

    async def _serve(self) -> None:
        place = await self._place()
        if place is None:
            raise Ended(OFF, State.WAITING.sentence)
        try:
            await driver_for(place.uri).open_vnc(place.uuid, self._line)
            self._connected(How.OPENED)
            while data := await self._line.read():
                await self._viewer.send_bytes(data)
        except VirtError as error:
            state = state_for(error)
            code = OFF if state is State.STOPPED else UNREACHABLE
            raise Ended(code, state.sentence) from None
        finally:
            self._line.close()
        raise Ended(ENDED, "The screen has ended.")
