"""`/ws/console/serial/<server id>/`: the ASGI endpoint.

A plain callable, not a Channels consumer: a consumer hops through Django's one
shared thread for every message, which multiplies the time from key to echo
and lets one slow request hold up every console. It needs the origin check,
sessions and users around it.

The first message is `{"type": "hello", "ticket": "…", "acks": true}`, with
`"again": true` if the page has shown this console before; the ticket is never
in the address, which ends up in logs. After that binary frames are bytes. Text
frames are JSON: to the page `state` (`state`, `message`, `types`: whether the
viewer may type, `others`: who else is here, `recording`: by whom, `banner`),
`notice` (`message`) and `past` (`bytes`: so many of the next were written
before); from the page `ack` (`bytes`), `take` (the keyboard), `watch`, `record`
(`on`), and `size` (`columns`, `rows`) of the window.
Close codes: 4400 nonsense, 4401 signed out, 4403 the right was lost, 4404 the
server was deleted, 4408 no ticket or no reading in time, 4410 the ticket does
not open this, 4411 idle for too long, 4429 too many consoles, 1009 too big.
"""

from __future__ import annotations

from django.conf import settings

from vpspanel.consoles.models import Kind, Way
from vpspanel.consoles.serial_console import SerialConsole
from vpspanel.consoles.viewer import Hello
from vpspanel.consoles.visit import Visit, serve
from vpspanel.events.origin import Receive, Scope, Send


async def serial_console(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint."""
    await serve(scope, receive, send, Kind.SERIAL, make_serial)


def make_serial(visit: Visit, hello: Hello) -> SerialConsole:
    """The console of this visit."""
    return SerialConsole(
        visit.viewer,
        line=visit.room.line(visit.server_id),
        connected=visit.note_connected,
        actor=visit.actor,
        owner=visit.owner,
        types=visit.types,
        banner=_banner(visit),
        is_guest=visit.is_guest,
        again=hello.again,
    )


def _banner(visit: Visit) -> str:
    """What everybody at the console reads while staff are there."""
    user = visit.actor.user
    if visit.way is not Way.STAFF or user is None:
        return ""
    return f"Staff of {settings.SITE_NAME} is watching: {user.get_full_name() or user.email}."
