"""A worker that dies while it restarts a server elsewhere: it runs on one host, and once.

From shared storage, and from a snapshot when the disk is lost.

One death at each point; what five in a row do is the engine's and proven for the other commands.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from django.utils import timezone

from hosts.models import CapacityClaim, Host, HostStatus, Image, StoragePool
from hosts.virt.errors import DiskFull
from hosts.virt.spec import Power
from tests.chaos.mortal import finish_everything, killed_at, let_leases_run_out
from tests.chaos.test_kill_at_every_step import points, undo_points
from tests.servers.losing import FENCED, lose, with_snapshot
from tests.world import World, make_host, make_world, work
from vpspanel.actions.command import Command
from vpspanel.actions.models import Action, ActionState
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services
from vpspanel.servers.audit_records import check_records
from vpspanel.servers.evacuation import evacuate
from vpspanel.servers.loss_commands import EVACUATE, RESTORE
from vpspanel.servers.models import Server

pytestmark = pytest.mark.both_databases


both = pytest.mark.parametrize("command", [EVACUATE, RESTORE], ids=lambda one: one.name)


@pytest.fixture
def world(transactional_db: None, tmp_path: Path) -> World:
    """Two hosts whose state outlives every worker."""
    world = make_world()
    Host.objects.update(accepting=False)
    world.hosts = [
        make_host(world.location, uri=f"fake:///{name}?dir={tmp_path}/{name}&disk_gib=1000")
        for name in ("lost", "other")
    ]
    return world


def leaving(world: World, name: str, command: Command) -> tuple[Server, Action]:
    """A server that runs on the lost host and is to leave it in this way."""
    is_shared = command is EVACUATE
    StoragePool.objects.update(shared_id="nfs1" if is_shared else "")
    server = world.running(name) if is_shared else with_snapshot(world, name)[0]
    assert server.host == world.host
    lose(world, shared=is_shared)
    done = evacuate(
        SYSTEM, world.host, confirmed_name=world.host.name, fenced=FENCED, from_copies=True
    )
    assert [action.command for action in done.actions] == [command.name]
    return server, done.actions[0]


def bring_back(world: World, server: Server) -> None:
    """The lost host is as good as new, and the server is gone."""
    driver = world.driver()
    driver.set_reachable(True)
    Host.objects.filter(pk=world.host.pk).update(status=HostStatus.REACHABLE, accepting=True)
    if server.host != world.host:
        driver.destroy(server.uuid)
        driver.undefine(server.uuid)
        driver.delete_filter(server.filter_name)
    for volume in driver.volumes(server.pool):
        if server.host != world.host and server.owns_volume(volume.name):
            driver.delete_volume(server.pool, volume.name)
    services.delete(world.alice, server.pk)
    work()
    Image.objects.filter(created_from_id=server.pk).delete()  # a project may have twenty
    for one in world.hosts:
        there = world.driver(one)
        assert (there.domains(), there.filters()) == ([], [])
        own = [found for found in there.volumes(server.pool) if server.owns_volume(found.name)]
        assert not own or one.pools.get().shared_id  # simulated shares are copies


def assert_lives_on(world: World, server: Server, host: Host) -> None:
    """Records, room and guest agree."""
    server.refresh_from_db()
    assert server.host == host
    assert CapacityClaim.objects.get().host == host
    assert not [found.message for found in check_records(timezone.now()) if found.level == "error"]


@both
def test_killed_on_the_way_forward(world: World, command: Command) -> None:
    for number, point in enumerate(points(command)):
        server, action = leaving(world, f"kill{number}", command)
        let_leases_run_out()
        assert killed_at(action.pk, point), point
        finish_everything()
        action.refresh_from_db()
        assert action.state == ActionState.SUCCESS, (point, action.error_detail)
        assert_lives_on(world, server, world.hosts[1])
        there = world.driver(world.hosts[1])
        assert [one.power for one in there.domains()] == [Power.RUNNING], point
        assert there.guest_record(server.uuid).boots == 1, point
        bring_back(world, server)


@both
def test_killed_on_the_way_back(world: World, command: Command) -> None:
    for number, point in enumerate(undo_points(command)):
        server, action = leaving(world, f"kill{number}", command)
        there = world.driver(world.hosts[1])
        there.inject("start", DiskFull("no room"), times=5)
        let_leases_run_out()
        died = False
        for _ in range(6):
            died = died or killed_at(action.pk, point)
            let_leases_run_out()
        assert died, point
        there.clear_faults()
        finish_everything()
        action.refresh_from_db()
        assert action.state == ActionState.ERROR, point
        assert_lives_on(world, server, world.host)
        assert there.domains() == []
        assert there.filters() == []
        bring_back(world, server)
