"""`manage.py server_adopt HOST GUEST`: make a server of a guest that is there already."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from hosts.models import Host, Image
from vpspanel.accounts.finding import project_named
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.adoptable import Guest, notes, obstacles
from vpspanel.servers.adopting import adopt_guest, find_guest, pool_names
from vpspanel.servers.audit_look import Look, look_at
from vpspanel.servers.models import ServerType

ME = Actor(user=None, via="command")


class Command(BaseCommand):
    """The guest is not stopped. Without --project it only says what stands in the way."""

    help = "Take a guest over that somebody else has made on a host, without stopping it."

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("host", help="the name of the host")
        add("guest", help="the name of the guest there, or its UUID")
        add("--project", help="whose it is: the project's number, or its owner's mail address")
        add("--name", help="what the customer sees (default: the name of the guest)")
        add("--type", metavar="PLAN", help="a plan that is at least as large as the guest")
        add("--ipv4", default="", help="the address that it uses")
        add("--ipv6", default="", help="the /64 that it uses; else the next free one")
        add("--image", help="which system is on it, if it is known")

    def handle(self, *args: Any, **options: Any) -> None:
        host = _host(options["host"])
        try:
            guest = find_guest(host, _look(host), options["guest"])
            if options["project"] is None:
                self._show(host, guest)
                return
            adopted = adopt_guest(
                ME,
                host,
                guest,
                project=project_named(options["project"]),
                name=options["name"] or guest.definition.name,
                server_type=_plan(options["type"]),
                ipv4=options["ipv4"],
                ipv6=options["ipv6"],
                image=_image(options["image"]),
            )
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal
        server, action = adopted.server, adopted.action
        self.stdout.write(f"{server.name} is server {server.pk}, taken over by action {action.pk}.")

    def _show(self, host: Host, guest: Guest) -> None:
        definition = guest.definition
        self.stdout.write(
            f"{definition.name} ({guest.power}): {definition.vcpus} vCPUs, "
            f"{definition.memory_mib} MiB, {guest.disk_gib} GiB"
        )
        found = obstacles(guest, host, pool_names(host))
        for sentence in [*found, *notes(guest)]:
            self.stdout.write(f"  {sentence}")
        if not found:
            self.stdout.write("  nothing stands in the way")


def _host(name: str) -> Host:
    host = Host.objects.select_related("location").filter(name=name).first()
    if host is None:
        known = ", ".join(Host.objects.values_list("name", flat=True)) or "none"
        raise CommandError(f"There is no host {name}. Known are: {known}.")
    return host


def _look(host: Host) -> Look:
    look = look_at(host, timezone.now())
    if not isinstance(look, Look):
        raise CommandError(look.message)
    return look


def _plan(name: str | None) -> ServerType:
    plan = ServerType.objects.filter(name=name or "").first()
    if plan is None:
        known = ", ".join(ServerType.objects.values_list("name", flat=True)) or "none"
        raise CommandError(f"There is no plan {name or ''!r}: say --type. Known are: {known}.")
    return plan


def _image(name: str | None) -> Image | None:
    if name is None:
        return None
    image = Image.objects.filter(name=name).first()
    if image is None:
        raise CommandError(f"There is no image {name}.")
    return image
