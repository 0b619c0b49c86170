"""Servers come and go, a hundred in a row and sixteen at once, and leave nothing behind."""

from __future__ import annotations

import gc
import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from django.db import connection

from hosts.models import Host
from tests.world import World, due_now, make_world, work
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.events.actor import Actor
from vpspanel.servers import services
from vpspanel.servers.audit import audit
from vpspanel.servers.models import Lifecycle, Server

WARM_UP, LIFECYCLES = 5, 100
DESCRIPTORS, MEMORY_MIB = 5, 10
AT_ONCE = 16

Verb = Callable[[Actor, int], Action]


@dataclass(frozen=True, slots=True)
class Held:
    """What this process holds of the machine."""

    descriptors: int
    threads: int
    memory_mib: float

    @staticmethod
    def now() -> Held:
        """After what nobody refers to any longer is gone."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Held(
            len(list(Path("/proc/self/fd").iterdir())),
            threading.active_count(),
            pages * resource.getpagesize() / 1024**2,
        )


def live(world: World, name: str) -> None:
    """Ordered and started, stopped, deleted."""
    server = world.running(name)
    for verb in (services.power_off, services.delete):
        verb(world.alice, server.pk)
        work()
    server.refresh_from_db()
    assert server.lifecycle == Lifecycle.DELETED


def assert_nothing_is_left(world: World) -> None:
    """No guest, no claim, no filter: the host holds the image and the panel what it must know."""
    assert world.driver().domains() == []
    world.host.refresh_from_db()
    assert (world.host.vcpus_used, world.host.memory_used_mib) == (0, 0)
    assert not Server.objects.exclude(lifecycle=Lifecycle.DELETED).exists()
    report = audit()
    assert not report.findings, report.findings


@pytest.mark.django_db
def test_a_hundred_in_a_row_leave_nothing_open() -> None:
    world = make_world()
    for number in range(WARM_UP):
        live(world, f"warm{number}")
    before = Held.now()
    for number in range(LIFECYCLES):
        live(world, f"web{number}")
    after = Held.now()
    print(before, after)
    assert after.descriptors - before.descriptors <= DESCRIPTORS
    assert after.threads <= before.threads
    assert after.memory_mib - before.memory_mib <= MEMORY_MIB
    assert_nothing_is_left(world)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_sixteen_at_once_leave_nothing() -> None:
    world = make_world()
    Host.objects.update(action_limit=AT_ONCE)
    everybody(lambda number: world.order(f"web{number}"))
    for verb in (services.power_off, services.power_on, services.delete):
        everybody(work_until_done)
        servers = list(Server.objects.values_list("pk", flat=True))
        assert len(servers) == AT_ONCE
        everybody(partial(ask, world, verb, servers))
    everybody(work_until_done)
    assert Action.objects.count() == 4 * AT_ONCE
    assert not Action.objects.exclude(state=ActionState.SUCCESS).exists()
    assert_nothing_is_left(world)


def work_until_done(_: int) -> None:
    """A worker's thread, until no action is open. Pauses of steps that wait are cut short."""
    until = time.monotonic() + 60
    while Action.objects.filter(state__in=OPEN_STATES).exists():
        assert time.monotonic() < until, list(Action.objects.values("command", "state", "step"))
        if not work():
            time.sleep(0.02)
            due_now()


def ask(world: World, verb: Verb, servers: list[int], number: int) -> None:
    """Alice wants that of one of her servers."""
    verb(world.alice, servers[number])


def everybody(act: Callable[[int], object]) -> None:
    """`AT_ONCE` threads do it at the same moment. Raises what one of them raised."""

    def one(number: int) -> None:
        try:
            act(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(AT_ONCE) as people:
        list(people.map(one, range(AT_ONCE)))
