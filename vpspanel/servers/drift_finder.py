"""Looking for differences, a few hosts at a time, for as long as the monitor runs."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.utils import timezone

from hosts.models import Host, HostStatus
from vpspanel.servers.drift import look_at_host, look_at_records
from vpspanel.servers.models_drift import Difference, DifferenceState

log = structlog.get_logger(__name__)

LOOK_EVERY = timedelta(minutes=10)
AGAIN_AFTER = timedelta(seconds=30)  # what was seen once is looked at again so soon
PER_ROUND = 20  # hosts; a round is a minute


class DriftFinder:
    """Remembers when each host was looked at last. A silent host is left out: nobody guesses."""

    def __init__(self) -> None:
        self._hosts: dict[int, datetime] = {}
        self._records: datetime | None = None

    def find_drift(self) -> int:
        """One round; how many hosts were looked at."""
        now = timezone.now()
        suspects: set[int | None] = set(
            Difference.objects.filter(
                state=DifferenceState.SUSPECTED, last_seen__lte=now - AGAIN_AFTER
            ).values_list("host_id", flat=True)
        )
        if self._records is None or self._records <= now - LOOK_EVERY or None in suspects:
            self._records = now
            look_at_records()
        looked = 0
        for host in self._due(now, suspects)[:PER_ROUND]:
            self._hosts[host.pk] = timezone.now()
            if look_at_host(host):
                looked += 1
            else:
                log.info("drift_host_silent", host=host.name)
        return looked

    def _due(self, now: datetime, suspects: set[int | None]) -> list[Host]:
        """Those with suspects first, then those that were looked at longest ago."""
        never = datetime.min.replace(tzinfo=now.tzinfo)
        hosts = [
            host
            for host in Host.objects.filter(status=HostStatus.REACHABLE).prefetch_related("pools")
            if host.pk in suspects or self._hosts.get(host.pk, never) <= now - LOOK_EVERY
        ]
        return sorted(
            hosts, key=lambda host: (host.pk not in suspects, self._hosts.get(host.pk, never))
        )
