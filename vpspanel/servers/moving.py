"""Moving a server to another host: what stands in the way, and the one transaction that begins it.

Staff only. Pages ask no host: obstacles are what the records know, and what
only the hosts know is found by the first step of the action, before anything
has changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from django.db import transaction
from django.db.models import QuerySet

from hosts.errors import NoCapacity
from hosts.models import CapacityClaim, Host, HostStatus, ImageStatus, StoragePool
from hosts.moving import hold_beside, move_address
from hosts.placement import Candidate, Need, rank, tags_of
from hosts.room import everybody
from vpspanel.actions import services as actions
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.access import get_server, need_staff
from vpspanel.servers.models import Lifecycle, PowerSeen, Server
from vpspanel.servers.moving_facts import LIVE, OFFLINE, Obstacle, between_hosts

HOW = ("auto", LIVE, OFFLINE)

_POWER = {
    PowerSeen.OFF: Obstacle("is_off", "It is off, so it is moved offline.", stops_offline=False),
    PowerSeen.CRASHED: Obstacle(
        "is_off", "It has crashed, so it is moved offline.", stops_offline=False
    ),
    PowerSeen.PAUSED: Obstacle(
        "paused", "Its host has paused it. Let it go on, or power it off, first."
    ),
    PowerSeen.UNKNOWN: Obstacle(
        "power_unknown", "It is not known whether it runs. Wait until its host is seen again."
    ),
    PowerSeen.MISSING: Obstacle("missing", "It is missing on its host. Look for it there first."),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A host that a server could move to, the pool that it would be in, and what stands there."""

    host: Host
    pool_id: int | None
    obstacles: Sequence[Obstacle]

    def fits(self, how: str) -> bool:
        """Whether nothing stops a move of that kind."""
        return self.pool_id is not None and not any(one.stops(how) for one in self.obstacles)


def moving_obstacles(server: Server, target: Host) -> list[Obstacle]:
    """What stands in the way of moving it there, as far as the records know. Seven queries."""
    return list(_Outlook(server).choice(target).obstacles)


def moving_choices(server: Server) -> list[Choice]:
    """Every other host of its location, those that fit best first. Eight queries."""
    outlook = _Outlook(server)
    others = Host.objects.filter(location=server.location_id)
    if server.host_id is not None:
        others = others.exclude(pk=server.host_id)
    places = [*outlook.ranked, *outlook.pools]
    choices = [outlook.choice(host) for host in others]
    return sorted(choices, key=lambda one: (not one.fits(outlook.how), places.index(one.host.pk)))


class _Outlook:
    """What is known of a server that is to move, loaded once for all hosts that it may go to."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.how = LIVE if server.power_seen == PowerSeen.RUNNING else OFFLINE
        claim = CapacityClaim.objects.select_related("pool", "host").filter(owner=server.uuid)
        self.claim = claim.first()
        self.image = server.image
        self._own = [*self._of_server(), *self._of_source()]
        self.pools: dict[int, list[Candidate]] = defaultdict(list)
        self.ranked: list[int] = []
        self.need = Need(0, 0, 0)
        self._files: dict[int, tuple[str, str]] = {}  # by pool: where they lie, and what is shared
        if self.claim is None:
            return
        self.need = Need(
            self.claim.vcpus,
            self.claim.memory_mib,
            self.claim.disk_gib,
            tags_of(server.server_type.host_tags),
        )
        found = everybody(server.location, self.image, self.claim.spread)
        for candidate in found:
            self.pools[candidate.host_id].append(candidate)
        rows = StoragePool.objects.filter(host__location=server.location_id)
        found_pools = rows.values_list("pk", "path", "shared_id")
        self._files = {pk: (path.rstrip("/"), shared) for pk, path, shared in found_pools}
        self.ranked = [one.host_id for one in rank(found, self.need)]

    def _of_server(self) -> list[Obstacle]:
        server = self.server
        found = []
        if server.lifecycle != Lifecycle.ACTIVE:
            found.append(Obstacle("not_in_use", f"It is {server.get_lifecycle_display()}."))
        other = actions.open_action("server", server.pk)
        if other is not None and not actions.gives_way(other):
            doing = other.command.replace("_", " ")
            found.append(
                Obstacle("locked", f"Its action {doing} is still open. Wait until it has ended.")
            )
        if server.rescue_enabled or server.in_rescue:
            found.append(
                Obstacle(
                    "rescue",
                    "Its rescue system is enabled or runs. Disable it, or start its own system.",
                )
            )
        if server.iso_id is not None or server.iso_changed:
            sentence = "It has, or started with, an ISO. Detach that, and restart it if it runs."
            found.append(Obstacle("iso", sentence))
        if server.power_seen in _POWER:
            found.append(_POWER[PowerSeen(server.power_seen)])
        if self.claim is None:
            found.append(Obstacle("no_claim", "No room is held for it. Run the audit."))
        return found

    def _of_source(self) -> list[Obstacle]:
        source = self.server.host
        if source is None:
            return [Obstacle("no_host", "It is on no host.")]
        if source.status == HostStatus.UNREACHABLE:
            return [
                Obstacle(
                    "source_unreachable",
                    f"{source} does not answer. Wait until it does; if it is lost, evacuate it.",
                )
            ]
        return []

    def choice(self, target: Host) -> Choice:
        """What stands in the way of that host, and the best pool of it."""
        pools = self.pools.get(target.pk, [])
        best = max(pools, key=lambda one: (one.fits(self.need), one.score()), default=None)
        pool_id = best.pool_id if best is not None else None
        return Choice(target, pool_id, [*self._own, *self._of_target(target, best)])

    def _of_target(self, target: Host, best: Candidate | None) -> list[Obstacle]:
        if target.pk == self.server.host_id:
            return [Obstacle("same_host", f"It is on {target} already.")]
        if target.location_id != self.server.location_id:
            return [Obstacle("other_location", f"{target} is in another location.")]
        if best is None:
            return [Obstacle("no_pool", f"{target} has no storage pool for servers.")]
        found = [Obstacle("no_room", sentence) for sentence in best.refusals(self.need)]
        if self.server.host is not None:
            found += between_hosts(self.server.host, target, move_address(target))
        return [*found, *self._of_disks(target, best)]

    def _of_disks(self, target: Host, best: Candidate) -> list[Obstacle]:
        if self.image is None:
            sentence = "Its image is no longer in the library, and its disk stands on it."
            return [Obstacle("image_gone", f"{sentence} Upload it again, or rebuild the server.")]
        found = []
        if not best.has_image and self.image.status != ImageStatus.AVAILABLE:
            found.append(
                Obstacle("image_unavailable", f"{self.image} is not available to be copied there.")
            )
        elif not best.has_image:
            sentence = f"{self.image} is not on {target} yet: it is copied there first."
            found.append(
                Obstacle("image_not_staged", sentence, stops_live=False, stops_offline=False)
            )
        path, shared = self._files[best.pool_id]
        if shared and self.claim is not None and shared == self.claim.pool.shared_id:
            found.append(
                Obstacle(
                    "shared_storage",
                    f"{target} sees the very storage that its disk lies on. A move copies the "
                    "disk, so it can only go to storage of another host.",
                )
            )
        if self.claim is not None and path != self.claim.pool.path.rstrip("/"):
            found.append(
                Obstacle(
                    "other_path",
                    f"Its pool lies in {self.claim.pool.path} here and in {path} on {target}; "
                    "a disk that is carried names its image by its path. Move it while it runs.",
                    stops_live=False,
                )
            )
        return found


# --- moving -------------------------------------------------------------------------


def move_server(
    actor: Actor,
    server: Server,
    to: Host | None = None,
    *,
    how: str = "auto",
    bandwidth_mib: int | None = None,
) -> Action:
    """Move it to `to`, or to the best other host of its location. Staff only.

    "live": it goes on running. "offline": it is shut down for it if it runs,
    and started afterwards. "auto": live if it runs, else offline; a running
    server is never stopped because a live move cannot be. At most
    `bandwidth_mib` MiB/s are sent. The room is held when this returns.
    Raises `Refused` with the first obstacle's sentence, and `NotFound`.
    """
    need_staff(actor)
    if how not in HOW:
        raise Refused("invalid_input", f"Choose one of {', '.join(HOW)}.", field="how")
    if bandwidth_mib is not None and bandwidth_mib < 1:
        raise Refused("invalid_input", "Give at least 1 MiB/s, or no limit.", field="bandwidth")
    server = get_server(actor, server.pk)
    runs = server.power_seen == PowerSeen.RUNNING
    kind = how if how != "auto" else (LIVE if runs else OFFLINE)
    args = {"how": kind, "was_running": runs, "bandwidth_mib": bandwidth_mib or 0}
    for choice in _wanted(server, to, kind):
        try:
            with transaction.atomic():
                return _begin(actor, server, choice, args)
        except NoCapacity:
            continue
    where = f"{to} has" if to is not None else f"No other host of {server.location} has"
    raise Refused("resource_unavailable", f"{where} room for it at the moment.", field="to")


def _wanted(server: Server, to: Host | None, kind: str) -> list[Choice]:
    """The hosts to try, best first. Raises `Refused` if something stands in the way of all."""
    choices = [_Outlook(server).choice(to)] if to is not None else moving_choices(server)
    fitting = [choice for choice in choices if choice.fits(kind)]
    if fitting:
        return fitting
    stopping = [one for choice in choices for one in choice.obstacles if one.stops(kind)]
    if not stopping:
        raise Refused("resource_unavailable", f"There is no other host in {server.location}.")
    first = stopping[0]
    code = first.code if first.code == "locked" else "conflict"
    raise Refused(code, first.message, field="to" if to is not None else None)


def _begin(actor: Actor, server: Server, choice: Choice, args: dict[str, object]) -> Action:
    """Action, room and event of one transaction. Raises `Refused`, `NoCapacity`."""
    source, held_by = server.host, uuid4()
    if source is None or choice.pool_id is None:
        raise Refused("conflict", "It is on no host.")
    ends = {
        "source": source.pk,
        "source_pool": StoragePool.objects.get(host=source, name=server.pool).pk,
        "target": choice.host.pk,
        "target_pool": choice.pool_id,
        "held_by": str(held_by),
    }
    action = actions.submit(
        "migrate",
        resource=("server", server.pk),
        actor=actor,
        args={**args, **ends},
        project_id=server.project_id,
        group=str(source.pk),
        group_limit=source.action_limit,
    )
    if not _as_seen(server).update(lifecycle=Lifecycle.ACTIVE):
        raise Refused("conflict", "The server changed at the same moment. Please try again.")
    hold_beside(server.uuid, held_by, choice.pool_id)
    record_event(
        "server.migrate",
        "Move to another host requested",
        resource=("server", server.pk),
        project_id=server.project_id,
        action_id=action.pk,
        actor=actor,
        how=args["how"],
    )
    return action


def _as_seen(server: Server) -> QuerySet[Server]:
    """The row, if what the obstacles were judged by has not changed since."""
    return Server.objects.filter(
        pk=server.pk,
        host=server.host_id,
        pool=server.pool,
        lifecycle=Lifecycle.ACTIVE,
        power_seen=server.power_seen,
        rescue_enabled=False,
        in_rescue=False,
    )


def cancel_move(actor: Actor, server: Server) -> Action:
    """Call the move off: the server stays on its host. Staff only. Raises `Refused`."""
    need_staff(actor)
    action = actions.open_action("server", server.pk)
    if action is None or action.command != "migrate":
        raise Refused("conflict", "It is not being moved.")
    actions.call_off(action, actor=actor)
    return action
