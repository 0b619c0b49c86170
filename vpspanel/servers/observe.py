"""Writing down what the hosts show, and waking whoever waits for it.

Decisions are made in `reconcile.py`. Everything written here is conditional on
the row still being as it was when the decision was made: a worker that knows
better wins, and the next list repairs what was left out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from hosts.models import Host, HostStatus
from hosts.monitor import StatusChange
from hosts.monitor_hold import POWER_AFTER
from hosts.virt.errors import CallTimeout, HostUnreachable
from hosts.virt.spec import DomainEvent, DomainSeen, EventKind, Power
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.actions.services import nudge, resume_group
from vpspanel.events.models import Event
from vpspanel.events.services import record_event, ring_live
from vpspanel.servers.models import Lifecycle, PowerSeen, Server
from vpspanel.servers.reconcile import (
    MISSING_AFTER,
    Cause,
    Correction,
    Row,
    Sighting,
    Verdict,
    reconcile,
)
from vpspanel.servers.restarts import plan_restarts
from vpspanel.servers.stale import note_copies

log = structlog.get_logger(__name__)

BUILDING = frozenset({"create", "adopt", "rebuild", "delete"})
FRESH = timedelta(seconds=5)  # an unchanged sighting is not written again within
CHUNK = 500  # ids in one statement
LOOK_AGAIN = 10.5  # seconds after which a list can confirm that a guest is missing

CAUSES = {
    EventKind.STARTED: Cause.STARTED,
    EventKind.REBOOTED: Cause.REBOOTED,
    EventKind.STOPPED: Cause.STOPPED,
    EventKind.CRASHED: Cause.CRASHED,
    EventKind.PAUSED: Cause.PAUSED,
    EventKind.RESUMED: Cause.RESUMED,
}
IGNORED_DETAILS = ("migrated",)  # the guest lives on, on another host


class Observer:
    """The monitor's sink. Safe from several threads: each host has its own."""

    def __init__(self) -> None:
        self._missed: dict[int, Mapping[UUID, datetime]] = {}
        self._without_copies: set[int] = set()
        self._lock = threading.Lock()

    def on_list(
        self, host_id: int, seen: list[DomainSeen], at: datetime, *, gap: bool
    ) -> float | None:
        """Correct every server of the host. Two queries if nothing has changed."""
        cause = Cause.GAP if gap else Cause.LIST
        rows = load_rows(host_id, at)
        verdict = reconcile(
            rows,
            [Sighting(d.uuid, d.power, at, cause, ours=d.ours) for d in seen],
            at,
            complete=True,
            missed=self._missed.get(host_id),
        )
        with self._lock:
            self._missed[host_id] = verdict.missed
        apply(verdict, at)
        _resume(host_id, was_away=gap)
        self._look_for_copies(host_id, rows, seen, at)
        return _look_again_in(verdict.missed.values(), at)

    def _look_for_copies(
        self, host_id: int, rows: Sequence[Row], seen: Sequence[DomainSeen], at: datetime
    ) -> None:
        """Guests of ours that are not recorded here. Nothing is asked while there are none."""
        known = {row.uuid for row in rows}
        strangers = [domain for domain in seen if domain.ours and domain.uuid not in known]
        if not strangers and host_id in self._without_copies:
            return
        copies = note_copies(host_id, strangers, at)
        with self._lock:
            if copies:
                self._without_copies.discard(host_id)
            else:
                self._without_copies.add(host_id)

    def on_event(self, host_id: int, event: DomainEvent) -> None:
        """Correct the one server that it is about; foreign guests are nobody's."""
        if event.uuid is None:
            return
        rows = load_rows(host_id, event.at, uuid=event.uuid)
        if not rows:
            return
        if event.kind is EventKind.IO_ERROR:
            tell_io_error(rows[0], event)
        elif event.kind in CAUSES and event.detail not in IGNORED_DETAILS:
            apply(reconcile(rows, [sighting_of(event, event.uuid)], event.at, complete=False))
        if rows[0].busy:
            nudge(("server", rows[0].id))

    def on_hint(self, host_id: int, event: DomainEvent) -> None:
        """An action that waits for this guest to stop looks now, not when the stop is believed."""
        if event.uuid is None:
            return
        servers = Server.objects.filter(host_id=host_id, uuid=event.uuid)
        for pk in servers.values_list("pk", flat=True):
            nudge(("server", pk))

    def on_boot(self, host_id: int, last_up: datetime, at: datetime) -> None:
        """Its servers that should be on are started again, some at a time."""
        plan_restarts(host_id, last_up, at)

    def on_status(self, host_id: int, change: StatusChange, *, changed: bool) -> None:
        """Tell of the host, let what waited for it go on, and poke the pages of its servers."""
        if change.status != HostStatus.UNREACHABLE:
            _resume(host_id, was_away=change.before in (None, HostStatus.UNREACHABLE))
        if not changed and not change.alarm:
            return
        with transaction.atomic():
            record_event(
                "host.alarm" if change.alarm else f"host.{change.status.value}",
                ": ".join(filter(None, (f"The host is {change.status.label}", change.reason))),
                resource=("host", host_id),
                public=False,
            )
            was_unreachable = change.before in (None, HostStatus.UNREACHABLE)
            if change.status == HostStatus.UNREACHABLE:
                keep_ages(host_id)
            if was_unreachable or change.status == HostStatus.UNREACHABLE:
                poke_servers(host_id, change.status)


def _look_again_in(missed_since: Iterable[datetime], at: datetime) -> float | None:
    """Seconds until a list can confirm the first of them.

    Asked at each list: one that comes in between must not put that off.
    """
    waited = [(at - since).total_seconds() for since in missed_since if at - since < MISSING_AFTER]
    return LOOK_AGAIN - max(waited) if waited else None


def _resume(host_id: int, *, was_away: bool) -> None:
    """Let go on what was parked because the host was silent.

    Calls that timed out may have met a single frozen guest: what they parked
    is tried again only after the host itself was away.
    """
    resume_group(str(host_id), HostUnreachable.code)
    if was_away:
        resume_group(str(host_id), CallTimeout.code)


def sighting_of(event: DomainEvent, uuid: UUID) -> Sighting:
    """The event as a sighting of one guest."""
    power = POWER_AFTER.get(event.kind, Power.UNKNOWN)
    return Sighting(uuid, power, event.at, CAUSES[event.kind], detail=event.detail)


def load_rows(host_id: int, at: datetime, *, uuid: UUID | None = None) -> list[Row]:
    """What is known of the host's servers, or of one of them. Two queries."""
    servers = Server.objects.filter(host_id=host_id).exclude(lifecycle=Lifecycle.DELETED)
    if uuid is not None:
        servers = servers.filter(uuid=uuid)
    rows = list(
        servers.order_by("pk").values(
            "id",
            "uuid",
            "project_id",
            "lifecycle",
            "power_wanted",
            "power_seen",
            "seen_at",
            "booted_at",
        )
    )
    commands = _commands_at(at, [row["id"] for row in rows] if uuid is not None else None)
    return [_row(row, commands.get(row["id"])) for row in rows]


def _row(values: Mapping[str, Any], command: str | None) -> Row:
    return Row(**values, busy=command is not None, building=command in BUILDING)


def _commands_at(at: datetime, server_ids: Sequence[int] | None) -> dict[int, str]:
    """The command of each server that is open, or was still open at `at`."""
    actions = Action.objects.filter(
        Q(state__in=OPEN_STATES) | Q(finished__gte=at), resource_type="server"
    )
    if server_ids is not None:
        actions = actions.filter(resource_id__in=server_ids)
    return dict(actions.order_by("pk").values_list("resource_id", "command"))


def apply(verdict: Verdict, at: datetime | None = None) -> int:
    """Carry the verdict out; how many corrections were still right. `at`: when all was seen."""
    done = 0
    for correction in verdict.corrections:
        if _correct(correction):
            done += 1
            if correction.row.busy:
                nudge(("server", correction.row.id))
    if at is not None:
        _refresh(verdict.unchanged, at)
    return done


def _correct(correction: Correction) -> bool:
    """One compare-and-set, with its event; False if the row is no longer what was judged."""
    row = correction.row
    changes: dict[str, Any] = {}
    if correction.power_seen is not None or correction.power_wanted is not None:
        changes["seen_at"] = correction.at
    if correction.power_seen is not None:
        changes["power_seen"] = correction.power_seen
    if correction.power_wanted is not None:
        changes["power_wanted"] = correction.power_wanted
    if correction.booted_at is not None:
        changes["booted_at"] = correction.booted_at
    with transaction.atomic():
        if not _still(correction).update(**changes):
            return False
        record_event(
            correction.kind,
            correction.message,
            resource=("server", row.id),
            project_id=row.project_id,
            public=correction.public,
            power=str(correction.power_seen or row.power_seen),
        )
    log.debug("server_corrected", server=row.id, kind=correction.kind, public=correction.public)
    return True


def _still(correction: Correction) -> QuerySet[Server]:
    """The row, if it is as it was judged; if wanted changes, only without an open action."""
    row = correction.row
    rows = Server.objects.filter(
        pk=row.id, power_seen=row.power_seen, power_wanted=row.power_wanted
    ).exclude(lifecycle=Lifecycle.DELETED)
    if correction.power_seen is not None:
        rows = rows.filter(Q(seen_at__isnull=True) | Q(seen_at__lte=correction.at))
    if correction.power_wanted is not None:
        opened = Action.objects.filter(
            resource_type="server", resource_id=OuterRef("pk"), state__in=OPEN_STATES
        )
        rows = rows.filter(~Exists(opened))
    return rows


def _refresh(rows: Sequence[Row], at: datetime) -> None:
    """Those who are as known were seen at `at`: one statement for up to `CHUNK` of them."""
    old = [row.id for row in rows if row.seen_at is None or row.seen_at <= at - FRESH]
    for start in range(0, len(old), CHUNK):
        Server.objects.filter(pk__in=old[start : start + CHUNK]).filter(
            Q(seen_at__isnull=True) | Q(seen_at__lt=at)
        ).update(seen_at=at)


def tell_io_error(row: Row, event: DomainEvent) -> None:
    """The guest's disk failed; if the host pauses it for that, a PAUSED follows."""
    with transaction.atomic():
        record_event(
            "server.io_error",
            "The disk of the server reported an error",
            resource=("server", row.id),
            project_id=row.project_id,
            detail=event.detail,
        )


def keep_ages(host_id: int) -> None:
    """While a host answers, what is known of its servers is as fresh as its last answer.

    Written down when it stops answering, so that from then on their age grows.
    """
    last = Host.objects.filter(pk=host_id).values_list("seen_at", flat=True).first()
    if last is None:
        return
    Server.objects.filter(host_id=host_id, lifecycle=Lifecycle.ACTIVE, seen_at__lt=last).exclude(
        power_seen=PowerSeen.UNKNOWN
    ).update(seen_at=last)


def poke_servers(host_id: int, status: HostStatus) -> None:
    """One event for each server of the host, so that its open pages are drawn again."""
    lost = status == HostStatus.UNREACHABLE
    message = "Its host does not answer" if lost else "Its host answers again"
    servers = Server.objects.filter(host_id=host_id).exclude(lifecycle=Lifecycle.DELETED)
    Event.objects.bulk_create(
        [
            Event(
                kind="server.host_unreachable" if lost else "server.host_reachable",
                message=message,
                resource_type="server",
                resource_id=pk,
                project_id=project_id,
                actor_name="system",
                public=False,
            )
            for pk, project_id in servers.values_list("pk", "project_id")
        ],
        batch_size=CHUNK,
    )
    transaction.on_commit(ring_live, robust=True)
