"""Suspension: of a server, and what that of an account means for its servers.

Nothing but the suspension itself is written down when it begins and ends: what
is wanted of the server stays. `stop_suspended` stops whatever is suspended and
runs, however that came about, and `restarts.py` starts again what should be on.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from hosts.models import HostStatus
from vpspanel.accounts import suspension
from vpspanel.accounts.models import Account, Suspender
from vpspanel.accounts.suspension import LIFTS, YIELDS, already, clean_reason
from vpspanel.actions import services as actions
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.services import Happening, record_event, record_events
from vpspanel.servers.access import get_server
from vpspanel.servers.models import Lifecycle, PowerSeen, Server
from vpspanel.servers.restarts import plan_after_suspension
from vpspanel.servers.services import on_host_of

log = structlog.get_logger(__name__)

COMMAND = "suspend"
AT_ONCE = 200  # servers that one round stops
FEW = 20  # that a request stops itself: the rest is for the next round
AGAIN_AFTER = timedelta(minutes=5)  # what could not be stopped is not tried again at once
LIVING = (Lifecycle.CREATING, Lifecycle.ACTIVE)


def suspend_server(actor: Actor, server_id: int, *, reason: str) -> Server:
    """Stop it and let nobody use it until the suspension is lifted; everything is kept.

    Its customer reads the reason. Raises `NotFound` for strangers, and `Refused`.
    """
    server = get_server(actor, server_id)
    suspender, reason = _suspender_of(actor, server), clean_reason(reason)
    with transaction.atomic():
        rows = Server.objects.filter(pk=server.pk, lifecycle__in=LIVING)
        fresh = Q(suspended_at=None) | Q(suspender__in=YIELDS[suspender])
        if not rows.filter(fresh).update(
            suspended_at=Coalesce("suspended_at", timezone.now()),
            suspended_reason=reason,
            suspender=suspender,
            suspended_by=actor.user,
        ):
            raise already() if rows.exists() else Refused("conflict", "It is being deleted.")
        _say(actor, server, "server.suspended", f"Suspended: {reason}")
        for running in _running(Server.objects.filter(pk=server.pk)):
            _stop(running)
    return get_server(actor, server_id)


def unsuspend_server(actor: Actor, server_id: int) -> Server:
    """Lift its suspension, and start it again if it should be on.

    Raises `NotFound` for strangers, and `Refused`.
    """
    server = get_server(actor, server_id)
    suspender = _suspender_of(actor, server)
    is_suspended = server.suspended_at is not None
    suspension.refuse_to_lift(suspender, server.suspender, is_suspended=is_suspended)
    with transaction.atomic():
        rows = Server.objects.filter(pk=server.pk, suspender__in=LIFTS[suspender])
        if not rows.filter(suspended_at=server.suspended_at).update(
            suspended_at=None, suspended_reason="", suspender="", suspended_by=None
        ):
            raise Refused("conflict", "The server changed at the same moment. Please try again.")
        _say(actor, server, "server.unsuspended", "No longer suspended")
        _start_again(Server.objects.filter(pk=server.pk))
    return get_server(actor, server_id)


@transaction.atomic
def suspend_account(actor: Actor, account_id: int, *, reason: str) -> Account:
    """Suspend an account, all below it, and so all their servers.

    Raises `NotFound` for strangers, and `Refused`.
    """
    reached = suspension.suspend(actor, account_id, reason=reason)
    servers = _only_with_account(reached)
    _tell_each(actor, servers, "server.suspended", "Suspended with its account")
    transaction.on_commit(partial(stop_suspended, FEW), robust=True)
    return Account.objects.get(pk=account_id)


@transaction.atomic
def unsuspend_account(actor: Actor, account_id: int) -> Account:
    """Lift that again, and start the servers that should be on.

    Raises `NotFound` for strangers, and `Refused`.
    """
    servers = _only_with_account(suspension.unsuspend(actor, account_id))
    _tell_each(actor, servers, "server.unsuspended", "No longer suspended with its account")
    _start_again(servers)
    return Account.objects.get(pk=account_id)


def stop_suspended(at_once: int = AT_ONCE) -> int:
    """Stop what is suspended and runs; how many stops were queued. Safe in several processes."""
    suspended = [Server.objects.filter(suspended_at__isnull=False)]
    accounts = Account.objects.filter(suspended_at__isnull=False)
    # By their numbers: mostly there are none, and then nothing has to be joined.
    if account_ids := list(accounts.values_list("pk", flat=True)):
        suspended.append(Server.objects.filter(project__account__in=account_ids))
    stopped = sum(_stop(server) for some in suspended for server in _running(some)[:at_once])
    if stopped:
        log.info("suspended_servers_stopped", count=stopped)
    return stopped


def _running(servers: QuerySet[Server]) -> QuerySet[Server]:
    """Those that are not off, to which nothing is being done, on hosts that answer."""
    mine = Action.objects.filter(resource_type="server", resource_id=OuterRef("pk"))
    lately = timezone.now() - AGAIN_AFTER
    failed = mine.filter(command=COMMAND, state=ActionState.ERROR, finished__gte=lately)
    return (
        servers.filter(
            ~Exists(mine.filter(state__in=OPEN_STATES)),
            ~Exists(failed),
            lifecycle=Lifecycle.ACTIVE,
            power_seen__in=(PowerSeen.RUNNING, PowerSeen.PAUSED),
        )
        .exclude(host__status=HostStatus.UNREACHABLE)
        .select_related("host", "project__account")
        .order_by("pk")
    )


def _stop(server: Server) -> bool:
    """Queue its stop, unless something else is done to it, or the suspension was lifted."""
    with suppress(Refused), transaction.atomic():
        actions.submit(
            COMMAND,
            resource=("server", server.pk),
            actor=SYSTEM,
            project_id=server.project_id,
            **on_host_of(server),
        )
        rows = Server.objects.filter(pk=server.pk, lifecycle=Lifecycle.ACTIVE)
        with_account = Q(project__account__suspended_at__isnull=False)
        if rows.filter(Q(suspended_at__isnull=False) | with_account).exists():
            return True
        raise Refused("conflict", "It is not suspended any more.")
    return False


def _start_again(servers: QuerySet[Server]) -> None:
    """Call off the stops that have not begun, and plan the starts."""
    waiting = Action.objects.filter(
        command=COMMAND,
        resource_type="server",
        resource_id__in=servers.values("pk"),
        state=ActionState.QUEUED,
        attempt=0,
    )
    for action in waiting:
        with suppress(Refused):  # it has just begun
            actions.cancel(action, actor=SYSTEM)
    plan_after_suspension(servers)


def _suspender_of(actor: Actor, server: Server) -> Suspender:
    """As whom the actor may suspend a server that it sees. Raises `Refused` for customers."""
    try:
        return suspension.suspender_of(actor, server.project.account_id, itself=True)
    except Refused:
        message = "Only the staff or a reseller may suspend a server."
        raise Refused("forbidden", message) from None


def _only_with_account(account_ids: Sequence[int]) -> QuerySet[Server]:
    """The servers of those accounts that are not suspended themselves."""
    return Server.objects.filter(
        project__account__in=account_ids, lifecycle__in=LIVING, suspended_at=None
    )


def _tell_each(actor: Actor, servers: QuerySet[Server], kind: str, message: str) -> None:
    """An event for each server: customers read it, and their pages look again."""
    rows = servers.values_list("pk", "project_id")
    happened = [Happening(message, ("server", pk), project_id) for pk, project_id in rows]
    record_events(kind, happened, actor=actor)


def _say(actor: Actor, server: Server, kind: str, message: str) -> None:
    record_event(
        kind,
        message,
        resource=("server", server.pk),
        project_id=server.project_id,
        actor=actor,
    )
