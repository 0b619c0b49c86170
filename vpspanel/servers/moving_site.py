"""A server at both ends of its move: where it is, and what makes one end the only one."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from hosts.models import StoragePool
from hosts.moving import take_over
from hosts.virt.carrying import find
from hosts.virt.errors import ForeignObject, NotFound
from hosts.virt.spec import DomainSeen, Power, VolumeSeen
from vpspanel.actions.command import Context
from vpspanel.actions.errors import Park
from vpspanel.events.services import record_event
from vpspanel.servers.models import PowerSeen, Server
from vpspanel.servers.moving_facts import Place, whereabouts
from vpspanel.servers.site import Site, host_answers

UNFINISHED = ".upload-"  # how a volume is called that is still being sent


@dataclass(slots=True)
class Move:
    """A server at both ends of its move. `settled`: the records name the new host."""

    context: Context
    source: Site
    target: Site
    settled: bool

    @property
    def uuid(self) -> UUID:
        """The guest's."""
        return self.source.server.uuid

    @property
    def disk(self) -> str:
        """The name of its disk, on both hosts."""
        return self.source.server.disk_volume()

    def look(self) -> Place:
        """Where the guest is."""
        return whereabouts(self.seen(self.source), self.seen(self.target))

    def seen(self, site: Site) -> DomainSeen | None:
        """What one of the two hosts says of the guest."""
        return site.driver.domain(self.uuid)

    def disk_here(self) -> VolumeSeen:
        """The disk as the old host sees it. Raises `NotFound`."""
        return find(self.source.driver, self.source.server.pool, self.disk)

    def left(self) -> float:
        """Seconds until the action has to be over."""
        deadline = self.context.action.deadline
        if deadline is None:
            return 3600.0
        return max(5.0, (deadline - timezone.now()).total_seconds())


def move_of(context: Context) -> Move:
    """The move, loaded fresh from the records."""
    args = context.action.args
    server = Server.objects.select_related("host", "image", "project__account").get(
        pk=context.action.resource_id
    )
    pools = StoragePool.objects.select_related("host").in_bulk(
        [args["source_pool"], args["target_pool"]]
    )
    return Move(
        context,
        source=_site_in(context, server, pools[args["source_pool"]]),
        target=_site_in(context, server, pools[args["target_pool"]]),
        settled=server.host_id == args["target"],
    )


def _site_in(context: Context, server: Server, pool: StoragePool) -> Site:
    """The server as it is, or will be, in that pool. Nothing of it is saved."""
    there = copy.copy(server)
    there.host, there.pool = pool.host, pool.name
    return Site(context, there, pool.host)


def settle(move: Move, power: PowerSeen, *, at: datetime) -> None:
    """In one transaction: the server is on the new host, and holds what it needs there only."""
    source, target, server = move.source, move.target, move.target.server
    on_old = source.rows().filter(host=source.host, pool=source.server.pool)
    if not on_old.update(host=target.host, pool=server.pool, power_seen=power, seen_at=at):
        return
    take_over(server.uuid, UUID(move.context.action.args["held_by"]))
    record_event(
        "server.moved",
        f"It lives on {target.host} now, and no longer on {source.host}",
        resource=("server", server.pk),
        project_id=server.project_id,
        action_id=move.context.action.pk,
        public=False,
    )


def clear(move: Move) -> None:
    """The guest lives on the new host; what is on the old one is of no use any more."""
    with host_answers():
        here = move.seen(move.source)
        if here is not None and here.power not in (Power.OFF, Power.CRASHED) and not here.between:
            raise Park(
                "runs_on_both",
                "Our staff has to look where it is.",
                detail=f"It is {here.power} on {move.source.host}, which it has left",
            )
        with suppress(ForeignObject, NotFound):
            move.source.driver.destroy(move.uuid)
            move.source.driver.undefine(move.uuid)
        if not move.context.action.args.get("shared", False):
            delete_volumes(move.source)
        move.source.driver.delete_filter(move.source.server.filter_name)


def found_of_it(site: Site, *, files: bool = True) -> list[str]:
    """What of the server lies on that host: guest, filter and, with `files`, its volumes."""
    prefix = f"vps-{site.server.uuid}"
    found = [name for name in site.driver.filters() if name.startswith(prefix)]
    if site.driver.domain(site.server.uuid) is not None:
        found.append(f"a guest {site.server.uuid}")
    if files:
        volumes = site.driver.volumes(site.server.pool)
        names = (volume.name.removeprefix(UNFINISHED) for volume in volumes)
        found += [name for name in names if name.startswith(prefix)]
    return found


def delete_volumes(site: Site) -> None:
    """Nothing of the server lies in its pool on that host."""
    prefix = f"vps-{site.server.uuid}-"
    for volume in site.driver.volumes(site.server.pool):
        if volume.name.removeprefix(UNFINISHED).startswith(prefix):
            site.driver.delete_volume(site.server.pool, volume.name)
