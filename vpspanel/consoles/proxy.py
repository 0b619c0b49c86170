"""websockify for screens: a process per viewer, behind the panel's door.

For sites that want each viewer in a process of its own: what one costs or
breaks concerns nobody else. The token of websockify's plugin is the whole
handshake, because ticket, session and origin count together; the ticket comes
in a cookie for this one address, never in the address, which ends up in logs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import re
import signal
import socket
import time
from typing import Any

from django.conf import settings
from websockify.token_plugins import BasePlugin
from websockify.websocket import WebSocketWantWriteError
from websockify.websocketproxy import ProxyRequestHandler, WebSocketProxy
from websockify.websockifyserver import CompatibleWebSocket

from vpspanel.consoles.door import ANSWER_WITHIN, Admission, Door, knock
from vpspanel.consoles.pump import Pump
from vpspanel.consoles.viewer import FRAME_LIMIT, Ended

REQUEST_WITHIN = 10  # seconds from the connection to the last header
LINGER_SECONDS = 2.0  # for the viewer to hear why
NOT_IN_A_HEADER = re.compile(r"[^\t\x20-\x7e]")

Listener = socket.socket


class TooMuch(Exception):
    """A frame is larger than anything that a viewer has to say."""


class DoorPlugin(BasePlugin):
    """A token plugin whose source is the path of the door."""

    source: str

    def lookup(self, token: str) -> Admission | None:
        """What the door says to this handshake."""
        try:
            return knock(self.source, json.loads(token))
        except OSError:
            return None


class BoundedSocket(CompatibleWebSocket):
    """websockify's, which would wait for a frame of any size to become complete."""

    def _recv(self) -> Any:
        received = super()._recv()
        if max(len(self._recv_buffer), len(self._partial_msg)) > FRAME_LIMIT + 64:
            raise TooMuch
        return received


class ScreenHandler(ProxyRequestHandler):
    """One viewer, in a process of its own."""

    SocketClass = BoundedSocket
    timeout = REQUEST_WITHIN
    admission: Admission

    def validate_connection(self) -> None:
        """Ask the door; whom it does not let in gets 403."""
        signal.alarm(int(ANSWER_WITHIN) + 5)
        admission = self.server.token_plugin.lookup(self._handshake())
        if admission is None:
            self.send_error(403)
            raise self.server.EClose("")
        self.admission = admission

    def new_websocket_client(self) -> None:
        """Show the screen until somebody ends it."""
        signal.alarm(0)
        self.request.setblocking(False)
        with contextlib.suppress(OSError):
            self.request.setsockopt(socket.SOL_TCP, socket.TCP_NODELAY, 1)
        end = self.admission.end
        try:
            if end is None:
                end = Pump(self, self.admission, idle=settings.CONSOLE_IDLE_SECONDS).run()
        except TooMuch:
            end = Ended(1009, "That was too much at once.")
        raise self.CClose(end.code, end.reason[:120])

    def fileno(self) -> int:
        """Of the viewer's connection."""
        return int(self.request.fileno())

    def send_close(self, code: int = 1000, reason: str = "") -> None:
        """Say why; a viewer who reads nothing is not waited for."""
        if self.request.socket is None:
            return
        with contextlib.suppress(OSError, WebSocketWantWriteError):
            super().send_close(code, reason)
            self.request.socket.shutdown(socket.SHUT_WR)
            self.request.socket.settimeout(LINGER_SECONDS)
            until = time.monotonic() + LINGER_SECONDS
            while self.request.socket.recv(4096) and time.monotonic() < until:
                pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Without the name and version of this program."""
        body = b"" if code == 403 else (message or "").encode()
        self.send_response_only(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the library's name
        """Nothing: who was let in stands in the timeline."""

    def _handshake(self) -> str:
        headers = self.headers.items()
        if any(NOT_IN_A_HEADER.search(name + value) for name, value in headers):
            headers = []  # no browser sends that
        path = self.path.partition("?")[0]
        return json.dumps({"path": path, "headers": headers, "client": self.client_address[0]})


class ScreenProxy(WebSocketProxy):
    """Accepts on `listener`, one process for each connection."""

    def __init__(self, listener: Listener, door: Door):
        self._listener = listener
        self._door = door
        logging.getLogger(self.log_prefix).setLevel(logging.WARNING)
        super().__init__(ScreenHandler, token_plugin=DoorPlugin(door.path), tcp_keepalive=True)

    def socket(self, *_args: Any, **_options: Any) -> Listener:
        """The one that listens already."""
        return self._listener

    def poll(self) -> None:
        """Before each connection: wait for room, and end if nobody can be let in any more."""
        while len(multiprocessing.active_children()) >= settings.CONSOLE_PROXY_VIEWERS:
            time.sleep(0.1)
        if not self._door.is_open():
            self.terminate()

    def top_new_client(self, startsock: Listener, address: Any) -> None:
        """In the new process: keep nothing open of what is its parent's, and be quick."""
        self._listener.close()
        os.close(self._door.lifeline)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(REQUEST_WITHIN)
        super().top_new_client(startsock, address)
