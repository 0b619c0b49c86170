"""What an audit looks at: what lies on the hosts, and the records that matter for it.

A host is looked at first and the records after it; what an action has touched
since then is left out, because both may be right at their own moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from hosts.models import Host, StoragePool
from hosts.virt.driver import Driver
from hosts.virt.errors import VirtError
from hosts.virt.registry import driver_for
from hosts.virt.spec import DefinitionSeen, DomainSeen, VolumeSeen
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.servers.audit_findings import Finding, Level
from vpspanel.servers.models import Lifecycle, Server

OURS = "vps-"
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Look:
    """What lay on one host. `volumes` by pool; `unseen` says why a pool is not among them."""

    host: Host
    driver: Driver
    began: datetime
    domains: Sequence[DomainSeen] = ()
    volumes: dict[str, list[VolumeSeen]] = field(default_factory=dict)
    filters: Sequence[str] = ()
    serial_logs: Sequence[UUID] = ()
    unseen: dict[str, str] = field(default_factory=dict)
    definitions: dict[UUID, DefinitionSeen] = field(default_factory=dict)

    def uuids(self) -> set[UUID]:
        """Every UUID that something on the host carries."""
        found = {domain.uuid for domain in self.domains}
        volumes = [volume.name for listed in self.volumes.values() for volume in listed]
        names = [*self.filters, *volumes]
        found |= set(self.serial_logs)
        return found | {uuid for name in names if (uuid := uuid_in(name)) is not None}


@dataclass(frozen=True, slots=True)
class Records:
    """The servers that matter for what was seen, and those that an action has just touched."""

    servers: dict[UUID, Server]
    busy: set[int]
    shared: dict[tuple[int, str], str] = field(default_factory=dict)  # by host and pool

    def is_adopted(self, host: Host, pool: str, name: str) -> bool:
        """Whether a live server was taken over with that volume as its disk."""
        return any(
            server.adopted_disk == name
            and server.lifecycle != Lifecycle.DELETED
            and (
                (server.host_id, server.pool) == (host.pk, pool)
                or self.are_the_same(host, pool, server)
            )
            for server in self.servers.values()
        )

    def is_busy(self, uuid: UUID) -> bool:
        """Whether something is being done to its server."""
        server = self.servers.get(uuid)
        return server is not None and server.pk in self.busy

    def settled(self, uuid: UUID) -> Server | None:
        """The server, unless something is being done to it."""
        return None if self.is_busy(uuid) else self.servers.get(uuid)

    def are_the_same(self, host: Host, pool: str, server: Server) -> bool:
        """Whether that pool is the storage that the server is on, seen from another host."""
        here = self.shared.get((host.pk, pool))
        return here is not None and here == self.shared.get((server.host_id or 0, server.pool))


def uuid_in(name: str) -> UUID | None:
    """The UUID in a name that we gave: `vps-UUID…`."""
    if not name.startswith(OURS):
        return None
    try:
        return UUID(name[len(OURS) : len(OURS) + 36])
    except ValueError:
        return None


def look_at(host: Host, now: datetime) -> Look | Finding:
    """Ask the host for everything; the finding that it does not answer, if it does not."""
    try:
        driver = driver_for(host.uri)
        domains, filters, logs = driver.domains(), driver.filters(), driver.serial_logs()
    except (VirtError, ValueError) as error:
        return _silent(host, error)
    volumes: dict[str, list[VolumeSeen]] = {}
    unseen: dict[str, str] = {}
    for pool in host.pools.all():
        try:
            volumes[pool.name] = driver.volumes(pool.name)
        except VirtError as error:
            unseen[pool.name] = str(error)
    try:  # after the pools: a file is found in a pool that has just been looked at
        definitions = {one.uuid: one for one in driver.definitions()}
    except VirtError as error:
        return _silent(host, error)
    return Look(host, driver, now, domains, volumes, filters, logs, unseen, definitions)


def _silent(host: Host, error: Exception) -> Finding:
    message = f"It did not answer: {error}"
    return Finding(Level.UNSEEN, "host_unseen", host_subject(host), message)


def host_subject(host: Host, pool: str = "") -> str:
    """How findings name a host, or one of its pools."""
    return f"pool {host.name}/{pool}" if pool else f"host {host.name}"


def load_records(looks: Sequence[Look]) -> Records:
    """The servers of those hosts, and of every UUID found there."""
    servers: dict[UUID, Server] = {}
    host_ids = [look.host.pk for look in looks]
    for server in Server.objects.filter(host__in=host_ids).exclude(lifecycle=Lifecycle.DELETED):
        servers[server.uuid] = server
    wanted = [uuid for look in looks for uuid in look.uuids() if uuid not in servers]
    for start in range(0, len(wanted), CHUNK):
        for server in Server.objects.filter(uuid__in=wanted[start : start + CHUNK]):
            servers[server.uuid] = server
    began = min((look.began for look in looks), default=None)
    touched = Q(state__in=OPEN_STATES)
    if began is not None:
        touched |= Q(finished__gte=began)
    actions = Action.objects.filter(touched, resource_type__in=("server", "seed"))
    pools = StoragePool.objects.exclude(shared_id="").values_list("host_id", "name", "shared_id")
    shared = {(host_id, name): shared_id for host_id, name, shared_id in pools}
    return Records(servers, set(actions.values_list("resource_id", flat=True)), shared)
