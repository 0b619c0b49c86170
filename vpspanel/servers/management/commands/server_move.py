"""`manage.py server_move NUMBER`: move a server to another host, or see what stands in the way."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.models import Host
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.access import get_server
from vpspanel.servers.models import Server
from vpspanel.servers.moving import HOW, cancel_move, move_server, moving_choices

ME = Actor(user=None, via="command")


class Command(BaseCommand):
    """Live if the server runs, else offline, unless told otherwise."""

    help = "Move a server to another host of its location."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("server", type=int, help="the number of the server")
        parser.add_argument("--to", metavar="HOST", help="the name of the host; else the best one")
        parser.add_argument("--how", choices=HOW, default="auto")
        parser.add_argument("--bandwidth", type=int, metavar="MIB", help="at most so many MiB/s")
        parser.add_argument(
            "--dry-run", action="store_true", help="only say where it could go, and why not"
        )
        parser.add_argument("--cancel", action="store_true", help="call a move off")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._act(get_server(ME, options["server"]), options)
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal

    def _act(self, server: Server, options: dict[str, Any]) -> None:
        if options["dry_run"]:
            self._show(server)
        elif options["cancel"]:
            action = cancel_move(ME, server)
            self.stdout.write(f"{server.name} stays where it is; action {action.pk} is called off.")
        else:
            target = _host(options["to"]) if options["to"] else None
            action = move_server(
                ME, server, target, how=options["how"], bandwidth_mib=options["bandwidth"]
            )
            self.stdout.write(f"{server.name} is being moved: action {action.pk}.")

    def _show(self, server: Server) -> None:
        for choice in moving_choices(server):
            self.stdout.write(f"{choice.host}:")
            for obstacle in choice.obstacles:
                self.stdout.write(f"  {obstacle.message}")
            if not choice.obstacles:
                self.stdout.write("  nothing stands in the way")


def _host(name: str) -> Host:
    host = Host.objects.filter(name=name).first()
    if host is None:
        known = ", ".join(Host.objects.values_list("name", flat=True)) or "none"
        raise CommandError(f"There is no host {name}. Known are: {known}.")
    return host
