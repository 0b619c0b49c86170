"""A panel with a real host: web, monitor and a worker with a stop-watch, as separate processes."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil
from django.conf import settings
from django.test import Client

from tests.consoles.panel import CSRF
from vpspanel.accounts.models import User

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class LibvirtCall:
    """One call of the worker into libvirt; times in seconds, `began` by the wall clock."""

    began: float
    seconds: float
    name: str

    @property
    def ended(self) -> float:
        """When it returned."""
        return self.began + self.seconds


@dataclass(slots=True)
class Panel:
    """The running panel."""

    port: int
    web: psutil.Process
    worker: psutil.Process
    log: Path

    def calls(self, since: float) -> list[LibvirtCall]:
        """What the worker has asked of libvirt since then, oldest first."""
        found = []
        for line in self.log.read_text().splitlines():
            began, seconds, name = line.split()
            if float(began) >= since:
                found.append(LibvirtCall(float(began), float(seconds), name))
        return sorted(found, key=lambda call: call.began)

    def cpu_seconds(self) -> float:
        """Processor time that web and worker have used so far."""
        return sum(
            times.user + times.system for times in (self.web.cpu_times(), self.worker.cpu_times())
        )


@contextlib.contextmanager
def panel(folder: Path, port: int) -> Iterator[Panel]:
    """Started with the settings of this process; ended at the end."""
    log = folder / "libvirt-calls"
    log.touch()
    with contextlib.ExitStack() as stack:
        manage = (sys.executable, "manage.py")
        web = stack.enter_context(_process(folder, *manage, "web", "--port", str(port)))
        stack.enter_context(_process(folder, *manage, "monitor"))
        timed = (sys.executable, "-m", "tests.bench.timed_worker", str(log))
        worker = stack.enter_context(_process(folder, *timed))
        _wait_until_it_answers(port)
        yield Panel(port, web, worker, log)


@contextlib.contextmanager
def _process(folder: Path, *command: str) -> Iterator[psutil.Process]:
    with (folder / "panel.log").open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=output, stderr=output)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_it_answers(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            Browser(port, None).get("/healthz")
            return
        if time.monotonic() > end:
            raise TimeoutError("the panel does not answer")
        time.sleep(0.1)


class Browser:
    """A signed-in browser on one kept connection."""

    def __init__(self, port: int, user: User | None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        cookies = {settings.CSRF_COOKIE_NAME: CSRF}
        if user is not None:
            client = Client()
            client.force_login(user)
            cookies[settings.SESSION_COOKIE_NAME] = client.cookies[
                settings.SESSION_COOKIE_NAME
            ].value
        self._headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}

    def reconnect(self) -> None:
        """Open a new connection at the next request: idle ones are closed after five seconds."""
        self._connection.close()

    def get(self, path: str) -> str:
        """The body. Raises `AssertionError` for anything but 200."""
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read().decode()
        if answer.status != http.client.OK:
            raise AssertionError(f"{path}: {answer.status}\n{body[:2000]}")
        return body

    def post(self, path: str, fields: dict[str, str]) -> str:
        """Where the answer leads. Raises `AssertionError` for anything but a redirect."""
        self._connection.request(
            "POST",
            path,
            body=urlencode({**fields, "csrfmiddlewaretoken": CSRF}),
            headers={**self._headers, "Content-Type": "application/x-www-form-urlencoded"},
        )
        answer = self._connection.getresponse()
        body = answer.read().decode()
        if answer.status != http.client.FOUND:
            raise AssertionError(f"{path}: {answer.status}\n{body[:4000]}")
        return answer.headers["Location"]

    def first_byte(self, path: str) -> None:
        """Ask for a page and wait for its first byte; the rest is read and forgotten."""
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
