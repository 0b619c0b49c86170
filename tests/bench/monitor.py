"""The monitor in a large fleet: a minute's samples and full lists of all hosts, and one call for
all counters.
"""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import libvirt
from django.db import connection
from django.utils import timezone

from hosts.models import Host
from hosts.models_fleet import GuestSample
from hosts.monitor_figures import Meter
from hosts.virt import stats
from hosts.virt.spec import DomainSeen, DomainStats, HostLoad, Power
from tests.bench.figures import Figure, compared
from tests.bench.fleet import fill
from tests.bench.placement import make_fleet
from vpspanel.servers.models import Server
from vpspanel.servers.observe import Observer

HOSTS, GUESTS_OF_HOST = 1000, 100
CYCLE_SECONDS = 60.0
TEST_GUESTS, ROUNDS = 1000, 5
DOMAIN = (
    "<domain type='test'><name>g{}</name><memory>65536</memory><os><type>hvm</type></os></domain>"
)


class Told:
    """A host that answers at once: what is measured is the monitor's own work."""

    def __init__(self) -> None:
        self._guests = [uuid4() for _ in range(GUESTS_OF_HOST)]
        self._looks = 0

    @property
    def guests(self) -> list[UUID]:
        """All of them are ours."""
        return self._guests

    def load(self) -> HostLoad:
        """Counters that grow with each look."""
        self._looks += 1
        return HostLoad(self._looks * 10**9, self._looks * 10**10, 65536, 32768)

    def stats(self) -> list[DomainStats]:
        """The same for the guests."""
        n = self._looks
        return [
            DomainStats(uuid, Power.RUNNING, n * 10**9, n, 64, *([n * 1000] * 8))
            for uuid in self._guests
        ]


def measure(database: str) -> list[Figure]:
    """The samples of one minute, written, and libvirt's counters all at once or one by one."""
    part = f"Monitor, {database}"
    return [_cycle(part), _lists(part), _one_call(part)]


def _cycle(part: str) -> Figure:
    location = make_fleet(HOSTS, 0)
    meters: list[tuple[Meter, Any]] = []
    for pk in Host.objects.filter(location=location).values_list("pk", flat=True):
        meter, host = Meter(pk), Told()
        meter.ours = set(host.guests)
        meters.append((meter, host))
    now = timezone.now()
    for meter, host in meters:
        meter.read(host, now)
    started = time.perf_counter()
    for meter, host in meters:
        meter.read(host, now + timedelta(seconds=60))
    took = time.perf_counter() - started
    assert GuestSample.objects.count() == HOSTS * GUESTS_OF_HOST
    connection.close()
    what = f"a minute's samples of {HOSTS:,} hosts and {HOSTS * GUESTS_OF_HOST:,} guests, written"
    return Figure(part, what, took, "s", target=CYCLE_SECONDS)


def _lists(part: str) -> Figure:
    """What each host shows is compared with its records, and the sighting written down."""
    fill()
    seen: dict[int, list[DomainSeen]] = defaultdict(list)
    rows = Server.objects.exclude(host=None).values_list("host_id", "uuid", "power_seen")
    for host_id, uuid, power in rows.iterator():
        seen[host_id].append(DomainSeen(uuid, f"vps-{uuid}", Power(power), ours=True))
    observer, at = Observer(), timezone.now()
    started = time.perf_counter()
    for host_id, domains in seen.items():
        observer.on_list(host_id, domains, at, gap=False)
    took = time.perf_counter() - started
    assert not Server.objects.exclude(host=None).exclude(seen_at=at).exists()
    what = f"full lists of {len(seen):,} hosts, {sum(map(len, seen.values())):,} guests, compared"
    return Figure(part, what, took, "s", target=CYCLE_SECONDS)


def _one_call(part: str) -> Figure:
    host = libvirt.open("test:///default")
    for number in range(TEST_GUESTS):
        host.defineXML(DOMAIN.format(number)).create()
    domains = host.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
    at_once, one_by_one = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        host.getAllDomainStats(stats.GROUPS, flags)
        at_once.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        for domain in domains:
            host.domainListGetStats([domain], stats.GROUPS, flags)
        one_by_one.append((time.perf_counter() - started) * 1000)
    host.close()
    return compared(
        part,
        f"counters of {TEST_GUESTS:,} guests in one call, libvirt's test driver",
        "ms",
        at_once,
        one_by_one,
        "one by one",
    )
