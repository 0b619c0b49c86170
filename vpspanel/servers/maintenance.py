"""Planning work on a host, emptying it for that, and filling it again. Staff only.

A host is drained by ordinary moves, one action for each server; `draining.py`
conducts them. What runs goes on running; what cannot is shut down for its move
only if staff said so, and only once the window that customers were told of has
begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from hosts.models import Host
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.access import need_staff
from vpspanel.servers.models import NO_SECRETS, Lifecycle, Server
from vpspanel.servers.models_announcement import Announcement, Severity
from vpspanel.servers.models_maintenance import (
    OPEN,
    DepartureState,
    Maintenance,
    MaintenanceState,
)
from vpspanel.servers.moving import cancel_move
from vpspanel.servers.moving_facts import LIVE, OFFLINE, Obstacle
from vpspanel.servers.outlook import Surroundings

SHORTEST_REASON = 5
MOST_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Prospect:
    """How a server would leave: "live", "offline" or "" (not at all), to where, and why so."""

    server: Server
    how: str
    to: Host | None
    obstacles: Sequence[Obstacle]


def servers_on(host: Host) -> list[Server]:
    """Those that have to leave, large ones first: what is large finds room the hardest."""
    return list(
        Server.objects.filter(host=host)
        .exclude(lifecycle=Lifecycle.DELETED)
        .select_related("host", "location", "server_type", "image", "project__account")
        .defer(*NO_SECRETS)
        .order_by("-memory_mib", "pk")
    )


def prospects(host: Host) -> list[Prospect]:
    """How each server of the host would leave it, one after the other. Nine queries.

    The room that those before it take counts as taken.
    """
    servers = servers_on(host)
    around = Surroundings(host.location, servers)
    return [_prospect(around, server) for server in servers]


def _prospect(around: Surroundings, server: Server) -> Prospect:
    choices = around.choices(server)
    for how in (LIVE, OFFLINE):
        fitting = next((one for one in choices if one.fits(how)), None)
        if fitting is not None:
            around.hold(server, fitting)
            said = [one for one in fitting.obstacles if how == OFFLINE and one.stops_live]
            return Prospect(server, how, fitting.host, said)
    if not choices:
        nowhere = Obstacle("no_host", f"There is no other host in {server.location}.")
        return Prospect(server, "", None, [nowhere])
    nearest = min(choices, key=lambda one: sum(said.stops(OFFLINE) for said in one.obstacles))
    return Prospect(
        server, "", nearest.host, [one for one in nearest.obstacles if one.stops(OFFLINE)]
    )


# --- its life -------------------------------------------------------------------------


def plan_maintenance(
    actor: Actor,
    host: Host,
    *,
    reason: str,
    begins: datetime,
    ends: datetime,
    shuts_down: bool = False,
    bandwidth_mib: int = 0,
    at_once: int = 2,
    announce: bool = True,
) -> Maintenance:
    """The host is drained when the window begins, or when staff say so.

    With `announce`, customers of its servers read of the window on every page
    from now on. Raises `Refused`.
    """
    need_staff(actor)
    reason = reason.strip()
    if len(reason) < SHORTEST_REASON:
        raise Refused("invalid_input", "Say why, for example: new disks.", field="reason")
    if ends <= max(begins, timezone.now()):
        raise Refused("invalid_input", "The window must end after it begins.", field="ends")
    if not 1 <= at_once <= MOST_AT_ONCE:
        raise Refused("invalid_input", f"Choose 1 to {MOST_AT_ONCE}.", field="at_once")
    with transaction.atomic():
        _refuse_two_at_a_time(host, begins, ends)
        planned = Maintenance.objects.create(
            host=host,
            reason=reason,
            begins=begins,
            ends=ends,
            shuts_down=shuts_down,
            bandwidth_mib=bandwidth_mib,
            at_once=at_once,
            was_accepting=host.accepting,
            announcement=_announce(host, reason, begins, ends, shuts_down) if announce else None,
            created_by=actor.user,
        )
        _record(planned, actor, "planned", f"Maintenance planned: {reason}")
    return planned


def _refuse_two_at_a_time(host: Host, begins: datetime, ends: datetime) -> None:
    """Raises `Refused` if work on the host is planned for that time, such as by a double click."""
    Host.objects.select_for_update().get(pk=host.pk)
    others = Maintenance.objects.filter(host=host, state__in=(MaintenanceState.PLANNED, *OPEN))
    other = others.filter(begins__lt=ends, ends__gt=begins).first()
    if other is not None:
        sentence = f"Another maintenance of this host is {other.get_state_display()}"
        message = f"{sentence}, from {other.begins:%Y-%m-%d %H:%M}. Cancel or end it first."
        raise Refused("conflict", message, field="begins")


def drain(actor: Actor, host: Host, *, reason: str, ends: datetime, **options: Any) -> Maintenance:
    """Plan maintenance that begins now, and begin it: both, or neither. Raises `Refused`."""
    with transaction.atomic():
        planned = plan_maintenance(
            actor, host, reason=reason, begins=timezone.now(), ends=ends, **options
        )
        begin(actor, planned)
    return planned


def _announce(
    host: Host, reason: str, begins: datetime, ends: datetime, shuts_down: bool
) -> Announcement:
    window = f"{begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} {begins:%Z}"
    told = "Servers are moved to other machines while they run."
    if shuts_down:
        told += " One that cannot be is shut down for it within this time, and started again."
    return Announcement.objects.create(
        title=f"Planned maintenance, {window}",
        text=f"{reason}\n{told} This concerns servers of yours.",
        severity=Severity.WARNING,
        begins=timezone.now(),
        ends=ends,
        host=host,
    )


def begin(actor: Actor, maintenance: Maintenance) -> None:
    """The host takes no new servers, and those that it has begin to leave. Raises `Refused`."""
    need_staff(actor)
    try:
        with transaction.atomic():
            host = Host.objects.select_for_update().get(pk=maintenance.host_id)
            _change(
                maintenance,
                (MaintenanceState.PLANNED,),
                MaintenanceState.DRAINING,
                was_accepting=host.accepting,
            )
            Host.objects.filter(pk=host.pk).update(accepting=False)
            _record(maintenance, actor, "began", "Its servers begin to leave")
    except IntegrityError:
        raise Refused("conflict", "Another maintenance of this host is going on.") from None


def cancel(actor: Actor, maintenance: Maintenance) -> None:
    """One that has not begun does not take place. Raises `Refused`."""
    need_staff(actor)
    with transaction.atomic():
        _change(
            maintenance,
            (MaintenanceState.PLANNED,),
            MaintenanceState.CANCELLED,
            finished_at=timezone.now(),
        )
        _silence(maintenance)
        _record(maintenance, actor, "cancelled", "Maintenance cancelled")


def finish(actor: Actor, maintenance: Maintenance, *, restore: bool) -> None:
    """The work is done, or given up: the host takes servers again, if it did before.

    Moves that are going on are called off. With `restore` those that have left
    come back, as room allows. Raises `Refused`.
    """
    need_staff(actor)
    with transaction.atomic():
        _change(
            maintenance,
            (MaintenanceState.DRAINING, MaintenanceState.DRAINED),
            MaintenanceState.RESTORING if restore else MaintenanceState.ENDED,
            finished_at=timezone.now(),
        )
        if maintenance.was_accepting:
            Host.objects.filter(pk=maintenance.host_id).update(accepting=True)
        _silence(maintenance)
        if restore:
            waiting = maintenance.departures.exclude(state=DepartureState.MOVING)
            waiting.update(
                state=DepartureState.WAITING, tries=0, reason="", next_try=timezone.now()
            )
        _record(
            maintenance,
            actor,
            "finished",
            "Its servers come back" if restore else "Maintenance over; its servers stay away",
        )
    for departure in maintenance.departures.filter(state=DepartureState.MOVING).select_related(
        "server"
    ):
        with suppress(Refused):  # it has arrived
            cancel_move(actor, departure.server)


def try_again(actor: Actor, maintenance: Maintenance) -> int:
    """Let all that failed or wait be tried at once, with as many tries as at first."""
    need_staff(actor)
    left = maintenance.departures.filter(state__in=(DepartureState.FAILED, DepartureState.WAITING))
    return left.update(state=DepartureState.WAITING, tries=0, reason="", next_try=timezone.now())


def going_on(host: Host) -> Maintenance | None:
    """The maintenance of the host that has begun and is not over."""
    return Maintenance.objects.filter(host=host, state__in=OPEN).select_related("host").first()


def planned_for(host: Host) -> list[Maintenance]:
    """Those to come, the next one first."""
    rows = Maintenance.objects.filter(host=host, state=MaintenanceState.PLANNED)
    return list(rows.select_related("host").order_by("begins", "pk"))


def _change(
    maintenance: Maintenance,
    allowed: Sequence[MaintenanceState],
    state: MaintenanceState,
    **columns: object,
) -> None:
    """From one of the `allowed` states to the next. Raises `Refused` if it is in another."""
    rows = Maintenance.objects.filter(pk=maintenance.pk, state__in=allowed)
    if not rows.update(state=state, **columns):
        maintenance.refresh_from_db(fields=["state"])
        raise Refused("conflict", f"It is {maintenance.get_state_display()} already.")
    maintenance.refresh_from_db()


def _silence(maintenance: Maintenance) -> None:
    """Customers need not be told any more."""
    if maintenance.announcement_id is not None:
        Announcement.objects.filter(pk=maintenance.announcement_id).delete()


def _record(maintenance: Maintenance, actor: Actor, kind: str, message: str) -> None:
    record_event(
        f"host.maintenance_{kind}",
        message,
        resource=("host", maintenance.host_id),
        actor=actor,
        public=False,
        maintenance=maintenance.pk,
    )
