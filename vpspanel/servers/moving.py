"""Moving a server to another host: what stands in the way, and the one transaction that begins it.

Staff only. Pages ask no host: obstacles are what the records know, and what
only the hosts know is found by the first step of the action, before anything
has changed.
"""

from __future__ import annotations

from uuid import uuid4

from django.db import transaction
from django.db.models import QuerySet

from hosts.errors import NoCapacity
from hosts.models import Host, StoragePool
from hosts.moving import hold_beside, is_same_storage
from vpspanel.actions import services as actions
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.access import get_server, need_staff
from vpspanel.servers.models import Lifecycle, PowerSeen, Server
from vpspanel.servers.moving_facts import LIVE, OFFLINE, Obstacle
from vpspanel.servers.outlook import Choice, Surroundings

HOW = ("auto", LIVE, OFFLINE)


def moving_obstacles(server: Server, target: Host) -> list[Obstacle]:
    """What stands in the way of moving it there, as far as the records know. Seven queries."""
    return list(Surroundings(server.location, [server]).choice(server, target).obstacles)


def moving_choices(server: Server) -> list[Choice]:
    """Every other host of its location, those that fit best first. Seven queries."""
    return Surroundings(server.location, [server]).choices(server)


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
    around = Surroundings(server.location, [server])
    choices = [around.choice(server, to)] if to is not None else around.choices(server)
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
    here = StoragePool.objects.get(host=source, name=server.pool)
    there = StoragePool.objects.get(pk=choice.pool_id)
    ends = {
        "source": source.pk,
        "source_pool": here.pk,
        "target": choice.host.pk,
        "target_pool": there.pk,
        "shared": is_same_storage(here, there),
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
