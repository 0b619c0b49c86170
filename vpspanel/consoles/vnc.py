"""`/ws/console/vnc/<server id>/`: the ASGI endpoint of a server's screen.

A plain callable like the serial console's (see serial.py), with the same
first message, states and close codes. Binary frames are RFB, the protocol of
VNC. The `state` messages have two more fields: `line`, the number of the
connection to the guest, and `others`, the names of those who look at the
screen as well. From the page comes `{"type": "begin", "line": number}` before
the first byte of a connection.
"""

from __future__ import annotations

from vpspanel.consoles.models import Kind
from vpspanel.consoles.screen import ScreenConsole
from vpspanel.consoles.viewer import Hello
from vpspanel.consoles.visit import Visit, serve
from vpspanel.events.origin import Receive, Scope, Send


async def vnc_console(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint."""
    await serve(scope, receive, send, Kind.VNC, make_screen)


def make_screen(visit: Visit, hello: Hello) -> ScreenConsole:
    """The console of this visit."""
    return ScreenConsole(
        visit.viewer,
        place=visit.place,
        connected=visit.note_connected,
        name=visit.name,
        types=visit.types,
        is_guest=visit.is_guest,
    )
