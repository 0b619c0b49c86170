"""After the boot of a host, or a suspension, the servers that should be on are started again.

Some at a time per host, each at most five times with growing pauses. What does
not start then is shown to staff; after eight hours its tries are forgotten.
A server whose guest powered itself off is wanted off (rule R4 of
`reconcile.py`) and stays off: unless it went off in the last minutes before
the boot. An orderly boot of a host begins by shutting its guests down, and the
monitor hears that as their own doing.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from hosts.models import HostStatus
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.models import Event
from vpspanel.events.services import record_event, ring_live
from vpspanel.servers.models import Lifecycle, PowerSeen, PowerWanted, Restart, Server
from vpspanel.servers.services import start_again

log = structlog.get_logger(__name__)

ORDERLY = timedelta(minutes=6)  # what an orderly shutdown of a host and its guests may take
# After each try: how long until the next. After the last one it is given up.
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (2, 5, 15, 60, 5))
FORGOTTEN_AFTER = timedelta(hours=8)
NOT_NOW = timedelta(seconds=10)  # something else is being done to it
AT_ONCE = 200  # rows that one round looks at
CHUNK = 500
SETTLED_AFTER = timedelta(seconds=3)


def plan_restarts(host_id: int, last_up: datetime, at: datetime) -> int:
    """Write down which servers of the host are to be started, and tell of it; how many there are.

    `last_up` is when the host was last known to be up before it booted.
    """
    with transaction.atomic():
        _forget_shutdowns(host_id, last_up - ORDERLY)
        servers = _should_be_on().filter(host_id=host_id).exclude(power_seen=PowerSeen.MISSING)
        wanted = list(servers.values_list("pk", "project_id", "power_seen"))
        Restart.objects.bulk_create(
            [Restart(server_id=pk, host_id=host_id, since=at, next_try=at) for pk, _, _ in wanted],
            batch_size=CHUNK,
            ignore_conflicts=True,  # one that still waits keeps its tries
        )
        Event.objects.bulk_create(
            [_told(pk, project_id) for pk, project_id, seen in wanted if seen != PowerSeen.RUNNING],
            batch_size=CHUNK,
        )
        record_event(
            "host.booted",
            f"The host has booted; {len(wanted)} of its servers should be on",
            resource=("host", host_id),
            public=False,
            last_up=last_up.isoformat(),
        )
        transaction.on_commit(ring_live, robust=True)
    return len(wanted)


def plan_after_suspension(servers: QuerySet[Server]) -> int:
    """Write down which of the servers are to be started, as far as they should be on now.

    Those that run already are forgotten again by `start_due`. To be called in the transaction
    that lifts the suspension.
    """
    now = timezone.now()
    wanted = servers.filter(pk__in=_should_be_on().values("pk"), host__isnull=False)
    rows = [
        Restart(server_id=pk, host_id=host_id, after_suspension=True, since=now, next_try=now)
        for pk, host_id in wanted.exclude(power_seen=PowerSeen.MISSING).values_list("pk", "host_id")
    ]
    Restart.objects.bulk_create(rows, batch_size=CHUNK, ignore_conflicts=True)
    return len(rows)


def _should_be_on() -> QuerySet[Server]:
    return Server.objects.filter(
        lifecycle=Lifecycle.ACTIVE,
        power_wanted=PowerWanted.ON,
        suspended_at=None,
        project__account__suspended_at=None,
    )


def _forget_shutdowns(host_id: int, since: datetime) -> None:
    """Servers that went off with the host are wanted on again. Nobody asked for it in the panel."""
    by_itself = Event.objects.filter(
        kind="server.powered_off",
        resource_type="server",
        resource_id=OuterRef("pk"),
        at__gte=since,
    )
    asked = Action.objects.filter(
        resource_type="server",
        resource_id=OuterRef("pk"),
        command__in=("shutdown", "power_off"),
        created__gte=since,
    )
    Server.objects.filter(
        Exists(by_itself),
        ~Exists(asked),
        host_id=host_id,
        lifecycle=Lifecycle.ACTIVE,
        power_wanted=PowerWanted.OFF,
        power_seen=PowerSeen.OFF,
    ).update(power_wanted=PowerWanted.ON)


def _told(server_id: int, project_id: int) -> Event:
    return Event(
        kind="server.host_booted",
        message="Its host booted; the server is started again",
        resource_type="server",
        resource_id=server_id,
        project_id=project_id,
        actor_name="system",
    )


def start_due(now: datetime | None = None) -> int:
    """Start what may be started now; how many starts were queued. Safe in several processes."""
    if not Restart.objects.exists():
        return 0
    now = now or timezone.now()
    _drop_settled()
    Restart.objects.filter(given_up=True, next_try__lt=now - FORGOTTEN_AFTER).update(
        given_up=False, tries=0
    )
    rows = Restart.objects.filter(given_up=False).exclude(host__status=HostStatus.UNREACHABLE)
    # What is parked waits for staff and keeps nobody else from being started.
    going_on = rows.filter(Exists(_actions(ActionState.QUEUED, ActionState.RUNNING)))
    at_once = Counter(going_on.values_list("host_id", flat=True))
    full = [host for host, count in at_once.items() if count >= settings.RESTARTS_PER_HOST]
    due = rows.filter(~Exists(_actions(*OPEN_STATES)), next_try__lte=now).exclude(host__in=full)
    queued = 0
    for row in due.order_by("next_try", "pk")[:AT_ONCE]:
        if row.tries >= len(PAUSES):
            _give_up(row)
        elif at_once[row.host_id] < settings.RESTARTS_PER_HOST and _start(row, now):
            at_once[row.host_id] += 1
            queued += 1
    return queued


def _actions(*states: ActionState) -> QuerySet[Action]:
    return Action.objects.filter(
        resource_type="server", resource_id=OuterRef("server_id"), state__in=states
    )


def _drop_settled() -> None:
    """Forget those that run, or that nobody wants to run there any more.

    Right after its boot a host may list guests as running that it has not looked at yet. One that
    is still being stopped for a suspension that was lifted meanwhile is started afterwards.
    """
    since = OuterRef("since")
    surely = Q(booted_at__gte=since) | Q(seen_at__gt=since + SETTLED_AFTER)
    off = _should_be_on().exclude(Q(power_seen=PowerSeen.RUNNING) & surely)
    needed = off.exclude(power_seen=PowerSeen.MISSING).filter(
        pk=OuterRef("server_id"), host_id=OuterRef("host_id")
    )
    stopping = _actions(*OPEN_STATES).filter(command="suspend")
    Restart.objects.filter(~Exists(needed), ~Exists(stopping)).delete()


def _start(row: Restart, now: datetime) -> bool:
    """Queue a start and count it; one that is refused is looked at again, and does not count."""
    as_read = Restart.objects.filter(pk=row.pk, tries=row.tries, next_try=row.next_try)
    try:
        with transaction.atomic():
            if not as_read.update(tries=F("tries") + 1, next_try=now + PAUSES[row.tries]):
                return False
            start_again(row.server_id, said=f" {_after_what(row)}")
    except Refused as refusal:
        as_read.update(next_try=now + NOT_NOW)
        log.info("restart_put_off", server=row.server_id, reason=refusal.message)
        return False
    return True


def _give_up(row: Restart) -> None:
    with transaction.atomic():
        if Restart.objects.filter(pk=row.pk, tries=row.tries, given_up=False).update(given_up=True):
            record_event(
                "server.restart_given_up",
                f"It did not start {_after_what(row)}, in {row.tries} tries",
                resource=("server", row.server_id),
                public=False,
            )


def _after_what(row: Restart) -> str:
    return "after its suspension" if row.after_suspension else "after the boot of its host"


def try_again(restarts: QuerySet[Restart]) -> int:
    """Let the chosen ones begin anew at once; how many there were."""
    return restarts.update(given_up=False, tries=0, next_try=timezone.now())
