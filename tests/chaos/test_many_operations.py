"""300 operations over 25 servers and 4 hosts while workers are killed at random.

Who asks and who dies when is drawn from a seed, which is printed; VPSPANEL_CHAOS_SEED sets it.
"""

from __future__ import annotations

import os
import random
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from django.utils import timezone

from hosts.models import Host
from tests.chaos.mortal import dismiss, fork
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

pytestmark = [pytest.mark.both_databases, pytest.mark.slow]

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
    """Worker processes, of which one is killed now and then.

    Each writes down what it claims, when: that says whose action it is from then on.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._pids = [self._hire() for _ in range(WORKERS)]

    def _hire(self) -> int:
        def note(action: Action, where: str) -> None:
            if where == "claimed":
                line = f"{action.resource_id} {os.getpid()} {timezone.now().isoformat()}\n"
                with self._log.open("a") as log:
                    log.write(line)

        worker = Worker(registry, threads=4, lease_seconds=LEASE, grace_seconds=2, observer=note)
        return fork(worker.run)

    def lose_one(self, victim: int) -> None:
        """SIGKILL to one of them; another takes its place."""
        dismiss(self._pids.pop(victim))
        self._pids.append(self._hire())

    def dismiss(self) -> None:
        """End them all."""
        for pid in self._pids:
            dismiss(pid)

    def claims(self, server_id: int) -> list[tuple[datetime, int]]:
        """When an action of that server was claimed, and by whom; oldest first."""
        lines = (line.split() for line in self._log.read_text().splitlines())
        return sorted(
            (datetime.fromisoformat(at), int(pid))
            for server, pid, at in lines
            if int(server) == server_id
        )


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    """Two workers."""
    crew = Crew(tmp_path / "claims")
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


def assert_only_holders_called(world: World, crew: Crew) -> None:
    """Every call to a host about a server came from whoever had claimed its action last."""
    calls = [call for host in world.hosts for call in world.driver(host).call_log()]
    looked_at = 0
    for server in Server.objects.all():
        claims = crew.claims(server.pk)
        for call in calls:
            if str(server.uuid) not in " ".join(call.args):
                continue
            holder = claims[bisect_right(claims, (call.at, 2**31)) - 1][1]
            assert call.pid == holder, (server.pk, call, claims)
            looked_at += 1
    assert looked_at > OPERATIONS


def test_none_is_lost_none_overlaps(world: World, crew: Crew) -> None:
    seed = int(os.environ.get("VPSPANEL_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    moments = set(dice.sample(range(SERVERS, OPERATIONS), KILLS))
    accepted = 0
    until = time.monotonic() + 240
    while accepted < OPERATIONS:
        assert time.monotonic() < until, f"only {accepted} operations were accepted"
        if operate(world, dice):
            accepted += 1
            if accepted in moments:
                time.sleep(dice.random() / 10)
                crew.lose_one(dice.randrange(WORKERS))
        else:
            time.sleep(0.01)
    wait_until_quiet(120)

    assert Action.objects.count() == OPERATIONS
    # What a busy machine does not get done in time may say so; nothing else may fail.
    others = Action.objects.exclude(state=ActionState.SUCCESS)
    late = others.filter(state=ActionState.ERROR, error_code="deadline_exceeded")
    assert late.count() == others.count(), list(others.values())
    assert Action.objects.filter(attempt__gt=1).exists(), "no action was ever taken over"
    for action in Action.objects.filter(state=ActionState.SUCCESS):
        assert action.steps.count() == len(registry.get(action.command).steps)
    for server in Server.objects.all():
        mine = Action.objects.filter(resource_id=server.pk).order_by("pk")
        for earlier, later in pairwise(mine):
            assert earlier.finished is not None
            assert earlier.finished <= later.created
    assert_only_holders_called(world, crew)
    for host in world.hosts:
        on_host = [domain.uuid for domain in world.driver(host).domains()]
        live = Server.objects.filter(host=host).exclude(lifecycle=Lifecycle.DELETED)
        assert sorted(on_host) == sorted(live.values_list("uuid", flat=True))
    report = audit()
    assert not report.findings, report.findings
