"""The staff's fleet page with a thousand hosts and a hundred thousand servers."""

from __future__ import annotations

import time

from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hosts.figures import MINUTE, beginning
from hosts.models import CapacityClaim, Host
from hosts.models_fleet import HostSample
from tests.bench.figures import Figure, percentile
from tests.bench.placement import HOSTS, SERVERS, make_fleet
from tests.world import make_world
from vpspanel.accounts.models import User
from vpspanel.actions.models import Action, ActionState
from vpspanel.servers.fleet import SORTS
from vpspanel.servers.models import Lifecycle, PowerSeen, Server

ROUNDS = 10
TARGET_MS = 300.0
OPEN_ACTIONS = 2000


def measure(database: str) -> list[Figure]:
    """How long a page of the fleet takes in each order, and how many queries it needs."""
    fill()
    User.objects.create_superuser("root@example.com", "secret")
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get(email="root@example.com"))
    part = f"Fleet page, {database}, {HOSTS:,} hosts, {SERVERS:,} servers"
    return [
        Figure(
            part,
            f"by {sort}, p95",
            percentile(_times(client, {"sort": sort, "down": "1"}), 95) * 1000,
            "ms",
            target=TARGET_MS,
        )
        for sort in SORTS
    ]


def _times(client: Client, asked: dict[str, str]) -> list[float]:
    """Seconds of each request, after one that warms up."""
    page, times = reverse("admin:servers_fleet"), []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        answer = client.get(page, asked)
        times.append(time.perf_counter() - started)
        if answer.status_code != 200:
            raise AssertionError(f"{page} answers {answer.status_code}")
    return times[1:]


def fill() -> None:
    """A server for each claim, the newest sample of each host, and a long queue."""
    world = make_world()
    make_fleet(HOSTS, SERVERS)
    claims = CapacityClaim.objects.order_by("pk").values_list("owner", "host_id")
    Server.objects.bulk_create(
        (
            Server(
                uuid=owner,
                project=world.project,
                name=f"s{number}",
                server_type=world.plan,
                location=world.location,
                host_id=host_id,
                vcpus=1,
                memory_mib=1024,
                disk_gib=10,
                mac=f"52:54:{number:08x}",
                lifecycle=Lifecycle.ACTIVE,
                power_seen=PowerSeen.OFF if number % 7 == 0 else PowerSeen.RUNNING,
            )
            for number, (owner, host_id) in enumerate(claims.iterator())
        ),
        batch_size=2000,
    )
    now = timezone.now()
    hosts = list(Host.objects.values_list("pk", flat=True))
    HostSample.objects.bulk_create(
        HostSample(host_id=pk, step=MINUTE, at=beginning(now, MINUTE), cpu_percent=pk % 90)
        for pk in hosts
    )
    Action.objects.bulk_create(
        Action(
            command="reboot",
            resource_type="server",
            resource_id=server_id,
            group=str(host_id),
            state=ActionState.PARKED if server_id % 9 == 0 else ActionState.QUEUED,
            run_after=now,
        )
        for server_id, host_id in Server.objects.values_list("pk", "host_id")[:OPEN_ACTIONS]
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
