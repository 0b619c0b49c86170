"""A host that was said to be fenced returns with what it had: its copies are never the server."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hosts.models import Host, HostStatus, StoragePool
from hosts.monitor_figures import owned_here
from hosts.virt.spec import DomainEvent, EventKind, Power
from tests.servers.losing import evacuated, lose, shared_world
from tests.world import World, work
from vpspanel.accounts.models import User
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers import services, stale
from vpspanel.servers.audit import audit
from vpspanel.servers.models import Server, StaleCopy
from vpspanel.servers.observe import Observer
from vpspanel.servers.restarts import start_due

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def world(db: None) -> World:
    return shared_world()


@pytest.fixture
def server(world: World) -> Server:
    """It ran on the first host, was evacuated, and runs on the second."""
    server = world.running()
    lose(world)
    evacuated(world)
    server.refresh_from_db()
    assert server.host == world.hosts[1]
    return server


def come_back(world: World) -> None:
    """The first host answers again, and the monitor lists it."""
    world.driver().set_reachable(True)
    Host.objects.filter(pk=world.host.pk).update(status=HostStatus.REACHABLE)
    listed(world)


def listed(world: World) -> None:
    driver = world.driver()
    Observer().on_list(world.host.pk, driver.domains(), timezone.now(), gap=True)


def power(world: World, server: Server, host: Host) -> str | None:
    seen = world.driver(host).domain(server.uuid)
    return None if seen is None else seen.power


def alarms() -> int:
    return Event.objects.filter(kind="host.alarm", public=False).count()


def test_one_that_runs_is_forced_off_and_the_server_does_not_notice(
    world: World, server: Server
) -> None:
    come_back(world)
    assert power(world, server, world.host) == Power.RUNNING
    assert alarms() == 1
    work()
    assert power(world, server, world.host) == Power.OFF
    assert power(world, server, world.hosts[1]) == Power.RUNNING
    stopped = DomainEvent(EventKind.STOPPED, server.uuid, timezone.now(), "destroyed")
    Observer().on_event(world.host.pk, stopped)
    listed(world)
    before = server.seen_at
    server.refresh_from_db()
    assert (server.host, server.power_seen) == (world.hosts[1], "running")
    assert (server.power_wanted, server.seen_at) == ("on", before)
    assert StaleCopy.objects.get().power == "off"
    assert alarms() == 1
    assert owned_here(world.host.pk, [server.uuid]) == set()
    assert owned_here(world.hosts[1].pk, [server.uuid]) == {server.uuid}
    codes = audit().codes()
    assert {"domain_elsewhere", "domain_twice"} <= codes
    assert "disk_elsewhere" not in codes  # both hosts see the same storage


def test_it_is_never_started(world: World, server: Server) -> None:
    come_back(world)
    work()
    world.driver().outside_boot()
    now = timezone.now()
    Observer().on_boot(world.host.pk, now, now)
    start_due()
    services.power_off(world.alice, server.pk)
    work()
    services.power_on(world.alice, server.pk)
    work()
    assert power(world, server, world.host) == Power.OFF
    assert power(world, server, world.hosts[1]) == Power.RUNNING


def test_cleaning_up_takes_what_is_the_hosts_own_and_nothing_shared(
    world: World, server: Server, client: Client, capsys: Any
) -> None:
    driver = world.driver()
    driver.set_reachable(True)
    driver.ensure_pool("own", "/own")
    StoragePool.objects.create(host=world.host, name="own", path="/own", limit_gib=10)
    driver.write_volume("own", f"vps-{server.uuid}-seed.img", b"x", capacity_bytes=1024)
    driver.write_volume("own", "theirs.img", b"x", capacity_bytes=1024)
    shared = {volume.name for volume in driver_volumes(world, "vpspanel")}
    StoragePool.objects.update(shared_id="")  # somebody has tidied the records up
    come_back(world)
    work()
    call_command("host_clean_up", world.host.name)
    assert f"{server.pk} web: off, lives on {world.hosts[1]}" in capsys.readouterr().out
    assert power(world, server, world.host) == Power.OFF
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    page = reverse("admin:servers_stalecopy_changelist")
    chosen = {"action": "clean_up", "_selected_action": [StaleCopy.objects.get().pk]}
    assert "Storage that the live servers use" in client.post(page, chosen).content.decode()
    assert not Action.objects.filter(command="clean_up_stale_copy").exists()
    client.post(page, {**chosen, "confirmed": "Clean up"})
    work()
    assert Action.objects.get(command="clean_up_stale_copy").state == "success"
    assert power(world, server, world.host) is None
    assert server.filter_name not in driver.filters()
    assert {volume.name for volume in driver_volumes(world, "own")} == {"theirs.img"}
    assert {volume.name for volume in driver_volumes(world, "vpspanel")} == shared
    assert not StaleCopy.objects.exists()
    assert power(world, server, world.hosts[1]) == Power.RUNNING
    StoragePool.objects.filter(name="vpspanel").update(shared_id="nfs1")
    StoragePool.objects.filter(name="own").delete()
    assert audit().codes() == set()


def driver_volumes(world: World, pool: str) -> list[Any]:
    return world.driver().volumes(pool)


def test_which_of_two_is_right_is_not_guessed(world: World) -> None:
    """Records that name another host without an evacuation may be what is wrong."""
    server = world.running()
    Server.objects.filter(pk=server.pk).update(host=world.hosts[1])
    listed(world)
    work()
    copy = stale.stale_copies(world.host).get()
    assert not copy.evacuated
    assert power(world, server, world.host) == Power.RUNNING
    assert alarms() == 1
    with pytest.raises(Refused, match="which of the two"):
        stale.clean_up(SYSTEM, copy)
    assert stale.stale_copies(world.hosts[1]).count() == 0


def test_a_server_that_comes_back_meanwhile_is_not_touched(world: World, server: Server) -> None:
    """Between the click and the worker it moved to the very host of the copy."""
    come_back(world)
    work()
    copy = StaleCopy.objects.get()
    stale.clean_up(SYSTEM, copy)
    Server.objects.filter(pk=server.pk).update(host=world.host)
    work()
    action = Action.objects.get(command="clean_up_stale_copy")
    assert (action.state, action.error_code) == ("error", "not_stale")
    assert power(world, server, world.host) == Power.OFF
    listed(world)
    assert not StaleCopy.objects.exists()


def test_a_move_in_hand_makes_no_copy(world: World) -> None:
    server = world.running()
    lose(world)
    Server.objects.filter(pk=server.pk).update(host=world.hosts[1])
    Action.objects.create(
        command="power_off",
        resource_type="server",
        resource_id=server.pk,
        state="running",
        run_after=timezone.now(),
    )
    come_back(world)
    assert Action.objects.filter(state__in=OPEN_STATES).count() == 1
    assert not StaleCopy.objects.exists()
