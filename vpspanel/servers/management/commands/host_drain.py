"""`manage.py host_drain HOST`: empty a host for work on it, and fill it again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from hosts.models import Host
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers import maintenance as service
from vpspanel.servers.models_maintenance import Maintenance

ME = Actor(user=None, via="command")


class Command(BaseCommand):
    """Begins at once; the monitor conducts it. Repeated, it says how far it is."""

    help = "Move all servers off a host, and back when the work is done."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("host", help="the name of the host")
        parser.add_argument("--reason", default="work on the machine", help="customers read it")
        parser.add_argument("--hours", type=float, default=4.0, help="how long the work may take")
        parser.add_argument(
            "--shut-down",
            action="store_true",
            help="what cannot move while it runs is shut down for it, and started again",
        )
        parser.add_argument("--bandwidth", type=int, default=0, metavar="MIB", help="MiB/s each")
        parser.add_argument("--at-once", type=int, default=2, help="servers that move at a time")
        parser.add_argument("--quiet", action="store_true", help="tell customers nothing")
        parser.add_argument(
            "--dry-run", action="store_true", help="only say how each server would leave"
        )
        parser.add_argument("--finish", action="store_true", help="the work is done, or given up")
        parser.add_argument(
            "--restore", action="store_true", help="the same, and its servers come back"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host = Host.objects.select_related("location").filter(name=options["host"]).first()
        if host is None:
            known = ", ".join(Host.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no host {options['host']}. Known are: {known}.")
        try:
            self._act(host, service.going_on(host), options)
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal

    def _act(self, host: Host, current: Maintenance | None, options: dict[str, Any]) -> None:
        if options["finish"] or options["restore"]:
            if current is None:
                raise CommandError(f"{host} is not in maintenance.")
            service.finish(ME, current, restore=options["restore"])
            said = "come back" if options["restore"] else "stay where they are"
            self.stdout.write(f"It is over; its servers {said}.")
        elif options["dry_run"]:
            self._show(host)
        elif current is not None:
            self._tell(current)
        else:
            self._begin(host, options)

    def _begin(self, host: Host, options: dict[str, Any]) -> None:
        service.drain(
            ME,
            host,
            reason=options["reason"],
            ends=timezone.now() + timedelta(hours=options["hours"]),
            shuts_down=options["shut_down"],
            bandwidth_mib=options["bandwidth"],
            at_once=options["at_once"],
            announce=not options["quiet"],
        )
        self.stdout.write(f"{host} takes no new servers; those that it has begin to leave.")

    def _show(self, host: Host) -> None:
        ways = {"live": "running", "offline": "off", "": "not now"}
        for one in service.prospects(host):
            where = f", to {one.to}" if one.how else ""
            self.stdout.write(f"{one.server.name}: {ways[one.how]}{where}")
            for obstacle in one.obstacles:
                self.stdout.write(f"  {obstacle.message}")

    def _tell(self, current: Maintenance) -> None:
        self.stdout.write(f"{current.host} is {current.get_state_display()}.")
        for row in current.departures.select_related("server__host"):
            why = f": {row.reason}" if row.reason else ""
            self.stdout.write(
                f"{row.server.name} {row.get_state_display()}, is on {row.server.host}{why}"
            )
