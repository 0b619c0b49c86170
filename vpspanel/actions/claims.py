"""Who works on what: claims, leases and fenced writes.

A claim is one conditional UPDATE that raises `attempt`; from then on every
write says `WHERE attempt = mine`, and zero rows means that somebody else has
taken over. The lease is renewed while the work goes on, so only the actions of
a worker that died (or was stopped for longer than the lease) are taken over.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from vpspanel.actions.errors import Fenced
from vpspanel.actions.models import Action, ActionState, StepRecord

LEASE_SECONDS = 10.0
# No pause and no lease is as long as this. A time that lies further ahead was written before the
# clock was set back, and nothing waits for it.
FAR_AHEAD = timedelta(minutes=15)
_CLAIMING = 0x76707331  # tells our advisory locks from those of other programs
_turn = threading.RLock()


def _seconds() -> float:
    """A clock that nobody sets and that goes on while the machine sleeps, as other machines do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def _transaction() -> Iterator[None]:
    """A short transaction. On SQLite the threads of this process take turns.

    SQLite lets one write at a time, and whoever comes second sleeps and looks
    again, up to 100 ms each time: among eight threads that leaves the database
    idle for most of the time.
    """
    turn = _turn if connection.vendor == "sqlite" else contextlib.nullcontext()
    with turn, transaction.atomic():
        yield


@dataclass(slots=True, eq=False)
class Claim:
    """The right to work on one action, until the lease runs out. Equal to itself only."""

    action_id: int
    attempt: int
    lease_seconds: float
    taken_over: bool = False  # whoever had it before let its lease run out
    renewed: float = field(default_factory=_seconds)
    lost: threading.Event = field(default_factory=threading.Event)

    def ensure_mine(self) -> None:
        """Raise `Fenced` if the lease was lost or has run out without being renewed."""
        if self.lost.is_set() or _seconds() - self.renewed > self.lease_seconds:
            raise Fenced(f"action {self.action_id} attempt {self.attempt}")

    def rows(self) -> QuerySet[Action]:
        """The action's row, if it is still this claim's."""
        return Action.objects.filter(
            pk=self.action_id, attempt=self.attempt, state=ActionState.RUNNING
        )


def _due(now: datetime) -> QuerySet[Action]:
    far = now + FAR_AHEAD
    return Action.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=now) | Q(lease_until__gt=far),
        Q(run_after__lte=now) | Q(run_after__gt=far),
        state__in=(ActionState.QUEUED, ActionState.RUNNING),
    )


def _full_groups(now: datetime) -> list[str]:
    """Groups in which as many actions are worked on as the strictest of them lets be."""
    busy = (
        Action.objects.filter(
            state=ActionState.RUNNING, lease_until__gte=now, lease_until__lte=now + FAR_AHEAD
        )
        .exclude(group="")
        .order_by()
        .values_list("group")
        .annotate(busy=Count("pk"), limit=Min("group_limit"))
    )
    return [group for group, count, limit in busy if count >= limit]


def claim_next(worker: str, *, lease_seconds: float = LEASE_SECONDS) -> Claim | None:
    """Claim the action that has been due longest, or None if nothing is due.

    The look before the transaction keeps an idle worker from taking SQLite's
    write lock.
    """
    now = timezone.now()
    if not _due(now).exists():
        return None
    with _transaction():
        due = _due(now).exclude(group__in=_full_groups(now)).order_by("run_after", "pk")
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        found = due.values_list("pk", "attempt", "group", "lease_until").first()
        if found is None:
            return None
        pk, attempt, group, lease_until = found
        if group and not _has_room(group, now):
            return None
        claimed = (
            _due(now)
            .filter(pk=pk, attempt=attempt)
            .update(
                state=ActionState.RUNNING,
                attempt=attempt + 1,
                worker=worker,
                lease_until=now + timedelta(seconds=lease_seconds),
                started=Coalesce("started", now),
            )
        )
    if not claimed:
        return None
    return Claim(pk, attempt + 1, lease_seconds, taken_over=lease_until is not None)


def _has_room(group: str, now: datetime) -> bool:
    """Whether the group still has room when everybody else who claims in it has done so.

    PostgreSQL lets several claim at the same moment, and none sees what the
    others have not committed: so those who claim in one group take turns.
    """
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_CLAIMING, group])
    return group not in _full_groups(now)


def next_due() -> datetime | None:
    """When the next waiting action becomes due, if any waits."""
    return (
        Action.objects.filter(
            state__in=(ActionState.QUEUED, ActionState.RUNNING), run_after__gt=timezone.now()
        )
        .order_by("run_after")
        .values_list("run_after", flat=True)
        .first()
    )


def renew(claim: Claim) -> bool:
    """Extend the lease; False (and the claim is marked lost) if it is somebody else's now."""
    started = _seconds()
    until = timezone.now() + timedelta(seconds=claim.lease_seconds)
    with _transaction():
        # What was given back (to wait, say) has no lease, and gets none from a late heartbeat.
        renewed = claim.rows().filter(lease_until__isnull=False).update(lease_until=until)
    if renewed:
        claim.renewed = started
        return True
    claim.lost.set()
    return False


def save_progress(claim: Claim, percent: int, detail: str) -> None:
    """Show progress of the step in hand. Raises `Fenced`."""
    if not claim.rows().update(progress=min(99, percent), detail=detail[:200]):
        raise Fenced(f"action {claim.action_id}")


def write(
    claim: Claim,
    *,
    record: tuple[str, bool, datetime] | None = None,
    also: Callable[[], None] | None = None,
    **changes: Any,
) -> None:
    """One short transaction: change the action, record a step, do what goes with it.

    Raises `Fenced`, and then nothing is written.
    """
    with _transaction():
        if not claim.rows().update(**changes):
            raise Fenced(f"action {claim.action_id} attempt {claim.attempt}")
        if record is not None:
            name, undo, started = record
            StepRecord.objects.create(
                action_id=claim.action_id,
                name=name,
                undo=undo,
                attempt=claim.attempt,
                started=started,
                finished=timezone.now(),
            )
        if also is not None:
            also()
