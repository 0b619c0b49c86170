"""`manage.py host_clean_up HOST`: the stale copies on a host; with --remove they are removed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.models import Host
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers import stale


class Command(BaseCommand):
    """Lists only, unless told which servers' copies to remove."""

    help = "Copies of servers that a host holds although they live elsewhere now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("host", help="the name of the host that came back")
        parser.add_argument(
            "--remove",
            metavar="SERVER",
            action="append",
            help="the number of a server whose copy is removed, or all; may be given again",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host = Host.objects.filter(name=options["host"]).first()
        if host is None:
            known = ", ".join(Host.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no host {options['host']}. Known are: {known}.")
        wanted = set(options["remove"] or ())
        copies = list(stale.stale_copies(host))
        if unknown := wanted - {"all"} - {str(copy.server_id) for copy in copies}:
            raise CommandError(f"{host} holds no stale copy of {', '.join(sorted(unknown))}.")
        refused = 0
        for copy in copies:
            line = f"{copy.server_id} {copy.server.name}: {copy.power}, lives on {copy.server.host}"
            if wanted & {"all", str(copy.server_id)}:
                try:
                    action = stale.clean_up(Actor(user=None, via="command"), copy)
                    line += f"; being removed, action {action.pk}"
                except Refused as refusal:
                    refused += 1
                    line += f"; {refusal.message}"
            self.stdout.write(line)
        self.stdout.write(f"{len(copies)} stale copies on {host}.")
        if refused:
            raise CommandError(f"{refused} were refused.")
