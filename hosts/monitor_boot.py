"""Whether a host has booted since it was last seen.

libvirt tells no time of boot, but its CPU counters begin anew with one. They
are kept with the host, so that a monitor that boots together with it sees it too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction

from hosts.models import Host
from hosts.virt.spec import HostLoad

SHRUNK = 0.9  # idle time may count back a little without a boot
STOLEN = 0.5  # the most of its time that a virtual machine is thought to lose to others
NS = 1_000_000_000
MOST_NS = 2**63 - 1  # what a column holds: 128 CPUs reach it in 2.3 years


def note_boot(host_id: int, load: HostLoad, at: datetime, tell: Callable[[datetime], None]) -> bool:
    """Keep the counters; True if the host has booted since they were last kept.

    Then `tell` is called with that time, inside the transaction that keeps
    them: of several monitors one tells, and what it writes is never lost.
    """
    if load.cpu_busy_ns is None or load.cpu_idle_ns is None:
        return False
    total = min(load.cpu_busy_ns + load.cpu_idle_ns, MOST_NS)
    known = Host.objects.filter(pk=host_id).values_list("cpus", "cpu_time_ns", "cpu_time_at")
    cpus, before, since = known.first() or (0, None, None)
    with transaction.atomic():
        kept = Host.objects.filter(pk=host_id, cpu_time_ns=before, cpu_time_at=since)
        if not kept.update(cpu_time_ns=total, cpu_time_at=at) or before is None or since is None:
            return False
        if not has_begun_anew(before, total, cpus=cpus, passed=at - since):
            return False
        Host.objects.filter(pk=host_id).update(booted_at=boot_time(total, cpus, since, at))
        tell(since)
    return True


def has_begun_anew(before: int, now: int, *, cpus: int, passed: timedelta) -> bool:
    """Whether the CPU time, summed over all CPUs in ns, was counted from zero in between.

    It has shrunk, or it has not grown as it had to while the time passed.
    """
    due = before + int(passed.total_seconds() * NS) * cpus
    return now < before * SHRUNK or now < due * STOLEN


def boot_time(total: int, cpus: int, since: datetime, at: datetime) -> datetime:
    """When it booted, as far as the counters tell: after `since` in any case."""
    return max(since, at - timedelta(seconds=total / NS / max(1, cpus)))
