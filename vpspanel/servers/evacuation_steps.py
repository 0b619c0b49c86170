"""The steps of an evacuation. All of them work on the new host: the old one is lost.

The records name the old host until the guest runs on the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.utils import timezone

from hosts.models import Image, StoragePool
from hosts.relocation import return_claim
from hosts.virt.errors import ForeignObject, NotFound
from hosts.virt.spec import Power
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail
from vpspanel.actions.models import Action
from vpspanel.events.services import record_event
from vpspanel.servers.booting import define_wanted, start_wanted
from vpspanel.servers.models import Server
from vpspanel.servers.site import Site, host_answers, site_of


def new_site_of(context: Context) -> Site:
    """The server as it will be on the new host. Nothing of it is saved."""
    site, args = site_of(context), context.action.args
    pool = StoragePool.objects.select_related("host").get(pk=args["target_pool"])
    site.host = site.server.host = pool.host
    site.server.pool = pool.name
    if "generation" in args:
        _on_a_copy(site.server, args)
    return site


def _on_a_copy(server: Server, args: Mapping[str, Any]) -> None:
    """Its disk is a new one, made from a copy. Rescue system and ISO stay with the lost one."""
    server.disk_generation, server.restored_instance = args["generation"], args["instance"]
    server.image = Image.objects.filter(pk=args["image"]).first()
    server.iso, server.iso_changed = None, False
    server.rescue_enabled = server.in_rescue = False
    server.adopted_disk = ""


def find_disks(context: Context) -> Outcome:
    """The new host sees the server's disk and seed, in the storage that both are said to share.

    Listing the pool makes its libvirt look for what other hosts have written there.
    An old copy that still runs there is no base for it: it has to be forced off first.
    """
    site = new_site_of(context)
    with host_answers():
        there = {volume.name for volume in site.driver.volumes(site.server.pool)}
        seen = site.driver.domain(site.server.uuid)
    if seen is not None and seen.power not in (Power.OFF, Power.CRASHED):
        raise Fail(
            "runs_there", "A stale copy of it runs on the other host.", detail=f"on {site.host}"
        )
    missing = set(site.server.volumes) - there
    if missing:
        raise Fail(
            "disk_not_shared",
            "Its disk is not to be seen from any other host.",
            detail=f"{site.host} does not see {', '.join(sorted(missing))}",
        )
    return Outcome()


def define_filter_there(context: Context) -> Outcome:
    """The new host guards its addresses."""
    site = new_site_of(context)
    with host_answers():
        site.driver.ensure_filter(site.blueprint().filter())
    return Outcome()


def delete_filter_there(context: Context) -> None:
    """Undo of `define_filter_there`."""
    site = new_site_of(context)
    with host_answers():
        site.driver.delete_filter(site.server.filter_name)


def define_there(context: Context) -> Outcome:
    """The new host knows the guest as the records say."""
    site = new_site_of(context)
    with host_answers():
        define_wanted(site)
    return Outcome()


def undefine_there(context: Context) -> None:
    """Undo of `define_there`."""
    site = new_site_of(context)
    with host_answers(), suppress(ForeignObject):
        site.driver.destroy(site.server.uuid)
        site.driver.undefine(site.server.uuid)


def start_there(context: Context) -> Outcome:
    """The guest runs on the new host, if it should be on."""
    site = new_site_of(context)
    if not site.server.should_run:
        return Outcome()
    with host_answers():
        return start_wanted(site)


def stop_there(context: Context) -> None:
    """Undo of `start_there`."""
    site = new_site_of(context)
    with host_answers(), suppress(NotFound):
        site.driver.destroy(site.server.uuid)


def settle_there(context: Context) -> Outcome:
    """From here on it lives on the new host, with what was seen of it there."""
    site = new_site_of(context)
    there = where_it_is(site)

    def commit() -> None:
        site.change(**there)
        record_event(
            "server.evacuated",
            f"Its files are used from {site.host} now",
            resource=("server", site.server.pk),
            project_id=site.server.project_id,
            action_id=site.action.pk,
            public=False,
        )

    return Outcome(commit=commit)


def where_it_is(site: Site) -> dict[str, Any]:
    """The columns that say on which host it is, and what that host says of it."""
    at = timezone.now()
    with host_answers():
        seen = site.driver.domain(site.server.uuid)
    power = Power.MISSING if seen is None else seen.power
    return {
        "host": site.host,
        "pool": site.server.pool,
        "power_seen": power.value,
        "seen_at": at,
    }


def give_claim_back(action: Action) -> None:
    """The end of an evacuation that failed: it is where it was, and holds its room there."""
    server = Server.objects.get(pk=action.resource_id)
    return_claim(server.uuid, StoragePool.objects.get(pk=action.args["source_pool"]))
