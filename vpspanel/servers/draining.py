"""Conducting the moves of hosts that are drained, or filled again.

Looked at every few seconds; what is told here is in the rows, so that it goes
on wherever a process stopped, and several may be at it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.events.services import record_event
from vpspanel.servers import maintenance as service
from vpspanel.servers.models import Lifecycle, PowerSeen, Server
from vpspanel.servers.models_maintenance import (
    CONDUCTED,
    Departure,
    DepartureState,
    Maintenance,
    MaintenanceState,
)
from vpspanel.servers.moving import move_server
from vpspanel.servers.moving_facts import OFFLINE

log = structlog.get_logger(__name__)

TRIES = 3
AFTER_FAILURE = timedelta(minutes=2)  # times the number of tries
LOOK_AGAIN = timedelta(seconds=20)  # at one that something stands in the way of
TRIED_AT_ONCE = 20  # servers of a host in one round; those that are refused come last in the next
CHUNK = 500


def conduct_due(now: datetime | None = None) -> int:
    """Begin what is due, and go on with what has begun; how many moves were begun."""
    now = now or timezone.now()
    for missed in Maintenance.objects.filter(state=MaintenanceState.PLANNED, ends__lte=now):
        with suppress(Refused):  # somebody was quicker
            service.cancel(SYSTEM, missed)
    due = Maintenance.objects.filter(state=MaintenanceState.PLANNED, begins__lte=now)
    for planned in due.select_related("host"):
        try:
            service.begin(SYSTEM, planned)
        except Refused as refusal:  # another one of the host is going on
            log.info("maintenance_put_off", maintenance=planned.pk, reason=refusal.message)
    conducted = Maintenance.objects.filter(state__in=CONDUCTED).select_related("host")
    return sum(_conduct_alone(one, now) for one in conducted)


def _conduct_alone(maintenance: Maintenance, now: datetime) -> int:
    """What is wrong with one host holds up no other."""
    try:
        return _conduct(maintenance, now)
    except Exception:
        log.exception("maintenance_not_conducted", maintenance=maintenance.pk)
        return 0


def _conduct(maintenance: Maintenance, now: datetime) -> int:
    if maintenance.state == MaintenanceState.DRAINING:
        _note_all(maintenance, now)
    _settle(maintenance, now)
    begun = _begin_moves(maintenance, now)
    _end(maintenance, now)
    return begun


def _here(maintenance: Maintenance) -> QuerySet[Server]:
    """The servers that are on the host."""
    return Server.objects.filter(host=maintenance.host_id).exclude(lifecycle=Lifecycle.DELETED)


def _note_all(maintenance: Maintenance, now: datetime) -> None:
    """A row for each server that is there, also for one that was still being built."""
    noted = maintenance.departures.values("server_id")
    missing = _here(maintenance).exclude(pk__in=noted).values_list("pk", flat=True)
    Departure.objects.bulk_create(
        [Departure(maintenance=maintenance, server_id=pk, next_try=now) for pk in missing],
        batch_size=CHUNK,
        ignore_conflicts=True,
    )
    back = maintenance.departures.filter(
        state=DepartureState.DONE, server__host=maintenance.host_id
    )
    back.update(state=DepartureState.WAITING, next_try=now)  # somebody has moved it here again


def _settle(maintenance: Maintenance, now: datetime) -> None:
    """Whoever is where it should be has moved, however it came there; whose move failed waits."""
    maintenance.departures.filter(server__lifecycle=Lifecycle.DELETED).delete()
    there = Q(server__host=maintenance.host_id)
    if maintenance.state == MaintenanceState.DRAINING:
        there = ~there
    rows = maintenance.departures.exclude(state=DepartureState.DONE)
    rows.filter(there).exclude(action__state__in=OPEN_STATES).update(
        state=DepartureState.DONE, reason=""
    )
    ended = rows.filter(state=DepartureState.MOVING).exclude(action__state__in=OPEN_STATES)
    for row in ended.select_related("action"):
        _take_back(row, now)


def _take_back(row: Departure, now: datetime) -> None:
    """It has not arrived: it is tried again, or not any more."""
    action, tries = row.action, row.tries + 1
    called_off = action is not None and action.error_code == "cancelled"
    said = action.error_message if action is not None else ""
    as_read = Departure.objects.filter(pk=row.pk, state=DepartureState.MOVING, tries=row.tries)
    as_read.update(
        state=DepartureState.FAILED if called_off or tries >= TRIES else DepartureState.WAITING,
        reason=said[:300],
        tries=tries,
        next_try=now + AFTER_FAILURE * tries,
    )


def _begin_moves(maintenance: Maintenance, now: datetime) -> int:
    going_on = maintenance.departures.filter(
        state=DepartureState.MOVING, action__state__in=(ActionState.QUEUED, ActionState.RUNNING)
    ).count()
    due = maintenance.departures.filter(state=DepartureState.WAITING, next_try__lte=now)
    begun = 0
    order = ("next_try", "-server__memory_mib", "pk")
    for row in due.select_related("server").order_by(*order)[:TRIED_AT_ONCE]:
        if going_on + begun >= maintenance.at_once:
            break
        begun += _begin_move(maintenance, row, now)
    return begun


def _begin_move(maintenance: Maintenance, row: Departure, now: datetime) -> bool:
    as_read = Departure.objects.filter(
        pk=row.pk, state=DepartureState.WAITING, next_try=row.next_try, tries=row.tries
    )
    try:
        with transaction.atomic():
            if not as_read.update(state=DepartureState.MOVING, reason=""):
                return False
            Departure.objects.filter(pk=row.pk).update(action=_move(maintenance, row.server, now))
    except Refused as refusal:
        as_read.update(reason=refusal.message[:300], next_try=now + LOOK_AGAIN)
        return False
    return True


def _move(maintenance: Maintenance, server: Server, now: datetime) -> Action:
    """Running if that can be; else off, if customers were told so. Raises `Refused`."""
    to = maintenance.host if maintenance.state == MaintenanceState.RESTORING else None
    bandwidth = maintenance.bandwidth_mib or None
    try:
        return move_server(SYSTEM, server, to, bandwidth_mib=bandwidth)
    except Refused:
        in_window = maintenance.begins <= now < maintenance.ends
        runs = server.power_seen == PowerSeen.RUNNING
        if not (maintenance.shuts_down and in_window and runs):
            raise
    return move_server(SYSTEM, server, to, how=OFFLINE, bandwidth_mib=bandwidth)


def _end(maintenance: Maintenance, now: datetime) -> None:
    """The host is empty, or filled again as far as that can be."""
    open_rows = maintenance.departures.filter(
        state__in=(DepartureState.WAITING, DepartureState.MOVING)
    )
    if open_rows.exists():
        return
    if maintenance.state == MaintenanceState.RESTORING:
        failed = maintenance.departures.filter(state=DepartureState.FAILED).count()
        said = f"; {failed} did not come back" if failed else ""
        _next(maintenance, MaintenanceState.ENDED, "restored", f"Its servers are back{said}")
    elif not _here(maintenance).exists():
        _next(
            maintenance,
            MaintenanceState.DRAINED,
            "drained",
            "No server is left on it",
            drained_at=now,
        )


def _next(
    maintenance: Maintenance, state: MaintenanceState, kind: str, message: str, **columns: datetime
) -> None:
    as_read = Maintenance.objects.filter(pk=maintenance.pk, state=maintenance.state)
    with transaction.atomic():
        if as_read.update(state=state, **columns):
            record_event(
                f"host.{kind}",
                message,
                resource=("host", maintenance.host_id),
                public=False,
                maintenance=maintenance.pk,
            )
