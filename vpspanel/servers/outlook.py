"""Where servers could move to, and what stands in the way, as far as the records know.

What is known of a location is loaded once, in a fixed number of queries, for
however many servers are looked at. No host is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from hosts.models import (
    CapacityClaim,
    Host,
    HostStatus,
    ImageStatus,
    Location,
    StagedImage,
    StoragePool,
)
from hosts.moving import is_same_storage, move_address
from hosts.placement import Candidate, Need, tags_of
from hosts.room import APART, everybody
from vpspanel.actions import services as actions
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.servers.models import Lifecycle, PowerSeen, Server
from vpspanel.servers.moving_facts import LIVE, OFFLINE, Obstacle, between_hosts

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
    points: float = 0.0

    def fits(self, how: str) -> bool:
        """Whether nothing stops a move of that kind."""
        return self.pool_id is not None and not any(one.stops(how) for one in self.obstacles)

    @property
    def fits_live(self) -> bool:
        """Whether it could go there running."""
        return self.fits(LIVE)

    @property
    def fits_offline(self) -> bool:
        """Whether it could go there off."""
        return self.fits(OFFLINE)


class Surroundings:
    """The hosts of a location, and what is known of some of its servers. Seven queries."""

    def __init__(self, location: Location, servers: Sequence[Server]) -> None:
        uuids = [server.uuid for server in servers]
        self.hosts = {host.pk: host for host in Host.objects.filter(location=location)}
        self.pools = {pool.pk: pool for pool in StoragePool.objects.filter(host__location=location)}
        self.claims = {
            claim.owner: claim
            for claim in CapacityClaim.objects.select_related("pool").filter(owner__in=uuids)
        }
        self.open_actions = {
            action.resource_id: action
            for action in Action.objects.filter(
                resource_type="server",
                resource_id__in=[server.pk for server in servers],
                state__in=OPEN_STATES,
            )
        }
        self.staged = set(
            StagedImage.objects.filter(
                pool__host__location=location,
                sha256__in={server.image.sha256 for server in servers if server.image},
            ).values_list("pool_id", "sha256")
        )
        spreads = {claim.spread for claim in self.claims.values() if claim.spread}
        self.spread_on: dict[UUID | None, set[int]] = defaultdict(set)
        for spread, host_id in CapacityClaim.objects.filter(spread__in=spreads).values_list(
            "spread", "host_id"
        ):
            self.spread_on[spread].add(host_id)
        self.candidates: dict[int, list[Candidate]] = defaultdict(list)  # by host
        for one in everybody(location):
            self.candidates[one.host_id].append(one)

    def choices(self, server: Server) -> list[Choice]:
        """Every other host, those that fit best first."""
        outlook = _Outlook(self, server)
        others = [host for host in self.hosts.values() if host.pk != server.host_id]
        choices = [outlook.choice(host) for host in others]
        return sorted(
            choices,
            key=lambda one: (not one.fits(outlook.how), -one.points, one.host.pk),
        )

    def choice(self, server: Server, target: Host) -> Choice:
        """What stands in the way of that one."""
        return _Outlook(self, server).choice(target)

    def hold(self, server: Server, choice: Choice) -> None:
        """From here on, count the room that the server would take there as taken."""
        claim = self.claims.get(server.uuid)
        if claim is None or choice.pool_id is None:
            return
        self.candidates[choice.host.pk] = [
            replace(
                one,
                vcpus_free=one.vcpus_free - claim.vcpus,
                memory_free_mib=one.memory_free_mib - claim.memory_mib,
                disk_free_gib=one.disk_free_gib
                - (claim.disk_gib if one.pool_id == choice.pool_id else 0),
            )
            for one in self.candidates[choice.host.pk]
        ]
        if claim.spread is not None:
            self.spread_on[claim.spread].add(choice.host.pk)


class _Outlook:
    """What is known of one server that is to move."""

    def __init__(self, around: Surroundings, server: Server) -> None:
        self.around = around
        self.server = server
        self.how = LIVE if server.power_seen == PowerSeen.RUNNING else OFFLINE
        self.claim = around.claims.get(server.uuid)
        self.image = server.image
        self.need = Need(0, 0, 0)
        if self.claim is not None:
            self.need = Need(
                self.claim.vcpus,
                self.claim.memory_mib,
                self.claim.disk_gib,
                tags_of(server.server_type.host_tags),
            )
        self._own = [*self._of_server(), *self._of_source()]

    def _of_server(self) -> list[Obstacle]:
        server = self.server
        found = []
        if server.lifecycle != Lifecycle.ACTIVE:
            found.append(Obstacle("not_in_use", f"It is {server.get_lifecycle_display()}."))
        other = self.around.open_actions.get(server.pk)
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
        best = max(
            self._pools_of(target),
            key=lambda one: (one.fits(self._need_in(one)), one.score()),
            default=None,
        )
        obstacles = [*self._own, *self._of_target(target, best)]
        if best is None:
            return Choice(target, None, obstacles)
        return Choice(target, best.pool_id, obstacles, best.points().total)

    def _is_shared(self, pool_id: int) -> bool:
        """Whether its disk lies there already."""
        there = self.around.pools[pool_id]
        return self.claim is not None and is_same_storage(self.claim.pool, there)

    def _need_in(self, pool: Candidate) -> Need:
        return replace(self.need, disk_gib=0) if self._is_shared(pool.pool_id) else self.need

    def _pools_of(self, target: Host) -> list[Candidate]:
        """The host's pools as this server would find them."""
        if self.claim is None:
            return []
        sha256 = self.image.sha256 if self.image is not None else ""
        apart = target.pk in self.around.spread_on[self.claim.spread]
        return [
            replace(
                one,
                has_image=(one.pool_id, sha256) in self.around.staged
                or self._is_shared(one.pool_id),
                closed=(*one.closed, APART) if apart else one.closed,
            )
            for one in self.around.candidates[target.pk]
        ]

    def _of_target(self, target: Host, best: Candidate | None) -> list[Obstacle]:
        if target.pk == self.server.host_id:
            return [Obstacle("same_host", f"It is on {target} already.")]
        if target.location_id != self.server.location_id:
            return [Obstacle("other_location", f"{target} is in another location.")]
        if best is None:
            return [Obstacle("no_pool", f"{target} has no storage pool for servers.")]
        need = self._need_in(best)
        found = [Obstacle("no_room", sentence) for sentence in best.refusals(need)]
        if self.server.host is not None:
            found += between_hosts(self.server.host, target, move_address(target))
        return [*found, *self._of_disks(target, best)]

    def _of_disks(self, target: Host, best: Candidate) -> list[Obstacle]:
        pool = self.around.pools[best.pool_id]
        if self.server.has_adopted_disk:
            sentence = "It was taken over with its disk, which stands on no image of the library."
            return [Obstacle("adopted_disk", f"{sentence} It can be moved once it is rebuilt.")]
        if self._is_shared(best.pool_id):
            return self._of_paths(target, pool, shared=True)
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
        return [*found, *self._of_paths(target, pool)]

    def _of_paths(self, target: Host, pool: StoragePool, *, shared: bool = False) -> list[Obstacle]:
        """A disk names the image that it stands on by its path."""
        here = self.claim.pool if self.claim is not None else pool
        if pool.path.rstrip("/") == here.path.rstrip("/"):
            return []
        where = f"Its pool lies in {here.path} here and in {pool.path} on {target}"
        if shared:
            said = f"{where}. Mount the storage that both see in the same place."
            return [Obstacle("other_path", said)]
        said = f"{where}; a disk that is carried names its image by its path. Move it running."
        return [Obstacle("other_path", said, stops_live=False)]
