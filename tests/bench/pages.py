"""Pages with a thousand servers on SQLite, and the order itself, beside an empty view."""

from __future__ import annotations

import time

from django.db import connection, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from hosts.models import Family, IPPool
from tests.bench.figures import Figure, compared
from tests.bench.urls import EMPTY
from tests.pages.test_list import many
from tests.world import World, make_world

SERVERS = 1000
ROUNDS = 15
ORDERS = 20
PART = f"Pages with {SERVERS:,} servers, SQLite, in process"
QUERY_BUDGET = 12


def measure() -> list[Figure]:
    """All figures of pages, and of the service behind the order form."""
    world = make_world()
    # The thousand servers have the first networks.
    IPPool.objects.filter(family=Family.V6).update(next_index=2000, last_index=3000)
    server = world.running("looked-at")
    figures = _service(world)
    many(world, SERVERS)
    if world.alice.user is None:
        raise AssertionError("Alice is nobody")
    with override_settings(ROOT_URLCONF="tests.bench.urls"):
        alice = Client(SERVER_NAME="localhost")
        alice.force_login(world.alice.user)
        figures += _page(alice, "list of servers", reverse("servers:list"), 150, QUERY_BUDGET)
        figures += _page(alice, "page of a server", reverse("servers:show", args=[server.pk]))
        figures += _page(alice, "order form", reverse("servers:order"))
    return figures


def _page(
    client: Client,
    what: str,
    address: str,
    target: float | None = None,
    budget: int | None = None,
) -> list[Figure]:
    """Milliseconds, processor milliseconds and queries of one page."""
    client.get(address)
    client.get(EMPTY)
    walls, cpus, empty_walls, empty_cpus = [], [], [], []
    for _ in range(ROUNDS):
        wall, cpu = _get(client, address)
        empty_wall, empty_cpu = _get(client, EMPTY)
        walls.append(wall)
        cpus.append(cpu)
        empty_walls.append(empty_wall)
        empty_cpus.append(empty_cpu)
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    peer = "an empty view, signed in"
    return [
        compared(PART, what, "ms", walls, empty_walls, peer, target=target),
        compared(PART, f"{what}, processor time", "ms", cpus, empty_cpus, peer),
        Figure(PART, f"{what}, queries", len(queries), "", target=budget),
    ]


def _get(client: Client, address: str) -> tuple[float, float]:
    """Milliseconds by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    response = client.get(address)
    took = (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000
    if response.status_code != 200:
        raise AssertionError(f"{address}: {response.status_code}")
    return took


def _service(world: World) -> list[Figure]:
    """`order_server`, committed, beside a transaction of one INSERT and one UPDATE."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bench_bare (id INTEGER PRIMARY KEY, n INTEGER)")
    calls, bare = [], []
    for number in range(ORDERS):
        started = time.perf_counter()
        world.order(f"bench-{number}")
        calls.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO bench_bare (id, n) VALUES (%s, 0)", [number])
            cursor.execute("UPDATE bench_bare SET n = 1 WHERE id = %s", [number])
        bare.append((time.perf_counter() - started) * 1000)
    peer = "a bare INSERT+UPDATE transaction"
    return [compared(PART, "service call order_server", "ms", calls, bare, peer)]
