"""A worker that dies while it restarts a server elsewhere: it runs on one host, and once.

One death at each point; what five in a row do is the engine's and proven for the other commands.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from django.utils import timezone

from hosts.models import CapacityClaim, Host, HostStatus
from hosts.virt.errors import DiskFull
from hosts.virt.spec import Power
from tests.chaos.mortal import finish_everything, killed_at, let_leases_run_out
from tests.chaos.test_kill_at_every_step import points, undo_points
from tests.servers.losing import FENCED, lose, share
from tests.world import World, make_host, make_world, work
from vpspanel.actions.models import Action, ActionState
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services
from vpspanel.servers.audit_records import check_records
from vpspanel.servers.evacuation import evacuate
from vpspanel.servers.loss_commands import EVACUATE
from vpspanel.servers.models import Server

pytestmark = pytest.mark.both_databases


@pytest.fixture
def world(transactional_db: None, tmp_path: Path) -> World:
    """Two hosts that share their storage, and whose state outlives every worker."""
    world = make_world()
    Host.objects.update(accepting=False)
    world.hosts = [
        make_host(world.location, uri=f"fake:///{name}?dir={tmp_path}/{name}&disk_gib=1000")
        for name in ("lost", "other")
    ]
    share()
    return world


def leaving(world: World, name: str) -> tuple[Server, Action]:
    """A server that runs on the lost host and is to leave it."""
    server = world.running(name)
    assert server.host == world.host
    lose(world)
    done = evacuate(SYSTEM, world.host, confirmed_name=world.host.name, fenced=FENCED)
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
    services.delete(world.alice, server.pk)
    work()
    for one in world.hosts:
        assert world.driver(one).domains() == []
        assert world.driver(one).filters() == []


def assert_lives_on(world: World, server: Server, host: Host) -> None:
    """Records, room and guest agree."""
    server.refresh_from_db()
    assert server.host == host
    assert CapacityClaim.objects.get(owner=server.uuid).host == host
    assert not [found.message for found in check_records(timezone.now()) if found.level == "error"]


def test_killed_on_the_way_forward(world: World) -> None:
    for number, point in enumerate(points(EVACUATE)):
        server, action = leaving(world, f"kill{number}")
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


def test_killed_on_the_way_back(world: World) -> None:
    for number, point in enumerate(undo_points(EVACUATE)):
        server, action = leaving(world, f"kill{number}")
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
