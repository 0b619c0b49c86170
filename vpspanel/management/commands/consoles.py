"""`manage.py consoles`: the sockets of consoles in a process of their own.

A new version of the panel restarts the web processes, which would cut every
console; this one may go on until nobody looks at a console any more. The
proxy in front sends `/ws/console/` here (docs/consoles.md).
"""

from __future__ import annotations

import socket

from vpspanel.management.listening import ListeningCommand
from vpspanel.web import serve_web


class Command(ListeningCommand):
    """Serves `/ws/console/` and `/healthz`."""

    help = "Serve the websockets of consoles only, beside the web processes."
    port = 8001

    def serve(self, listener: socket.socket) -> None:
        serve_web(listener, "vpspanel.asgi:consoles")
