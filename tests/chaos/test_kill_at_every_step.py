"""SIGKILL to the worker at every point of the long verbs, five times in a row each."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hosts.virt.errors import DiskFull
from hosts.virt.spec import Power
from tests.chaos.mortal import (
    dies_at,
    dismiss,
    finish_everything,
    fork,
    killed_at,
    let_leases_run_out,
    outcome,
)
from tests.world import GIB, World, make_host, make_plan, make_world, work
from vpspanel.actions.command import Command, registry
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.actions.worker import Worker
from vpspanel.servers import commands, services
from vpspanel.servers.audit import audit
from vpspanel.servers.models import Lifecycle, PowerWanted, Server, ServerType
from vpspanel.servers.rescue import enable_rescue
from vpspanel.servers.resizing import change_type
from vpspanel.servers.snapshots import create_image

pytestmark = [pytest.mark.both_databases, pytest.mark.slow]

KILLS = 5
ENDS_WITHIN = 120.0


@pytest.fixture
def world(transactional_db: None, tmp_path: Path) -> World:
    """A host whose state outlives every worker."""
    world = make_world()
    world.hosts = [make_host(world.location, uri=f"fake:///chaos?dir={tmp_path}&disk_gib=1000")]
    type(world.host).objects.exclude(pk=world.host.pk).update(accepting=False)
    make_plan(world, "large", vcpus=2, memory_mib=256, disk_gib=3)
    return world


def points(command: Command) -> list[str]:
    """Every point of the way forward at which a worker can die."""
    inside = [
        f"{where}:{step.name}"
        for step in command.steps
        for where in ("before", "after", "recorded")
    ]
    return ["claimed", *inside, "ended"]


def undo_points(command: Command) -> list[str]:
    """Every point of the way back."""
    names = [step.name for step in command.steps if step.undo is not None]
    return ["turned", *(f"{where}_undo:{name}" for name in names for where in ("before", "after"))]


def deaths_at(point: str) -> int:
    """How many of the workers die there: what was written down is not done again."""
    return 1 if point.startswith(("recorded", "ended", "turned")) else KILLS


def kill_five_times(action: Action, point: str, *, pauses: int = 0) -> int:
    """How often a worker died there; each time its lease runs out and the next one comes.

    So many of them may find that the step in hand fails, before the action turns back.
    """
    deaths = 0
    for _ in range(KILLS + pauses):
        if deaths < KILLS:
            let_leases_run_out()
            deaths += killed_at(action.pk, point)
    return deaths


def assert_one_domain_each(world: World) -> None:
    """Exactly the live servers are on the host, each once, and nothing else is left of any."""
    live = Server.objects.exclude(lifecycle=Lifecycle.DELETED).in_bulk(field_name="uuid")
    seen = world.driver().domains()
    assert {domain.uuid for domain in seen} == set(live)
    assert len(seen) == len(live)
    for domain in seen:
        server, spec = live[domain.uuid], world.driver().guest_record(domain.uuid).spec
        wanted = Power.RUNNING if server.power_wanted == PowerWanted.ON else Power.OFF
        assert domain.power is wanted
        assert any("-rescue" in disk.volume for disk in spec.disks) == server.in_rescue
        assert (spec.vcpus, spec.memory_mib) == (server.vcpus, server.memory_mib)
        disk = world.driver().volume_record(server.pool, server.disk_volume())
        assert disk is not None
        assert disk.capacity == server.disk_gib * GIB
    report = audit()
    assert not report.findings, report.findings


Start = Callable[[World, str], Action]


def order(world: World, name: str) -> Action:
    return world.order(name).action


def rebuild(world: World, name: str) -> Action:
    return services.rebuild(world.alice, world.running(name).pk, image=world.images[1])


def enlarge(world: World, name: str) -> Action:
    large = ServerType.objects.get(name="large")
    server = world.stopped(name)
    return change_type(world.alice, server.pk, server_type=large, keep_disk=False)


def rescue(world: World, name: str) -> Action:
    return enable_rescue(world.alice, world.running(name).pk).action


def snapshot(world: World, name: str) -> Action:
    return create_image(world.alice, world.stopped(name).pk).action


def reset_into_rescue(world: World, name: str) -> Action:
    server = world.running(name)
    enable_rescue(world.alice, server.pk)
    work()
    return services.reset(world.alice, server.pk)


def delete(world: World, name: str) -> Action:
    return services.delete(world.alice, world.running(name).pk)


STARTS: dict[Command, Start] = {
    commands.CREATE: order,
    commands.REBUILD: rebuild,
    commands.CHANGE_TYPE: enlarge,
    commands.ENABLE_RESCUE: rescue,
    commands.CREATE_IMAGE: snapshot,
    commands.RESET: reset_into_rescue,
    commands.DELETE: delete,
}


@pytest.mark.parametrize("command", STARTS, ids=lambda c: c.name)
def test_killed_on_the_way_forward(world: World, command: Command) -> None:
    for number, point in enumerate(points(command)):
        action = STARTS[command](world, f"kill{number}")
        assert kill_five_times(action, point) == deaths_at(point), point
        finish_everything()
        action.refresh_from_db()
        assert action.state == ActionState.SUCCESS, (point, action.error_detail)
        assert action.steps.count() == len(command.steps)
        assert_one_domain_each(world)


# What fails, so that everything before it has to be undone.
FAILING = {
    commands.CREATE: "domain",
    commands.REBUILD: "start",
    commands.CHANGE_TYPE: "define",
    commands.ENABLE_RESCUE: "write_volume",
    commands.CREATE_IMAGE: "download_volume",
}


@pytest.mark.parametrize("command", FAILING, ids=lambda c: c.name)
def test_killed_on_the_way_back(world: World, command: Command) -> None:
    for number, point in enumerate(undo_points(command)):
        action = STARTS[command](world, f"kill{number}")
        world.driver().inject(FAILING[command], DiskFull("no room"), times=5)
        assert kill_five_times(action, point, pauses=5) == deaths_at(point), point
        world.driver().clear_faults()
        finish_everything()
        action.refresh_from_db()
        assert action.state == ActionState.ERROR, point
        assert_one_domain_each(world)


def test_a_killed_workers_action_ends_in_time(world: World) -> None:
    """With the lease that the panel has, and nobody who helps time along."""
    action = world.order("web").action
    mortal = Worker(registry, observer=dies_at(action.pk, "after:create_disk"))
    assert outcome(fork(mortal.run))
    began = time.monotonic()
    healthy = fork(Worker(registry).run)
    try:
        while Action.objects.filter(state__in=OPEN_STATES).exists():
            assert time.monotonic() - began < ENDS_WITHIN, Action.objects.values("state", "detail")
            time.sleep(0.1)
        print(f"ended {time.monotonic() - began:.1f} s after the worker's death")
    finally:
        dismiss(healthy)
    action.refresh_from_db()
    assert (action.state, action.attempt) == (ActionState.SUCCESS, 2), action.error_detail
    assert_one_domain_each(world)
