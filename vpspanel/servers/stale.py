"""Copies of servers on hosts that the servers have left: a lost host brings them back with it.

They are found by the monitor in the full list of a host, and never started by
the panel. One that runs is forced off only if the server was evacuated from
that very host, because then staff confirmed that it runs nothing: anything
else would be a guess about which of the two is the right one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from hosts.models import Host
from hosts.virt.spec import DomainSeen, Power
from vpspanel.actions import services as actions
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.services import record_event
from vpspanel.servers.models import Lifecycle, Server, StaleCopy

log = structlog.get_logger(__name__)

OF_LOSS = ("evacuate", "restore")  # only from a host that is said to run nothing any more
MOVES = (*OF_LOSS, "migrate")  # the commands after which a server lives on another host
STOPPED = (Power.OFF, Power.CRASHED)


def stale_copies(host: Host | None = None) -> QuerySet[StaleCopy]:
    """What is known of them, of one host or of all; with server and host. One query."""
    copies = StaleCopy.objects.select_related("server__host", "host")
    return copies if host is None else copies.filter(host=host)


def note_copies(host_id: int, strangers: Sequence[DomainSeen], at: datetime) -> int:
    """Write down which of the guests of ours, not recorded on this host, are stale copies.

    `strangers` is complete as of `at`: other copies are gone. Returns how many there are.
    """
    known = StaleCopy.objects.filter(host_id=host_id)
    if not strangers and not known.exists():
        return 0
    found = {domain.uuid: domain for domain in strangers}
    servers = list(_living_elsewhere(host_id, at).filter(uuid__in=list(found)))
    evacuated = _evacuated_from(host_id, servers)
    before = dict(known.values_list("server_id", "power"))
    known.exclude(server__in=servers).delete()
    for server in servers:
        domain = found[server.uuid]
        _note(host_id, server, domain, at, server.pk in evacuated, before.get(server.pk))
    return len(servers)


def _living_elsewhere(host_id: int, at: datetime) -> QuerySet[Server]:
    """Servers of other hosts to which nothing is being done, or was when the list was taken."""
    touched = Action.objects.filter(
        Q(state__in=OPEN_STATES) | Q(finished__gte=at),
        resource_type="server",
        resource_id=OuterRef("pk"),
    )
    servers = Server.objects.filter(~Exists(touched), host__isnull=False)
    return servers.exclude(lifecycle=Lifecycle.DELETED).exclude(host_id=host_id)


def _evacuated_from(host_id: int, servers: Iterable[Server]) -> set[int]:
    """Those whose last move was an evacuation from this host."""
    moves = Action.objects.filter(
        command__in=MOVES,
        state=ActionState.SUCCESS,
        resource_type="server",
        resource_id__in=[server.pk for server in servers],
    ).order_by("pk")
    last = {move.resource_id: move for move in moves}
    return {
        pk
        for pk, move in last.items()
        if move.command in OF_LOSS and move.args.get("source") == host_id
    }


def _note(
    host_id: int,
    server: Server,
    domain: DomainSeen,
    at: datetime,
    evacuated: bool,
    before: str | None,
) -> None:
    runs = domain.power not in STOPPED
    with transaction.atomic():
        copy, _ = StaleCopy.objects.update_or_create(
            server=server,
            host_id=host_id,
            defaults={"power": domain.power.value, "evacuated": evacuated, "seen_at": at},
        )
        if before is None or (runs and before in STOPPED):
            _tell(copy, server, runs=runs)
        if runs and evacuated:
            _force_off(copy)


def _tell(copy: StaleCopy, server: Server, *, runs: bool) -> None:
    state = "runs" if runs else "lies"
    record_event(
        "host.alarm" if runs else "host.stale_copy",
        f"A stale copy of server {server.pk} ({server.name}) {state} here; it lives on another "
        "host" + (", and this one was said to be fenced" if runs and copy.evacuated else ""),
        resource=("host", copy.host_id),
        public=False,
        server=server.pk,
    )


def _force_off(copy: StaleCopy) -> None:
    try:
        _submit("stop_stale_copy", copy, SYSTEM)
    except Refused:
        log.info("stale_copy_busy", copy=copy.pk)  # it is being stopped or cleaned up


def _submit(command: str, copy: StaleCopy, actor: Actor) -> Action:
    return actions.submit(
        command,
        resource=("stale_copy", copy.pk),
        actor=actor,
        group=str(copy.host_id),
        group_limit=copy.host.action_limit,
    )


def why_not_stale(copy: StaleCopy) -> str:
    """The sentence that says why it must not be touched now; "" if it is surely a stale copy."""
    server = copy.server
    if server.lifecycle == Lifecycle.DELETED or server.host_id in (None, copy.host_id):
        return "Its server does not live on another host."
    if actions.open_action("server", server.pk) is not None:
        return "Something is being done to its server. Please try again when that has ended."
    return ""


def clean_up(actor: Actor, copy: StaleCopy) -> Action:
    """Remove the copy from its host: definition, filter and what lies on the host's own disks.

    Storage that the live server uses is left alone. Raises `Refused`.
    """
    sentence = why_not_stale(copy)
    if not sentence and copy.power not in STOPPED and not copy.evacuated:
        sentence = (
            f"It runs on {copy.host}, and was not evacuated from there. Make sure which of the "
            "two is the right one, and stop this one on its host first."
        )
    if sentence:
        raise Refused("conflict", sentence)
    with transaction.atomic():
        action = _submit("clean_up_stale_copy", copy, actor)
        record_event(
            "host.clean_up",
            f"The stale copy of server {copy.server_id} is being removed",
            resource=("host", copy.host_id),
            action_id=action.pk,
            actor=actor,
            public=False,
            server=copy.server_id,
        )
    return action


def storage_in_use(copy: StaleCopy) -> set[int]:
    """The pools of the copy's host that the live server may use: all that are or were shared."""
    last = (
        Action.objects.filter(
            command="evacuate",
            state=ActionState.SUCCESS,
            resource_type="server",
            resource_id=copy.server_id,
        )
        .order_by("-pk")
        .first()
    )
    kept = set(copy.host.pools.exclude(shared_id="").values_list("pk", flat=True))
    return kept | ({last.args["source_pool"], last.args["target_pool"]} if last else set())
