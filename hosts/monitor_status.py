"""Writing down whether a host answers: only what has changed, and by conditional update."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hosts.models import Host, HostStatus
from hosts.virt.driver import Driver
from hosts.virt.errors import WrongHost


@dataclass(frozen=True, slots=True)
class StatusChange:
    """What is now known of a host. `reason` is a sentence for staff, "" if all is well."""

    status: HostStatus
    reason: str
    at: datetime
    before: HostStatus | None = None  # as this monitor knew it; None: it has just begun
    alarm: bool = False  # somebody else answers in the host's place


def record_status(host_id: int, change: StatusChange) -> bool:
    """True if the host's status is another one than before; since when is written with it.

    A new reason for the same status is written as well, but is no change.
    """
    rows = Host.objects.filter(pk=host_id)
    reason = change.reason[:500]
    if rows.exclude(status=change.status).update(
        status=change.status, status_since=change.at, status_reason=reason
    ):
        return True
    rows.exclude(status_reason=reason).update(status_reason=reason)
    return False


def refuse_other_machine(host_id: int, driver: Driver) -> None:
    """Raises `WrongHost` if the machine that answers is not the one that was enrolled."""
    known = Host.objects.filter(pk=host_id).values_list("host_uuid", flat=True).first()
    if known is None:
        return
    seen = driver.probe().uuid
    if seen != known:
        raise WrongHost(f"Another machine answers: its host UUID is {seen}, enrolled is {known}.")


def record_seen(host_id: int, at: datetime) -> None:
    """The host answered at that time."""
    Host.objects.filter(pk=host_id).update(seen_at=at)
