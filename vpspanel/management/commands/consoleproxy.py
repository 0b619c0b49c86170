"""`manage.py consoleproxy`: screens through websockify, a process per viewer.

The proxy in front sends `/ws/vnc/` here, and CONSOLE_PROXY_URL tells pages to
connect there (docs/consoles.md).
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
from typing import cast

from django.conf import settings
from django.db import connections
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from vpspanel.asgi import screens
from vpspanel.consoles.door import open_door
from vpspanel.consoles.proxy import ScreenProxy
from vpspanel.events.origin import App
from vpspanel.management.listening import ListeningCommand
from vpspanel.web import allow_many_files


class Command(ListeningCommand):
    """Serves `/ws/vnc/`."""

    help = "Serve screens through websockify: a process per viewer, the panel's tickets and rights."
    port = 8002

    def serve(self, listener: socket.socket) -> None:
        allow_many_files()
        multiprocessing.set_start_method("fork", force=True)  # a viewer's process costs little so
        connections.close_all()
        gc.freeze()  # what viewers' processes share stays shared
        ScreenProxy(listener, open_door(_behind_proxies())).start_server()


def _behind_proxies() -> App:
    """The application that decides; it believes a proxy about addresses as the web process does."""
    if not settings.ALLAUTH_TRUSTED_PROXY_COUNT:
        return screens
    trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
    return cast(App, ProxyHeadersMiddleware(screens, trusted))  # type: ignore[arg-type]
