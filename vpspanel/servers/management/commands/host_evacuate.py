"""`manage.py host_evacuate HOST --fenced "how"`: restart a lost host's servers on other hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.models import Host
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers import evacuation


class Command(BaseCommand):
    """Without --fenced it only says who could leave and who could not."""

    help = "Restart the servers of a lost, fenced host on other hosts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("host", help="the name of the host")
        parser.add_argument(
            "--fenced",
            metavar="HOW",
            help="how it was made sure that the host runs nothing any more; it is recorded",
        )
        parser.add_argument(
            "--from-snapshots",
            action="store_true",
            help="restart also what lies on the host's own disks, from the newest snapshot of each",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host = Host.objects.filter(name=options["host"]).first()
        if host is None:
            known = ", ".join(Host.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no host {options['host']}. Known are: {known}.")
        if options["fenced"] is None:
            self._show(evacuation.plan(host))
            return
        try:
            done = evacuation.evacuate(
                Actor(user=None, via="command"),
                host,
                confirmed_name=options["host"],
                fenced=options["fenced"],
                from_copies=options["from_snapshots"],
            )
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal
        for action in done.actions:
            self.stdout.write(f"server {action.resource_id}: action {action.pk}")
        self._show_stays(done.stays)
        self.stdout.write(f"Being restarted on other hosts: {len(done.actions)}.")

    def _show(self, plan: evacuation.Plan) -> None:
        for server in plan.moves:
            self.stdout.write(f"{server.name} can leave")
        for one in plan.restores:
            self.stdout.write(f"{one.server.name} can be restarted --from-snapshots: {one.copy}")
        self._show_stays(plan.stays)
        self.stdout.write(
            plan.refusal or 'Nothing has moved. To go on, say how it was fenced: --fenced "…"'
        )

    def _show_stays(self, stays: Sequence[evacuation.Stays]) -> None:
        for one in stays:
            self.stdout.write(f"{one.server.name} stays: {one.reason}")
