"""`/ws/console/serial/embed/`, `/ws/console/vnc/embed/`: consoles on pages of others.

They speak as `serial.py` and `vnc.py` say, but know no session: browsers keep
cookies from frames. The ticket in the first message says which server it is
and by which grant; the guard watches the grant and its token.
"""

from __future__ import annotations

from vpspanel.consoles.models import Grant, Kind, Way
from vpspanel.consoles.rights import grant_id
from vpspanel.consoles.room import room
from vpspanel.consoles.serial import make_serial
from vpspanel.consoles.services import redeem_grant_ticket
from vpspanel.consoles.viewer import Ended, Hello, Viewer
from vpspanel.consoles.visit import Maker, Visit
from vpspanel.consoles.vnc import make_screen
from vpspanel.events.actor import Actor
from vpspanel.events.guard import Owner
from vpspanel.events.origin import Receive, Scope, Send


async def embedded_serial(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint of a serial console."""
    await _enter(scope, receive, send, Kind.SERIAL, make_serial)


async def embedded_screen(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint of a screen."""
    await _enter(scope, receive, send, Kind.VNC, make_screen)


async def _enter(scope: Scope, receive: Receive, send: Send, kind: Kind, make: Maker) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    viewer = Viewer(receive, scope.get("direct_send", send))
    client = scope.get("client")
    scope["later"].append(lambda: _stay(viewer, client[0] if client else None, kind, make))


async def _stay(viewer: Viewer, address: str | None, kind: Kind, make: Maker) -> None:
    try:
        hello = await viewer.hello()
        found = await room().threads.run(redeem_grant_ticket, hello.ticket, kind)
        if found is None:
            raise Ended(4410, "This link to the console is not valid any more.")
        await _show(_visit(viewer, address, kind, *found), hello, make)
    except Ended as end:
        await viewer.close(end)


def _visit(viewer: Viewer, address: str | None, kind: Kind, grant: Grant, types: bool) -> Visit:
    actor = Actor(None, "api", address, grant.token)
    visit = Visit(grant.server_id, actor, Owner(grant_id(grant.pk), "", ""), viewer, kind)
    visit.way, visit.types = Way.GRANT, types
    return visit


async def _show(visit: Visit, hello: Hello, make: Maker) -> None:
    with visit.room.seat(visit.owner.user_id, visit.key):
        await visit.show(make(visit, hello))
