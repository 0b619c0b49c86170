"""A panel under uvicorn in its own process, as it is run, and a browser's end of its sockets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from django.conf import settings
from django.db import connection
from django.test import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from vpspanel.accounts.models import User
from vpspanel.web import WEB_ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
START_WITHIN = 30.0
CSRF = "c" * 32


class Panel:
    """The running panel."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path):
        self.port = port
        self.process = process
        self._log = log
        self.origin = f"http://127.0.0.1:{port}"

    def rss(self) -> int:
        """Bytes of memory that it uses."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(errors="replace")


def database_url() -> str:
    """The address of the test database, for another process."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    login = quote(values["USER"] or "")
    if values["PASSWORD"]:
        login += f":{quote(values['PASSWORD'])}"
    port = f":{values['PORT']}" if values["PORT"] else ""
    return f"postgres://{login}@{values['HOST']}{port}/{values['NAME']}"


def free_port() -> int:
    """One on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(directory: Path, what: str = "web", *, port: int = 0, **more: str) -> Iterator[Panel]:
    """Start it, or another process of it, on a free port; stop it at the end.

    `more` goes into its environment.
    """
    port = port or free_port()
    log = directory / f"{what}.log"
    command = [sys.executable, "manage.py", what, "--port", str(port)]
    environment = {
        **os.environ,
        **WEB_ENVIRONMENT,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": database_url(),
        **more,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        panel = Panel(port, process, log)
        try:
            _wait_until_it_answers(panel)
            yield panel
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_answers(panel: Panel) -> None:
    deadline = time.monotonic() + START_WITHIN
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", panel.port), 1):
            return
        assert panel.process.poll() is None, panel.log()
        assert time.monotonic() < deadline, panel.log()
        time.sleep(0.05)


class Browser:
    """A signed-in person's browser."""

    def __init__(self, panel: Panel, user: User | None):
        self.panel = panel
        self.cookies = {settings.CSRF_COOKIE_NAME: CSRF}
        self.session_key = ""
        if user is not None:
            client = Client()
            client.force_login(user)
            self.cookies[settings.SESSION_COOKIE_NAME] = self.session_key = client.cookies[
                settings.SESSION_COOKIE_NAME
            ].value

    def at(self, panel: Panel) -> Browser:
        """The same browser, at another process of the panel, as a proxy would send it there."""
        other = Browser(panel, None)
        other.cookies, other.session_key = self.cookies, self.session_key
        return other

    @property
    def cookie_header(self) -> str:
        """The cookies as a browser sends them."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def post(self, path: str, *, csrf: str = CSRF, data: str = "") -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer; `data` is a form."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.panel.origin + path,
            data=data.encode(),
            headers={"Cookie": self.cookie_header, "X-CSRFToken": csrf},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with contextlib.suppress(ValueError):
                return error.code, json.load(error)
            return error.code, {}

    def ticket(self, server_id: int, kind: str = "serial") -> str:
        """A fresh one."""
        status, body = self.post(f"/servers/{server_id}/console/ticket/", data=f"kind={kind}")
        assert status == 200, (status, body)
        return str(body["ticket"])

    def connect(self, path: str, **options: Any) -> ClientConnection:
        """A websocket; `origin` and `cookie` may be given."""
        origin = options.pop("origin", self.panel.origin)
        headers = {
            "Cookie": options.pop("cookie", self.cookie_header),
            **options.pop("headers", {}),
        }
        return connect(
            f"ws://127.0.0.1:{self.panel.port}{path}",
            origin=origin,
            additional_headers=headers,
            compression=None,
            legacy=True,
            open_timeout=10,
            close_timeout=2,
            **options,
        )

    def console(self, server_id: int, **options: Any) -> Terminal:
        """An open console that has shown a ticket."""
        ticket = options.pop("ticket", None) or self.ticket(server_id)
        acks = options.pop("acks", True)
        terminal = Terminal(self.connect(f"/ws/console/serial/{server_id}/", **options))
        terminal.send_json({"type": "hello", "ticket": ticket, "acks": acks})
        return terminal


class Terminal:
    """What the page's script does with the socket."""

    def __init__(self, socket: ClientConnection):
        self.socket = socket
        self.output = b""
        self.states: list[str] = []
        self.messages: list[dict[str, Any]] = []

    def send_json(self, message: dict[str, Any]) -> None:
        self.socket.send(json.dumps(message))

    def type(self, text: str) -> None:
        self.socket.send(text.encode())

    def step(self, timeout: float) -> None:
        """Take one frame. Raises `TimeoutError` or `ConnectionClosed`."""
        frame = self.socket.recv(timeout)
        if isinstance(frame, bytes):
            self.output += frame
            self.send_json({"type": "ack", "bytes": len(frame)})
            return
        message = json.loads(frame)
        self.messages.append(message)
        if message["type"] == "state":
            self.states.append(message["state"])

    def until_state(self, state: str, timeout: float = 10) -> dict[str, Any]:
        """Go on until the page would show this state; the message that said so."""
        deadline = time.monotonic() + timeout
        while True:
            for message in self.messages:
                if message.get("state") == state:
                    self.messages.remove(message)
                    return message
            self.step(max(0.01, deadline - time.monotonic()))

    def until_notice(self, timeout: float = 5) -> str:
        """Go on until the page is told something beside the state."""
        deadline = time.monotonic() + timeout
        while True:
            for message in self.messages:
                if message["type"] == "notice":
                    return str(message["message"])
            self.step(max(0.01, deadline - time.monotonic()))

    def listen(self, seconds: float) -> None:
        """Take what comes for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self.step(left)
            except TimeoutError:
                return

    def until_output(self, text: bytes, timeout: float = 10) -> bytes:
        """Go on until the guest has written this; all up to there, which is then forgotten."""
        deadline = time.monotonic() + timeout
        while text not in self.output:
            self.step(max(0.01, deadline - time.monotonic()))
        before, _, self.output = self.output.partition(text)
        return before + text

    def login(self) -> None:
        """Sit down at the simulated shell."""
        self.until_state("connected")
        self.type("\r")
        self.until_output(b"login: ")
        self.type("root\r")
        self.until_output(b"# ")

    def until_closed(self, timeout: float = 10) -> tuple[int, str, float]:
        """Code, reason, and how many seconds it took."""
        started = time.monotonic()
        try:
            while True:
                self.step(max(0.01, started + timeout - time.monotonic()))
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise  # no close frame at all
            return closed.rcvd.code, closed.rcvd.reason, time.monotonic() - started

    def close(self) -> None:
        self.socket.close()
