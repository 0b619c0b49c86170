"""300 operations over 25 servers and 4 hosts while workers are killed at random."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hosts.models import Host
from tests.chaos.mortal import fork, outcome
from tests.world import World, make_host, make_plan, make_world
from vpspanel.actions.command import registry
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.actions.worker import Worker
from vpspanel.errors import Refused
from vpspanel.servers import services
from vpspanel.servers.audit import audit
from vpspanel.servers.models import Lifecycle, Server, ServerType
from vpspanel.servers.rescue import enable_rescue
from vpspanel.servers.resizing import change_type
from vpspanel.servers.snapshots import create_image

pytestmark = pytest.mark.both_databases

SERVERS = 25
OPERATIONS = 300
KILLS = 10
WORKERS = 2
REFUSED = (
    "locked",
    "conflict",
    "server_not_stopped",
    "resource_limit_exceeded",
    "server_not_running",
)
LEASE = 3.0  # seconds; a third of the real one, so that the test is not mostly waiting


class Crew:
    """Worker processes, of which one is killed now and then."""

    def __init__(self) -> None:
        self._pids = [self._hire() for _ in range(WORKERS)]

    def _hire(self) -> int:
        return fork(Worker(registry, threads=4, lease_seconds=LEASE, grace_seconds=2).run)

    def lose_one(self) -> None:
        """SIGKILL to one of them; another takes its place."""
        pid = self._pids.pop(0)
        os.kill(pid, signal.SIGKILL)
        assert outcome(pid) == signal.SIGKILL
        self._pids.append(self._hire())

    def dismiss(self) -> None:
        """End them all."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            outcome(pid)


@pytest.fixture
def crew() -> Iterator[Crew]:
    """Two workers."""
    crew = Crew()
    yield crew
    crew.dismiss()


@pytest.fixture
def world(transactional_db: None, tmp_path: Path) -> World:
    """Four hosts whose state outlives every worker."""
    world = make_world()
    Host.objects.update(accepting=False)
    world.hosts = [
        make_host(world.location, uri=f"fake:///many{n}?dir={tmp_path}&disk_gib=1000")
        for n in range(4)
    ]
    make_plan(world, "wide", vcpus=2, memory_mib=256, disk_gib=1)
    return world


def operate(world: World, dice: random.Random) -> bool:
    """Ask for something of some server; False if it was refused, as most of the time it may be."""
    servers = list(Server.objects.exclude(lifecycle=Lifecycle.DELETED))
    if len(servers) < SERVERS:
        world.order(f"web{time.monotonic_ns()}")
        return True
    server, plan = dice.choice(servers), dice.choice(list(ServerType.objects.all()))
    verbs: list[Callable[[], object]] = [
        lambda: services.power_on(world.alice, server.pk),
        lambda: services.power_off(world.alice, server.pk),
        lambda: services.reset(world.alice, server.pk),
        lambda: services.rebuild(world.alice, server.pk, image=dice.choice(world.images)),
        lambda: enable_rescue(world.alice, server.pk),
        lambda: change_type(world.alice, server.pk, server_type=plan, keep_disk=True),
        lambda: create_image(world.alice, server.pk),
        lambda: services.delete(world.alice, server.pk),
    ]
    try:
        dice.choice(verbs)()
    except Refused as refused:
        if refused.code not in REFUSED and "plan that it has" not in refused.message:
            raise
        return False
    return True


def wait_until_quiet(seconds: float) -> None:
    """Every action has ended by itself."""
    until = time.monotonic() + seconds
    while Action.objects.filter(state__in=OPEN_STATES).exists():
        assert time.monotonic() < until, list(
            Action.objects.filter(state__in=OPEN_STATES).values(
                "command", "state", "step", "detail"
            )
        )
        time.sleep(0.1)


def test_none_is_lost_none_overlaps(world: World, crew: Crew) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    accepted = 0
    until = time.monotonic() + 240
    while accepted < OPERATIONS:
        assert time.monotonic() < until, f"only {accepted} operations were accepted"
        if operate(world, dice):
            accepted += 1
            if accepted % (OPERATIONS // KILLS) == 0:
                crew.lose_one()
        else:
            time.sleep(0.01)
    wait_until_quiet(120)

    assert Action.objects.count() == OPERATIONS
    assert set(Action.objects.values_list("state", flat=True)) == {ActionState.SUCCESS}
    assert Action.objects.filter(attempt__gt=1).exists(), "no action was ever taken over"
    for action in Action.objects.all():
        assert action.steps.count() == len(registry.get(action.command).steps)
    for server in Server.objects.all():
        mine = Action.objects.filter(resource_id=server.pk).order_by("pk")
        for earlier, later in pairwise(mine):
            assert earlier.finished is not None
            assert earlier.finished <= later.created
    for host in world.hosts:
        on_host = [domain.uuid for domain in world.driver(host).domains()]
        live = Server.objects.filter(host=host).exclude(lifecycle=Lifecycle.DELETED)
        assert sorted(on_host) == sorted(live.values_list("uuid", flat=True))
    report = audit()
    assert not report.findings, report.findings
