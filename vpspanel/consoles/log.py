"""`/ws/console/log/<server id>/`: what the server wrote to its serial port, once, and the end.

Its host keeps it, also while nobody looks. It goes over a socket and not as a page because only
the consoles' sockets talk to hosts. After the ticket come binary frames, then the close: 1000,
or 4404 with a sentence that says why there is nothing. Other close codes as in serial.py.
"""

from __future__ import annotations

import asyncio

import structlog

from hosts.virt.errors import NotFound, VirtError
from hosts.virt.registry import driver_for
from vpspanel.consoles.models import Kind
from vpspanel.consoles.viewer import Ended
from vpspanel.consoles.visit import Visit, enter
from vpspanel.events.origin import Receive, Scope, Send

log = structlog.get_logger(__name__)

LIMIT = 512 * 1024
FRAME = 64 * 1024
NONE = 4404


async def boot_log(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint."""
    await enter(scope, receive, send, Kind.LOG, lambda visit: visit.once(_send))


async def _send(visit: Visit) -> Ended:
    place = await visit.place()
    if place is None:
        return Ended(NONE, "The server is not there yet.")
    driver = driver_for(place.uri)
    loop = asyncio.get_running_loop()
    try:
        text = await loop.run_in_executor(visit.room.hosts, driver.serial_log, place.uuid, LIMIT)
    except NotFound:
        return Ended(NONE, "The server is not there yet.")
    except VirtError as error:
        log.info("boot_log_not_read", code=error.code, detail=str(error))
        return Ended(NONE, "The host does not answer at the moment.")
    for start in range(0, len(text), FRAME):
        await visit.viewer.send_bytes(text[start : start + FRAME])
    visit.note_read()
    return Ended(1000, "")
