"""Leaving a host that is lost: its servers are restarted elsewhere, from shared storage or a copy.

Only after staff have confirmed that the host is fenced: that it cannot run
anything any more, because it has no power or no way to the storage. The panel
cannot know that, and two guests on one disk destroy it. Without the
confirmation, or while the host answers, nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from django.db import transaction

from hosts.errors import NoCapacity
from hosts.models import Host, HostStatus, Image, StoragePool
from hosts.placement import tags_of
from hosts.relocation import move_claim, places_beside
from vpspanel.actions import services as actions
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.restoring import copied_at, newest_copies, restore

SHORTEST_REASON = 5  # characters in which somebody can say how a host was fenced

LOCAL = (
    "Its disk lies on this host only, in the pool {pool}, and there is no snapshot of it to "
    "restart it from. It comes back with the host."
)
HAS_COPY = (
    "Its disk lies on this host only. It can be restarted from its newest snapshot, {copy}, if "
    "you choose so."
)
NOT_IN_USE = "It is being created or deleted. What that needs of the host has to be given up first."
BUSY = "Its action {command} is still open. Give it up in the list of actions, then evacuate again."
NO_ROOM = "No other host in {location} that sees this storage has room for it."
CHANGED = "It changed at the same moment. Evacuate again."


@dataclass(frozen=True, slots=True)
class Stays:
    """A server that cannot leave, and the sentence that says why."""

    server: Server
    reason: str


@dataclass(frozen=True, slots=True)
class Restored:
    """A server whose disk is lost, and the newest copy of it."""

    server: Server
    image: Image

    @property
    def copy(self) -> str:
        """The copy and its time, as people read it."""
        return copied_at(self.image)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an evacuation would do. `refusal` says why it may not happen at all, "" if it may.

    `moves` run on from shared storage, `restores` can be restarted from a copy.
    """

    host: Host
    moves: Sequence[Server]
    restores: Sequence[Restored]
    stays: Sequence[Stays]
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Evacuated:
    """What an evacuation has begun, and who stayed."""

    actions: Sequence[Action]
    stays: Sequence[Stays]


def plan(host: Host) -> Plan:
    """Who could leave the host, in four queries. Room for each is looked for when it leaves."""
    servers = list(
        Server.objects.filter(host=host)
        .exclude(lifecycle=Lifecycle.DELETED)
        .select_related("project__account", "server_type", "location")
        .order_by("name", "pk")
    )
    pools = {pool.name: pool for pool in host.pools.all()}
    opened = {
        action.resource_id: action
        for action in Action.objects.filter(
            resource_type="server",
            resource_id__in=[server.pk for server in servers],
            state__in=OPEN_STATES,
        )
    }
    copies = newest_copies(servers)
    moves: list[Server] = []
    restores: list[Restored] = []
    stays: list[Stays] = []
    for server in servers:
        pool, copy = pools.get(server.pool), copies.get(server.pk)
        is_shared = pool is not None and bool(pool.shared_id)
        reason = _why_it_stays(server, opened.get(server.pk))
        if not is_shared and copy is None:
            stays.append(Stays(server, LOCAL.format(pool=server.pool)))
        elif reason:
            stays.append(Stays(server, reason))
        elif is_shared:
            moves.append(server)
        elif copy is not None:
            restores.append(Restored(server, copy))
    return Plan(host, moves, restores, stays, _refusal(host))


def _why_it_stays(server: Server, action: Action | None) -> str:
    if server.lifecycle != Lifecycle.ACTIVE:
        return NOT_IN_USE
    if action is not None and not actions.gives_way(action):
        return BUSY.format(command=action.command)
    return ""


def _refusal(host: Host) -> str:
    if host.status == HostStatus.UNREACHABLE:
        return ""
    return f"{host} is {host.get_status_display()}. Only a host that does not answer is evacuated."


def evacuate(
    actor: Actor, host: Host, *, confirmed_name: str, fenced: str, from_copies: bool = False
) -> Evacuated:
    """Restart elsewhere what can be; may be repeated for those that stayed.

    `confirmed_name` is the host's name as staff typed it, `fenced` how it was
    fenced. Both are recorded. With `from_copies` also what lies on the host's
    own disks, from the newest copy of each: what was written since is not on
    it. Raises `Refused`; then nothing has moved.
    """
    how = fenced.strip()
    if confirmed_name.strip() != host.name:
        raise Refused(
            "invalid_input",
            f"Type the name of the host, {host.name}, to confirm that it is fenced.",
            field="confirmed_name",
        )
    if len(how) < SHORTEST_REASON:
        raise Refused(
            "invalid_input",
            "Say how the host was fenced, for example: power cut at PDU 3, outlet 7.",
            field="fenced",
        )
    _confirm(actor, host, how)
    found = plan(host)
    stays = list(found.stays)
    begins = [(server, partial(_leave, actor, server)) for server in found.moves]
    if from_copies:
        begins += [
            (one.server, partial(restore, actor, one.server, one.image)) for one in found.restores
        ]
    else:
        stays += [Stays(one.server, HAS_COPY.format(copy=one.copy)) for one in found.restores]
    begun: list[Action] = []
    for server, begin in begins:
        try:
            begun.append(begin())
        except Refused as refusal:
            stays.append(Stays(server, refusal.message))
    return Evacuated(begun, stays)


def _confirm(actor: Actor, host: Host, how: str) -> None:
    """Record the fencing of a host that does not answer; it takes no new servers from then on."""
    with transaction.atomic():
        lost = Host.objects.filter(pk=host.pk, status=HostStatus.UNREACHABLE)
        if not lost.update(accepting=False):
            host.refresh_from_db(fields=["status"])
            raise Refused("conflict", _refusal(host) or f"{host} has just changed.")
        record_event(
            "host.fenced",
            f"Confirmed to be fenced: {how}",
            resource=("host", host.pk),
            actor=actor,
            public=False,
            how=how,
        )


def _leave(actor: Actor, server: Server) -> Action:
    """Hold its room elsewhere and queue the restart there. Raises `Refused`."""
    for place in places_beside(server.uuid, tags_of(server.server_type.host_tags)):
        target = StoragePool.objects.select_related("host").get(pk=place.pool_id)
        try:
            with transaction.atomic():
                return _leave_for(actor, server, target)
        except NoCapacity:
            continue
    raise Refused("resource_unavailable", NO_ROOM.format(location=server.location))


def _leave_for(actor: Actor, server: Server, target: StoragePool) -> Action:
    source = StoragePool.objects.get(host=server.host_id, name=server.pool)
    action = actions.submit(
        "evacuate",
        resource=("server", server.pk),
        actor=actor,
        args={"source_pool": source.pk, "target_pool": target.pk, "source": server.host_id},
        project_id=server.project_id,
        group=str(target.host_id),
        group_limit=target.host.action_limit,
    )
    as_read = Server.objects.filter(
        pk=server.pk, host=server.host_id, pool=server.pool, lifecycle=Lifecycle.ACTIVE
    )
    if not as_read.update(lifecycle=Lifecycle.ACTIVE):
        raise Refused("conflict", CHANGED)
    move_claim(server.uuid, target)
    record_event(
        "server.evacuate",
        "Its host failed; the server is restarted on another one",
        resource=("server", server.pk),
        project_id=server.project_id,
        action_id=action.pk,
        actor=actor,
    )
    return action
