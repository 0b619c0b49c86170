"""Placement in a large fleet: choosing a host and claiming room on it, many orders at once."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any
from uuid import uuid4

from django.db import connection, connections, transaction
from django.db.models import F, Sum

from hosts.errors import NoCapacity
from hosts.models import CapacityClaim, Host, HostStatus, Location, StoragePool
from hosts.placement import Need
from hosts.services import claim_capacity
from hosts.taking import STATEMENT, values_for
from tests.bench.figures import Figure, percentile

HOSTS, SERVERS = 1000, 100_000
ORDERS, TIMES = 16, 30
TARGET_MS = 20.0
NEED = Need(1, 1024, 10)
MIB_OF_HOST = 256 * 1024


def measure(database: str) -> list[Figure]:
    """Times of a choice with its claim, `ORDERS` at the same moment, and what was sold in all."""
    location = make_fleet(HOSTS, SERVERS)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    alone = [_order(location) for _ in range(TIMES)]
    # Processes, as web workers are: threads of one would wait for each other's Python.
    together, bare = _together(location, _order), _together(location, _bare_order)
    part = f"Placement, {database}, {HOSTS:,} hosts, {SERVERS:,} servers"
    return [
        Figure(part, "choose and claim, one order, p95", percentile(alone, 95) * 1000, "ms"),
        Figure(
            part,
            f"choose and claim, {ORDERS} orders at once, p50",
            percentile(together, 50) * 1000,
            "ms",
        ),
        Figure(
            part,
            f"choose and claim, {ORDERS} orders at once, p95",
            percentile(together, 95) * 1000,
            "ms",
            peer="its statement alone",
            peer_value=percentile(bare, 95) * 1000,
            ratio=percentile(together, 95) / percentile(bare, 95),
            target=TARGET_MS,
        ),
        Figure(part, "hosts sold beyond their limit", oversold(), "", target=0),
    ]


def make_fleet(hosts: int, servers: int, *, limit_mib: int = MIB_OF_HOST) -> Location:
    """A location with that many simulated hosts and claims, spread unevenly but repeatably."""
    location = Location.objects.create(name=f"bench-{uuid4().hex[:8]}")
    Host.objects.bulk_create(
        Host(
            name=f"kvm{number}-{location.pk}",
            location=location,
            uri=f"fake:///bench{number}-{location.pk}",
            status=HostStatus.REACHABLE,
            vcpus_limit=1024,
            memory_limit_mib=limit_mib,
        )
        for number in range(hosts)
    )
    ours = list(Host.objects.filter(location=location).order_by("pk"))
    StoragePool.objects.bulk_create(
        StoragePool(host=host, name="p", path="/p", limit_gib=10_000) for host in ours
    )
    pools = dict(StoragePool.objects.filter(host__location=location).values_list("host_id", "pk"))
    CapacityClaim.objects.bulk_create(
        (
            CapacityClaim(
                owner=uuid4(),
                host=host,
                pool_id=pools[host.pk],
                vcpus=1,
                memory_mib=1024,
                disk_gib=10,
            )
            for host in (ours[_uneven(number, hosts)] for number in range(servers))
        ),
        batch_size=2000,
    )
    _count(location)
    return location


def _uneven(number: int, hosts: int) -> int:
    """Every third server on one of the first half: some hosts are fuller than others."""
    return number % (max(1, hosts // 2) if number % 3 == 0 else hosts)


def _count(location: Location) -> None:
    """Set the counters to the sums of the claims."""
    claims = CapacityClaim.objects.filter(host__location=location).order_by()
    for row in claims.values("host_id").annotate(
        cpus=Sum("vcpus"), memory=Sum("memory_mib"), disk=Sum("disk_gib")
    ):
        Host.objects.filter(pk=row["host_id"]).update(
            vcpus_used=row["cpus"], memory_used_mib=row["memory"]
        )
        StoragePool.objects.filter(host_id=row["host_id"]).update(used_gib=row["disk"])


def oversold() -> int:
    """How many hosts' claims are more than may be sold, or other than their counters say."""
    summed = Host.objects.annotate(sold=Sum("claims__memory_mib", default=0))
    wrong = summed.exclude(sold=F("memory_used_mib")).count()
    return wrong + summed.filter(memory_used_mib__gt=F("memory_limit_mib"), sold__gt=0).count()


def _order(location: Location) -> float:
    """Seconds that the choice with its claim took."""
    started = time.perf_counter()
    with transaction.atomic():
        claim_capacity(uuid4(), NEED, location=location)
    return time.perf_counter() - started


def _bare_order(location: Location) -> float:
    """The same statement for the same order, without a model."""
    values = values_for(uuid4(), NEED, location, None, None)
    started = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(STATEMENT, values)
        assert cursor.fetchone()
    return time.perf_counter() - started


def _together(location: Location, order: Callable[[Location], float]) -> list[float]:
    """The times of `ORDERS` processes that order at the same moment, again and again."""
    connections.close_all()
    if hasattr(connection, "close_pool"):
        connection.close_pool()
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(ORDERS), context.SimpleQueue()
    processes = [
        context.Process(target=_buyer, args=(location, order, barrier, results))
        for _ in range(ORDERS)
    ]
    for process in processes:
        process.start()
    times = [second for _ in processes for second in results.get()]
    for process in processes:
        process.join()
    return times


def _buyer(
    location: Location, order: Callable[[Location], float], barrier: Barrier, results: Any
) -> None:
    """One web worker: an order each time that all are ready."""
    times = []
    try:
        order(location)  # opens the connection
        for _ in range(TIMES):
            barrier.wait(60)
            times.append(order(location))
    except NoCapacity:
        barrier.abort()
    finally:
        results.put(times)
        connections.close_all()
