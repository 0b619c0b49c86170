"""`manage.py serve`: the whole panel in the foreground."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from hosts.library import unbuilt
from vpspanel.environment import machine_hosts
from vpspanel.listen import CannotListen, open_listener
from vpspanel.serve import Supervisor, parts
from vpspanel.web import WEB_ENVIRONMENT

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 names, not a bind


class Command(BaseCommand):
    """Starts web, worker and monitor, and ends them with itself."""

    help = "Serve the whole panel: web, worker and monitor, until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default=os.environ.get("BIND") or "127.0.0.1")
        parser.add_argument("--port", type=int, default=os.environ.get("PORT") or 8000)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            listener = open_listener(options["bind"], options["port"])
        except CannotListen as error:
            raise CommandError(str(error)) from error
        if MigrationExecutor(connection).migration_plan(
            MigrationExecutor(connection).loader.graph.leaf_nodes()
        ):
            raise CommandError("The database is not up to date: run `manage.py migrate` first.")
        builds = _builds_images()
        connection.close()
        os.chdir(settings.BASE_DIR)
        code = asyncio.run(self._serve(listener, options["bind"], options["port"], builds))
        sys.exit(code)

    async def _serve(self, listener: socket.socket, bind: str, port: int, builds: bool) -> int:
        def ready() -> str | None:
            return _addresses(bind, port) if answers(bind, port) else None

        started = parts(listener, WEB_ENVIRONMENT, builds=builds)
        return await Supervisor(started, ready, self._say).run()

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _builds_images() -> bool:
    """Whether to build, beside the panel, what this machine can build and has not.

    A site in production fetches what its makers publish instead.
    """
    return settings.VPSPANEL_DRIVER == "libvirt" and not settings.PRODUCTION and bool(unbuilt())


def answers(bind: str, port: int) -> bool:
    """Whether the panel says that it is well."""
    names = [host.lstrip(".") for host in settings.ALLOWED_HOSTS if host != "*"]
    client = http.client.HTTPConnection(EVERYWHERE.get(bind, bind), port, timeout=5)
    try:
        client.request("GET", "/healthz", headers={"Host": names[0] if names else "localhost"})
        return client.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        client.close()


def _addresses(bind: str, port: int) -> str:
    hosts = [f"[{bind}]" if ":" in bind else bind]
    if bind in EVERYWHERE:
        hosts = [name for name in machine_hosts() if name[0].isdigit()]
    urls = "  ".join(f"http://{host}:{port}/" for host in hosts)
    simulated = " Hosts are simulated." if settings.VPSPANEL_DRIVER == "fake" else ""
    return f"\n  The panel is ready: {urls}\n  Ctrl-C ends it; servers go on.{simulated}\n"
