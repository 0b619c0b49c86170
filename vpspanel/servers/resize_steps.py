"""The steps of another plan. The disk comes last, because what has grown cannot shrink again."""

from __future__ import annotations

from django.utils import timezone

from hosts.models import GIB
from hosts.placement import Need
from hosts.services import settle_claim
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.models import Action
from vpspanel.servers.models import Server
from vpspanel.servers.periods import switch_period
from vpspanel.servers.site import Site, host_answers, need_off, site_of


def define_resized(context: Context) -> Outcome:
    """The guest, which is off, is defined with the vCPUs and the memory of the new plan."""
    site = _resized_site_of(context)
    with host_answers():
        need_off(site)
        site.driver.define(site.blueprint().domain())
    return Outcome()


def restore_size(context: Context) -> None:
    """Undo of `define_resized`."""
    site = site_of(context)
    with host_answers():
        site.driver.define(site.blueprint().domain())


def grow_disk(context: Context) -> Outcome:
    """The disk is as large as planned: from here on the records say all of it.

    What the new plan needs less than the old one is free again.
    """
    site = _resized_site_of(context)
    server, args = site.server, context.action.args
    with host_answers():
        need_off(site)
        site.driver.grow_volume(
            server.pool, server.disk_volume(), capacity_bytes=server.disk_gib * GIB
        )

    def commit() -> None:
        switch_period(server.pk, args["server_type"], timezone.now())
        site.change(
            server_type=args["server_type"],
            vcpus=server.vcpus,
            memory_mib=server.memory_mib,
            disk_gib=server.disk_gib,
        )
        settle_claim(server.uuid, Need(server.vcpus, server.memory_mib, server.disk_gib))

    return Outcome(commit=commit)


def give_room_back(action: Action) -> None:
    """The end of a change that failed: it holds again what it has."""
    server = Server.objects.get(pk=action.resource_id)
    settle_claim(server.uuid, Need(server.vcpus, server.memory_mib, server.disk_gib))


def _resized_site_of(context: Context) -> Site:
    """The server as it will be. Nothing of it is saved."""
    site, args = site_of(context), context.action.args
    site.server.vcpus = args["vcpus"]
    site.server.memory_mib = args["memory_mib"]
    site.server.disk_gib = args["disk_gib"]
    return site
