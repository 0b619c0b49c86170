"""Moving a server to another host: who may, what stands in the way, what is held, where it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hosts.models import CapacityClaim, Host, IPAddress, StagedImage, StoragePool
from hosts.virt.errors import VirtError
from hosts.virt.spec import Power
from tests.audit import clean_audit
from tests.hosts.contract import wait_until
from tests.servers.losing import share, shared_world
from tests.servers.moves import ended, lives_on, other, update
from tests.world import World, make_host, work
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services
from vpspanel.servers.groups import named_group
from vpspanel.servers.models import Server
from vpspanel.servers.moving import cancel_move, move_server, moving_choices, moving_obstacles
from vpspanel.servers.services import facts_of
from vpspanel.servers.states import shown_status
from vpspanel.servers.suspending import suspend_server

__all__ = ["clean_audit", "other"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]


def test_a_running_server_goes_on_elsewhere(world: World, other: Host) -> None:
    server = world.running()
    before = world.driver().guest_record(server.uuid)
    addresses = set(IPAddress.objects.filter(owner=server.uuid).values_list("address", flat=True))
    world.driver().write_volume("vpspanel", server.seed_volume, b"bytes", capacity_bytes=2**20)
    action = move_server(SYSTEM, server)
    server.refresh_from_db()
    assert shown_status(facts_of(server, action)).api == "migrating"
    assert CapacityClaim.objects.filter(host=other).count() == 1  # held before a host is touched
    assert ended(action).state == ActionState.SUCCESS, action.error_detail
    lives_on(world, server, other, Power.RUNNING)
    after = world.driver(other).guest_record(server.uuid)
    assert after.live_spec == before.live_spec  # the same UUID, MAC, filter, names
    assert (after.boots, after.started_at) == (before.boots, before.started_at)
    seed = world.driver(other).volume_record("vpspanel", server.seed_volume)
    assert seed is not None
    assert seed.head.startswith(b"bytes")
    held = set(IPAddress.objects.filter(owner=server.uuid).values_list("address", flat=True))
    assert held == addresses
    assert not action.steps.filter(name__in=("ask", "start_domain")).exists()
    services.reset(world.alice, server.pk)  # all goes on as before, on the new host
    assert ended(Action.objects.latest("pk")).state == ActionState.SUCCESS
    assert world.driver(other).guest_record(server.uuid).boots == before.boots + 1


def test_one_that_is_off_is_carried(world: World, other: Host) -> None:
    server = world.stopped()
    action = move_server(SYSTEM, server, other)
    assert action.args["how"] == "offline"
    assert ended(action).state == ActionState.SUCCESS, action.error_detail
    lives_on(world, server, other, Power.OFF)
    services.power_on(world.alice, server.pk)
    work()
    lives_on(world, server, other, Power.RUNNING)
    again = move_server(SYSTEM, server, world.host)
    assert ended(again).state == ActionState.SUCCESS, again.error_detail
    lives_on(world, server, world.host, Power.RUNNING)


def test_a_running_one_is_shut_down_and_started_for_an_offline_move(
    world: World, other: Host
) -> None:
    server = world.running()
    action = move_server(SYSTEM, server, how="offline", bandwidth_mib=1000)
    wait_until(lambda: ended(action, 1).state != ActionState.RUNNING, 30, "it has ended")
    assert action.state == ActionState.SUCCESS, action.error_detail
    lives_on(world, server, other, Power.RUNNING)
    assert world.driver(other).guest_record(server.uuid).boots == 1
    assert server.power_wanted == "on"


def test_what_is_suspended_while_it_is_carried_is_not_started(world: World, other: Host) -> None:
    server = world.running()
    action = move_server(SYSTEM, server, how="offline")
    suspend_server(SYSTEM, server.pk, reason="unpaid")
    wait_until(lambda: ended(action, 1).state != ActionState.RUNNING, 30, "it has ended")
    assert action.state == ActionState.SUCCESS, action.error_detail
    lives_on(world, server, other, Power.OFF)
    assert world.driver(other).guest_record(server.uuid).boots == 0
    assert server.power_wanted == "on"  # for when the suspension is lifted


def test_only_staff(world: World, other: Host) -> None:
    server = world.running()
    for actor in (world.alice, world.olga, world.charlie):
        with pytest.raises(Refused) as refused:
            move_server(actor, server)
        assert refused.value.code == "forbidden"
    action = move_server(SYSTEM, server)
    for act in (
        partial(cancel_move, world.alice, server),
        partial(services.cancel_action, world.alice, action.pk),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == "forbidden"
    with pytest.raises(Refused, match="its move to another host is not finished") as refused:
        services.delete(world.alice, server.pk)
    assert refused.value.code == "locked"
    ended(action)


Change = Callable[[World, Server, Host], Any]
OBSTACLES: dict[str, tuple[Change, str, bool, bool]] = {
    "not accepting": (lambda w, s, h: update(h, accepting=False), "no_room", True, True),
    "unreachable": (lambda w, s, h: update(h, status="unreachable"), "no_room", True, True),
    "degraded": (lambda w, s, h: update(h, status="degraded"), "no_room", True, True),
    "full": (lambda w, s, h: update(h, memory_limit_mib=1), "no_room", True, True),
    "pool full": (lambda w, s, h: h.pools.update(limit_gib=0), "no_room", True, True),
    "tags": (lambda w, s, h: tag(s), "no_room", True, True),
    "no network": (lambda w, s, h: update(h, network=""), "no_network", True, True),
    "architecture": (lambda w, s, h: update(h, architecture="arm"), "architecture", True, True),
    "emulated": (lambda w, s, h: update(h, virt_type="kvm"), "virt_type", True, False),
    "older": (lambda w, s, h: older(w, h), "older_software", True, False),
    "no address": (lambda w, s, h: update(h, uri="qemu:///system"), "no_address", True, False),
    "other path": (lambda w, s, h: h.pools.update(path="/x"), "other_path", False, True),
    "not staged": (lambda w, s, h: None, "image_not_staged", False, False),
    "same host": (lambda w, s, h: h, "same_host", True, True),
    "rescue": (lambda w, s, h: update(s, rescue_enabled=True), "rescue", True, True),
    "paused": (lambda w, s, h: update(s, power_seen="paused"), "paused", True, True),
    "unknown": (lambda w, s, h: update(s, power_seen="unknown"), "power_unknown", True, True),
    "off": (lambda w, s, h: update(s, power_seen="off"), "is_off", True, False),
    "source": (
        lambda w, s, h: update(w.host, status="unreachable"),
        "source_unreachable",
        True,
        True,
    ),
    "image": (lambda w, s, h: update(s, image=None), "image_gone", True, True),
    "busy": (lambda w, s, h: services.reboot(w.alice, s.pk), "locked", True, True),
}


def tag(server: Server) -> None:
    update(server.server_type, host_tags=" nvme ")


def older(world: World, other: Host) -> None:
    update(world.host, libvirt_version="9.0.0")
    update(other, libvirt_version="8.10.0")


def test_obstacles_are_named(world: World, other: Host) -> None:
    server = world.running()
    staged = StagedImage(pool=other.pools.get(), sha256=world.images[0].sha256, volume="x")
    for case, (change, code, *stops) in OBSTACLES.items():
        before = fresh(server), list(Host.objects.all()), list(other.pools.all())
        if case != "not staged":
            staged.save()
            assert moving_obstacles(fresh(server), other) == []
        change(world, server, other)
        target = Host.objects.get(pk=world.host.pk if case == "same host" else other.pk)
        found = {one.code: one for one in moving_obstacles(fresh(server), target)}
        assert code in found, case
        assert found[code].message.endswith(".")
        assert [found[code].stops_live, found[code].stops_offline] == stops, case
        if all(stops):
            with pytest.raises(Refused):
                move_server(SYSTEM, server, target)
        StagedImage.objects.filter(volume="x").delete()
        for row in (before[0], before[0].server_type, *before[1], *before[2]):
            row.save()
    assert not Action.objects.filter(command="migrate").exists()
    assert CapacityClaim.objects.count() == 1
    ended(Action.objects.latest("pk"))


def fresh(server: Server) -> Server:
    return Server.objects.select_related("host", "location", "server_type", "image").get(
        pk=server.pk
    )


def test_the_choice_is_cheap_and_sorted(
    world: World, other: Host, django_assert_max_num_queries: Any
) -> None:
    server = world.running()
    for _ in range(10):
        world.hosts.append(make_host(world.location))
    update(other, accepting=False)
    with django_assert_max_num_queries(8):
        choices = moving_choices(fresh(server))
    assert len(choices) == 11
    assert [choice.fits("live") for choice in choices] == [True] * 10 + [False]
    assert choices[-1].host == other


def test_servers_of_a_spread_group_stay_apart(world: World, other: Host) -> None:
    group = named_group(world.alice, world.project, "apart")
    first = world.running("a", placement_group=group)
    second = world.running("b", placement_group=group)
    assert first.host != second.host
    with pytest.raises(Refused, match="spread group"):
        move_server(SYSTEM, first)
    world.hosts.append(make_host(world.location))
    action = move_server(SYSTEM, first)
    assert ended(action).state == ActionState.SUCCESS, action.error_detail
    first.refresh_from_db()
    assert first.host == world.hosts[-1]


def test_two_moves_for_one_place(world: World, other: Host) -> None:
    """What is held is held: the second finds no room, and nothing of it is left."""
    first, second = world.running("a"), world.running("b")
    update(other, vcpus_limit=1)
    move_server(SYSTEM, first, other)
    with pytest.raises(Refused, match="vCPUs are free"):
        move_server(SYSTEM, second, other)
    with pytest.raises(Refused) as refused:
        move_server(SYSTEM, first, other)
    assert refused.value.code == "locked"
    assert CapacityClaim.objects.count() == 3
    ended(Action.objects.filter(command="migrate").get())


def test_on_storage_that_both_hosts_see_nothing_is_copied() -> None:
    """Running and off; the disk is sold once, on the host where the server is."""
    world = shared_world()
    first, second = world.hosts
    server = world.running()
    world.driver(second).outside_mount(world.driver(first))
    StoragePool.objects.filter(host=second).update(limit_gib=0)  # no room is needed for it
    for how, source, target in (("live", first, second), ("offline", second, first)):
        before = disks(world, server)
        action = move_server(SYSTEM, server, target, how=how)
        for _ in range(300):  # an offline move waits for the guest
            if ended(action, 1).state != ActionState.RUNNING:
                break
            time.sleep(0.05)
        assert action.state == ActionState.SUCCESS, action.error_detail
        assert disks(world, server) == before
        server.refresh_from_db()
        assert server.host == target
        assert world.driver(source).domain(server.uuid) is None
        assert server.filter_name not in world.driver(source).filters()
        seen = world.driver(target).domain(server.uuid)
        assert seen is not None
        assert seen.power is Power.RUNNING
        used = dict(StoragePool.objects.values_list("host", "used_gib"))
        assert used == {target.pk: server.disk_gib, source.pk: 0}
    assert not world.driver(second).call_log("create_overlay")
    assert not world.driver(second).call_log("upload_volume")


def disks(world: World, server: Server) -> set[str]:
    """Its volumes, which both hosts see alike."""
    seen = [
        {volume.name for volume in world.driver(host).volumes("vpspanel")} for host in world.hosts
    ]
    assert seen[0] == seen[1] >= {server.disk_volume(), server.seed_volume}
    return seen[0]


@pytest.mark.parametrize("how", ["live", "offline"])
def test_storage_that_is_only_said_to_be_shared(how: str) -> None:
    """The other host may even have an old copy: the server must not go on on that."""
    world = shared_world()
    first, second = world.hosts
    server = world.running()
    if how == "offline":
        world.driver(second).outside_share(world.driver(first))
    action = ended(move_server(SYSTEM, server, second, how=how))
    assert (action.state, action.error_code) == ("error", "disk_not_shared")
    assert "shared id" in action.error_detail
    assert world.driver(first).domain(server.uuid) is not None
    assert {one.name for one in world.driver(first).volumes("vpspanel")} >= {server.disk_volume()}
    assert CapacityClaim.objects.get().host == first


def test_storage_that_is_shared_though_nobody_has_said_so(world: World, other: Host) -> None:
    """The old host is cleared after a move: that would be the disk itself."""
    server = world.running()
    world.driver(other).outside_mount(world.driver())
    action = ended(move_server(SYSTEM, server, other))
    assert (action.state, action.error_code) == ("error", "already_there")
    assert "shared id" in action.error_detail
    assert server.disk_volume() in {one.name for one in world.driver().volumes("vpspanel")}
    share()  # which is what the audit asks for


def test_a_move_on_shared_storage_that_fails_takes_nothing_away() -> None:
    world = shared_world()
    first, second = world.hosts
    server = world.running()
    world.driver(second).outside_mount(world.driver(first))
    before = disks(world, server)
    world.driver().inject("move", VirtError("the line is bad"), times=None)
    action = ended(move_server(SYSTEM, server, second))
    assert action.state == ActionState.ERROR
    assert disks(world, server) == before
    assert world.driver(second).domain(server.uuid) is None
    used = dict(StoragePool.objects.values_list("host", "used_gib"))
    assert used == {first.pk: server.disk_gib, second.pk: 0}
