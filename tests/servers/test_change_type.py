"""Another plan: what is refused, what is held meanwhile, what the host has in the end."""

from __future__ import annotations

import pytest

from hosts.models import CapacityClaim, Host
from hosts.virt.errors import DiskFull
from tests.audit import clean_audit
from tests.world import GIB, World, due_now, make_plan, work
from vpspanel.actions.models import Action, ActionState
from vpspanel.actions.services import retry_parked
from vpspanel.errors import NotFound, Refused
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.models import Server, ServerType
from vpspanel.servers.resizing import change_type, plan_choices

__all__ = ["clean_audit"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]

Size = tuple[int, int, int]
SMALL: Size = (1, 128, 1)
LARGE: Size = (2, 256, 3)


@pytest.fixture
def large(world: World) -> ServerType:
    return make_plan(world, "large", vcpus=2, memory_mib=256, disk_gib=3)


def recorded(server: Server) -> Size:
    server.refresh_from_db()
    return server.vcpus, server.memory_mib, server.disk_gib


def held(server: Server) -> Size:
    claim = CapacityClaim.objects.get(owner=server.uuid)
    return claim.vcpus, claim.memory_mib, claim.disk_gib


def given_away(world: World) -> Size:
    host = Host.objects.get(pk=world.host.pk)
    return host.vcpus_used, host.memory_used_mib, host.pools.get().used_gib


def on_host(world: World, server: Server) -> Size:
    spec = world.driver().guest_record(server.uuid).spec
    disk = world.driver().volume_record(server.pool, server.disk_volume())
    assert disk is not None
    return spec.vcpus, spec.memory_mib, disk.capacity // GIB


def assert_everywhere(world: World, server: Server, size: Size) -> None:
    """Records, claim, counters and host say the same; it is the only server."""
    assert recorded(server) == size
    assert held(server) == size
    assert given_away(world) == size
    assert on_host(world, server) == size


def test_it_gets_the_new_plan(world: World, large: ServerType) -> None:
    server = world.stopped()
    before = world.driver().guest_record(server.uuid).spec
    action = change_type(world.alice, server.pk, server_type=large, keep_disk=False)
    assert held(server) == LARGE  # before the host is touched
    assert on_host(world, server) == SMALL
    work()
    action.refresh_from_db()
    assert action.state == ActionState.SUCCESS, action.error_detail
    assert_everywhere(world, server, LARGE)
    assert server.server_type == large
    after = world.driver().guest_record(server.uuid).spec
    assert (after.uuid, after.disks, after.nics) == (before.uuid, before.disks, before.nics)
    assert Event.objects.filter(kind="server.change_type", resource_id=server.pk).exists()
    services.power_on(world.alice, server.pk)
    work()
    assert world.driver().guest_record(server.uuid).live_spec.memory_mib == 256


def test_with_its_disk_kept_it_can_come_back(world: World, large: ServerType) -> None:
    server = world.stopped()
    change_type(world.alice, server.pk, server_type=large, keep_disk=True)
    work()
    assert_everywhere(world, server, (2, 256, 1))
    change_type(world.alice, server.pk, server_type=world.plan, keep_disk=True)
    assert held(server) == (2, 256, 1)  # nothing goes back before the host has confirmed
    work()
    assert_everywhere(world, server, SMALL)


def test_a_kept_disk_can_grow_later(world: World, large: ServerType) -> None:
    server = world.stopped()
    change_type(world.alice, server.pk, server_type=large, keep_disk=True)
    work()
    with pytest.raises(Refused, match="plan that it has"):
        change_type(world.alice, server.pk, server_type=large, keep_disk=True)
    change_type(world.alice, server.pk, server_type=large, keep_disk=False)
    work()
    assert_everywhere(world, server, LARGE)


def test_a_disk_never_shrinks(world: World, large: ServerType) -> None:
    server = world.stopped(server_type=large)
    for keep_disk in (True, False):
        with pytest.raises(Refused, match="cannot shrink") as refused:
            change_type(world.alice, server.pk, server_type=world.plan, keep_disk=keep_disk)
        assert (refused.value.code, refused.value.field) == ("invalid_input", "server_type")


def test_only_while_it_is_off(world: World, large: ServerType) -> None:
    server = world.running()
    with pytest.raises(Refused, match="Shut it down first") as refused:
        change_type(world.alice, server.pk, server_type=large, keep_disk=True)
    assert refused.value.code == "server_not_stopped"
    assert held(server) == SMALL


def test_started_behind_our_back(world: World, large: ServerType) -> None:
    server = world.stopped()
    action = change_type(world.alice, server.pk, server_type=large, keep_disk=False)
    world.driver().outside_start(server.uuid)
    work()
    action.refresh_from_db()
    assert (action.state, action.error_code) == (ActionState.ERROR, "server_not_stopped")
    assert_everywhere(world, server, SMALL)


@pytest.mark.parametrize("short_of", ["vcpus_limit", "memory_limit_mib", "limit_gib"])
def test_no_room_on_its_host(world: World, large: ServerType, short_of: str) -> None:
    server = world.stopped()
    limit = {"vcpus_limit": 1, "memory_limit_mib": 200, "limit_gib": 2}[short_of]
    rows = world.host.pools if short_of == "limit_gib" else Host.objects
    rows.update(**{short_of: limit})
    with pytest.raises(Refused, match="no room") as refused:
        change_type(world.alice, server.pk, server_type=large, keep_disk=False)
    assert refused.value.code == "resource_unavailable"
    assert_everywhere(world, server, SMALL)
    assert not Action.objects.filter(command="change_type").exists()


def test_a_failure_gives_the_room_back(world: World, large: ServerType) -> None:
    server = world.stopped()
    world.driver().inject("define", DiskFull("no room"), times=5)
    action = change_type(world.alice, server.pk, server_type=large, keep_disk=False)
    for _ in range(6):
        due_now()
        work()
    action.refresh_from_db()
    assert (action.state, action.error_code) == (ActionState.ERROR, "disk_full")
    assert_everywhere(world, server, SMALL)
    assert server.server_type == world.plan


def test_a_disk_that_will_not_grow_is_left_to_staff(world: World, large: ServerType) -> None:
    """It may have grown all the same, so there is no way back from there."""
    server = world.stopped()
    world.driver().inject("grow_volume", DiskFull("no room"), times=5)
    action = change_type(world.alice, server.pk, server_type=large, keep_disk=False)
    for _ in range(6):
        due_now()
        work()
    action.refresh_from_db()
    assert (action.state, held(server)) == (ActionState.PARKED, LARGE)
    retry_parked(action, actor=world.alice)
    work()
    assert_everywhere(world, server, LARGE)


def test_cancelled_before_it_began(world: World, large: ServerType) -> None:
    server = world.stopped()
    action = change_type(world.alice, server.pk, server_type=large, keep_disk=False)
    services.cancel_action(world.alice, action.pk)
    assert_everywhere(world, server, SMALL)


def test_who_may(world: World, large: ServerType) -> None:
    server = world.stopped()
    with pytest.raises(NotFound):
        change_type(world.charlie, server.pk, server_type=large, keep_disk=True)
    with pytest.raises(Refused) as refused:
        change_type(world.olga, server.pk, server_type=large, keep_disk=True)
    assert refused.value.code == "forbidden"


def test_every_plan_says_what_speaks_against_it(world: World, large: ServerType) -> None:
    server = world.stopped(server_type=large)
    make_plan(world, "huge", vcpus=65, memory_mib=512, disk_gib=3)
    make_plan(world, "wide", vcpus=3, memory_mib=512, disk_gib=3)
    unsold = make_plan(world, "unsold", vcpus=2, memory_mib=512, disk_gib=3)
    unsold.prices.all().delete()
    said = {choice.server_type.name: choice.why_not for choice in plan_choices(server)}
    assert set(said) == {"nano", "large", "huge", "wide"}
    assert said["wide"] == ""
    assert "cannot shrink" in said["nano"]
    assert said["large"] == "It has this plan."
    assert "no room" in said["huge"]
    with pytest.raises(Refused, match="not sold in this location"):
        change_type(world.alice, server.pk, server_type=unsold, keep_disk=True)
