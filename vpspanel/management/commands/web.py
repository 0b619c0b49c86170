"""`manage.py web`: the web process alone, for machines with a service manager."""

from __future__ import annotations

import socket

from vpspanel.management.listening import ListeningCommand
from vpspanel.web import serve_web


class Command(ListeningCommand):
    """Serves pages and websockets."""

    help = "Serve pages and websockets (no worker, no monitor)."

    def serve(self, listener: socket.socket) -> None:
        serve_web(listener)
