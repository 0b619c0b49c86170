"""SIGKILL to the worker at every point of create, rebuild and delete, five times in a row each."""

from __future__ import annotations

import time
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
from tests.world import World, make_host, make_world
from vpspanel.actions.command import Command, registry
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.actions.worker import Worker
from vpspanel.servers import commands, services
from vpspanel.servers.audit import audit
from vpspanel.servers.models import Lifecycle, Server

pytestmark = pytest.mark.both_databases

KILLS = 5
ENDS_WITHIN = 120.0


@pytest.fixture
def world(transactional_db: None, tmp_path: Path) -> World:
    """A host whose state outlives every worker."""
    world = make_world()
    world.hosts = [make_host(world.location, uri=f"fake:///chaos?dir={tmp_path}&disk_gib=1000")]
    type(world.host).objects.exclude(pk=world.host.pk).update(accepting=False)
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
    live = {server.uuid for server in Server.objects.exclude(lifecycle=Lifecycle.DELETED)}
    seen = world.driver().domains()
    assert {domain.uuid for domain in seen} == live
    assert len(seen) == len(live)
    for domain in seen:
        assert domain.power is Power.RUNNING
    report = audit()
    assert not report.findings, report.findings


def start(world: World, command: Command, number: int) -> Action:
    """Submit the command for a server of its own."""
    if command is commands.CREATE:
        return world.order(f"kill{number}").action
    server = world.running(f"kill{number}")
    if command is commands.REBUILD:
        return services.rebuild(world.alice, server.pk, image=world.images[1])
    return services.delete(world.alice, server.pk)


@pytest.mark.parametrize(
    "command", [commands.CREATE, commands.REBUILD, commands.DELETE], ids=lambda c: c.name
)
def test_killed_on_the_way_forward(world: World, command: Command) -> None:
    for number, point in enumerate(points(command)):
        action = start(world, command, number)
        assert kill_five_times(action, point) == deaths_at(point), point
        finish_everything()
        action.refresh_from_db()
        assert action.state == ActionState.SUCCESS, (point, action.error_detail)
        assert action.steps.count() == len(command.steps)
        assert_one_domain_each(world)


@pytest.mark.parametrize("command", [commands.CREATE, commands.REBUILD], ids=lambda c: c.name)
def test_killed_on_the_way_back(world: World, command: Command) -> None:
    for number, point in enumerate(undo_points(command)):
        action = start(world, command, number)
        failing = "domain" if command is commands.CREATE else "start"
        world.driver().inject(failing, DiskFull("no room"), times=5)
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
