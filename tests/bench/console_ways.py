"""The ways from a viewer to a guest's screen that are compared, each with processes of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import psutil
from django.conf import settings
from django.test import Client
from django.utils import timezone

from hosts.models import Host, Location
from tests.bench.console_lines import Line, Open, WebLine, panel_line
from tests.bench.console_process import URI
from tests.consoles.panel import ROOT, free_port
from vpspanel.accounts.models import Account, Member, Project, Role, User
from vpspanel.consoles.door import TICKET_COOKIE
from vpspanel.consoles.models import Kind, Ticket
from vpspanel.consoles.services import digest
from vpspanel.servers.models import Lifecycle, PowerSeen, Server, ServerType
from vpspanel.web import WEB_ENVIRONMENT

RELAY, WEBSOCKIFY, WEB, OWN, PROXY = (
    "C relay",
    "websockify",
    "web process",
    "consoles process",
    "consoleproxy",
)
START_WITHIN = 60.0


@dataclass
class Way:
    """One of them, running."""

    name: str
    port: int
    process: psutil.Process
    open: Open = field(repr=False, default=lambda: Line(0))

    def family(self) -> list[psutil.Process]:
        """The process and its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """Of those that live."""
        total = 0.0
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:2])
        return total

    def memory(self) -> int:
        """Bytes that are theirs alone."""
        total = 0
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().uss
        return total


class Visitors:
    """One person with so many servers, and tickets without the limit on haste."""

    def __init__(self, servers: int, name: str = "bench"):
        self.user = User.objects.create_user(f"{name}@example.com", "secret")
        project = Project.objects.create(account=Account.objects.create(name=name), name=name)
        Member.objects.create(project=project, user=self.user, role=Role.OWNER)
        location, _ = Location.objects.get_or_create(name="bench")
        host, _ = Host.objects.get_or_create(name="bench", location=location, uri=URI)
        plan, _ = ServerType.objects.get_or_create(
            name="bench", defaults={"vcpus": 1, "memory_mib": 64, "disk_gib": 1}
        )
        made = []
        for number in range(servers):
            uuid = uuid4()
            made.append(
                Server(
                    uuid=uuid, project=project, name=f"s{number}", server_type=plan,
                    location=host.location, host=host, vcpus=1, memory_mib=64, disk_gib=1,
                    mac="52:54:00:" + ":".join(uuid.hex[at : at + 2] for at in (0, 2, 4)),
                    lifecycle=Lifecycle.ACTIVE, power_seen=PowerSeen.RUNNING,
                )
            )  # fmt: skip
        Server.objects.bulk_create(made)
        self.servers = list(Server.objects.filter(project=project).values_list("pk", flat=True))
        client = Client()
        client.force_login(self.user)
        self.session = client.cookies[settings.SESSION_COOKIE_NAME].value
        self.cookie = f"{settings.SESSION_COOKIE_NAME}={self.session}"
        self._next = 0

    def ticket(self) -> tuple[int, str]:
        """A server, each time another one, and a ticket for its screen."""
        self._next += 1
        server_id, secret = self.servers[self._next % len(self.servers)], secrets.token_urlsafe()
        Ticket.objects.create(
            digest=digest(secret),
            user=self.user,
            session_digest=digest(self.session),
            server_id=server_id,
            kind=Kind.VNC,
            expires=timezone.now() + timedelta(minutes=5),
        )
        return server_id, secret

    def at_panel(self, port: int) -> Line:
        """A screen through the panel's own endpoint."""
        server_id, ticket = self.ticket()
        path = f"/ws/console/vnc/{server_id}/"
        return panel_line(port, path, self.cookie, ticket).shake()

    def at_proxy(self, port: int) -> Line:
        """A screen through `consoleproxy`."""
        server_id, ticket = self.ticket()
        cookie = f"{self.cookie}; {TICKET_COOKIE}={ticket}"
        return WebLine(port, f"/ws/vnc/{server_id}/", cookie).shake()


@contextlib.contextmanager
def started(command: list[str], log: Path, more: Mapping[str, str]) -> Iterator[psutil.Process]:
    """A process for as long as the block lasts."""
    with log.open("wb") as output:
        process = psutil.Popen(
            command, cwd=ROOT, env={**os.environ, **more}, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(port: int, log: Path) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + START_WITHIN
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > deadline:
            raise AssertionError(log.read_text())
        time.sleep(0.1)


@contextlib.contextmanager
def all_ways(directory: Path, visitors: Visitors) -> Iterator[dict[str, Way]]:
    """All of them, and the guests behind."""
    guests = str(directory / "guests")
    relay = directory / "relay"
    source = Path(__file__).with_name("relay.c")
    subprocess.run(["cc", "-O2", "-o", relay, source], check=True)
    python = sys.executable
    panel = [python, "-m", "tests.bench.console_process", guests]
    ports = {name: free_port() for name in (RELAY, WEBSOCKIFY, WEB, OWN, PROXY)}
    commands = {
        RELAY: [str(relay), str(ports[RELAY]), guests],
        WEBSOCKIFY: [
            python, "-m", "websockify", f"--unix-target={guests}",
            f"127.0.0.1:{ports[WEBSOCKIFY]}",
        ],
        WEB: [*panel, "web", "--port", str(ports[WEB])],
        OWN: [*panel, "consoles", "--port", str(ports[OWN])],
        PROXY: [*panel, "consoleproxy", "--port", str(ports[PROXY])],
    }  # fmt: skip
    ours = {**WEB_ENVIRONMENT, "DJANGO_SETTINGS_MODULE": "tests.bench.console_settings"}
    with contextlib.ExitStack() as stack:
        command = [python, "-m", "tests.bench.console_guest", guests]
        stack.enter_context(started(command, directory / "guests.log", {}))
        ways = {}
        for name, command in commands.items():
            log = directory / f"{ports[name]}.log"
            own = name in (WEB, OWN, PROXY)
            process = stack.enter_context(started(command, log, ours if own else {}))
            ways[name] = Way(name, ports[name], process)
            wait_for(ports[name], log)
        ways[RELAY].open = lambda: Line(ports[RELAY]).shake()
        ways[WEBSOCKIFY].open = lambda: WebLine(ports[WEBSOCKIFY]).shake()
        ways[WEB].open = lambda: visitors.at_panel(ports[WEB])
        ways[OWN].open = lambda: visitors.at_panel(ports[OWN])
        ways[PROXY].open = lambda: visitors.at_proxy(ports[PROXY])
        yield ways
