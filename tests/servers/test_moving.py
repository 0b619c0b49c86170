"""Moving a server to another host: who may, what stands in the way, what is held, where it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections

from hosts.models import CapacityClaim, Host, IPAddress, StagedImage
from hosts.virt.errors import DiskFull, HostUnreachable, VirtError
from hosts.virt.fake import Fault
from hosts.virt.fake_moves import MoveCalls
from hosts.virt.spec import Power
from tests.audit import assert_clean, clean_audit
from tests.hosts.contract import wait_until
from tests.world import World, due_now, make_host, work
from vpspanel.actions import services as actions
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services
from vpspanel.servers.groups import named_group
from vpspanel.servers.models import Server
from vpspanel.servers.moving import cancel_move, move_server, moving_choices, moving_obstacles
from vpspanel.servers.services import facts_of
from vpspanel.servers.states import shown_status

__all__ = ["clean_audit"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]


@pytest.fixture
def other(world: World) -> Host:
    """A second host, as good as the first."""
    host = make_host(world.location)
    world.hosts.append(host)
    return host


def ended(action: Action, rounds: int = 8) -> Action:
    """The action, when a worker has done all that it can."""
    for _ in range(rounds):
        work()
        due_now()
    action.refresh_from_db()
    return action


def lives_on(world: World, server: Server, host: Host, power: Power) -> None:
    """The records name the host, and it alone has anything of the server."""
    server.refresh_from_db()
    assert server.host == host
    assert server.power_seen == power.value
    claim = CapacityClaim.objects.get(owner=server.uuid)
    assert (claim.host, claim.pool.name) == (host, server.pool)
    for one in world.hosts:
        driver = world.driver(one)
        seen = driver.domain(server.uuid)
        volumes = {volume.name for volume in driver.volumes("vpspanel")}
        own = {server.disk_volume(), server.seed_volume}
        if one == host:
            assert seen is not None
            assert (seen.power, seen.ours) == (power, True)
            assert own <= volumes
            assert server.filter_name in driver.filters()
        else:
            assert seen is None
            assert not any(str(server.uuid) in name for name in volumes)
            assert server.filter_name not in driver.filters()
        one.refresh_from_db()
        assert one.vcpus_used == (claim.vcpus if one == host else 0)
    assert_clean()


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


def update(row: Any, **changes: Any) -> None:
    type(row).objects.filter(pk=row.pk).update(**changes)


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


# --- what goes wrong ----------------------------------------------------------------


FAILS = {
    "domain": HostUnreachable,
    "upload_volume": DiskFull,
    "ensure_filter": VirtError,
    "write_volume": DiskFull,
    "define": VirtError,
    "create_overlay": DiskFull,
}


@pytest.mark.parametrize("call", [call for call in FAILS if call != "domain"])
def test_a_target_that_fails_gets_nothing(world: World, other: Host, call: str) -> None:
    server = world.running()
    world.driver(other).inject(call, FAILS[call], times=None)
    action = move_server(SYSTEM, server)
    assert ended(action).state == ActionState.ERROR
    world.driver(other).clear_faults()
    lives_on(world, server, world.host, Power.RUNNING)


def test_the_host_has_less_room_than_the_records_say(world: World, other: Host) -> None:
    server = world.running()
    driver = world.driver(other)
    free = driver.pool("vpspanel").available_bytes
    driver.add_foreign_volume("vpspanel", "filler", free - 1000)
    action = move_server(SYSTEM, server)
    assert (ended(action).state, action.error_code) == (ActionState.ERROR, "disk_full")
    lives_on(world, server, world.host, Power.RUNNING)


def test_what_lies_there_already_is_left_alone(world: World, other: Host) -> None:
    server = world.running()
    driver = world.driver(other)
    driver.add_foreign_volume("vpspanel", server.disk_volume(), 1000)
    action = move_server(SYSTEM, server)
    assert (ended(action).state, action.error_code) == (ActionState.ERROR, "already_there")
    assert driver.delete_volume("vpspanel", server.disk_volume())
    lives_on(world, server, world.host, Power.RUNNING)


def test_a_move_that_fails_again_and_again(world: World, other: Host) -> None:
    server = world.running()
    world.driver().inject("move", VirtError("the line is bad"), times=None)
    action = move_server(SYSTEM, server)
    assert ended(action).state == ActionState.ERROR
    assert "the line is bad" in action.error_detail
    lives_on(world, server, world.host, Power.RUNNING)


def test_the_reply_is_lost(world: World, other: Host) -> None:
    """It has arrived, and nobody was told: it is looked for, and not moved twice."""
    server = world.running()
    world.driver().inject("move", Fault.LOST)
    action = move_server(SYSTEM, server)
    assert ended(action).state == ActionState.SUCCESS, action.error_detail
    assert len(world.driver().call_log("move")) == 1
    lives_on(world, server, other, Power.RUNNING)


def test_it_was_paused_for_its_last_bytes(world: World, other: Host) -> None:
    """The worker was lost there, and it did not arrive: it goes on, and is moved again."""
    server = world.running()
    action = move_server(SYSTEM, server)
    fail_once(world, "move", lambda: world.driver().strand(server.uuid))
    assert ended(action).state == ActionState.SUCCESS, action.error_detail
    lives_on(world, server, other, Power.RUNNING)


def fail_once(world: World, call: str, before: Callable[[], object]) -> None:
    """The next call loses its host, after `before`."""
    work_once = MoveCalls.move

    def broken(self: MoveCalls, *args: Any, **options: Any) -> None:
        MoveCalls.move = work_once  # type: ignore[method-assign]
        before()
        raise HostUnreachable("gone")

    MoveCalls.move = broken  # type: ignore[method-assign]


def test_it_stops_by_itself_on_the_way(world: World, other: Host) -> None:
    server = world.running()
    action = move_server(SYSTEM, server)
    fail_once(world, "move", lambda: world.driver().outside_destroy(server.uuid))
    assert (ended(action).state, action.error_code) == (ActionState.ERROR, "server_stopped")
    Server.objects.filter(pk=server.pk).update(power_seen="off", power_wanted="off")
    lives_on(world, server, world.host, Power.OFF)


def test_it_runs_on_both(world: World, other: Host) -> None:
    """Never decided by the panel: nothing is stopped, nothing is deleted."""
    server = world.running()
    action = move_server(SYSTEM, server)
    fail_once(world, "move", lambda: world.driver(other).outside_start(server.uuid))
    assert (ended(action).state, action.error_code) == (ActionState.PARKED, "whereabouts")
    for host in (world.host, other):
        seen = world.driver(host).domain(server.uuid)
        assert seen is not None
        assert seen.power is Power.RUNNING
    world.driver(other).outside_destroy(server.uuid)
    actions.retry_parked(action, actor=SYSTEM)
    assert ended(action).state == ActionState.SUCCESS, action.error_detail
    lives_on(world, server, other, Power.RUNNING)


def test_it_arrived_in_the_moment_in_which_its_time_was_up(world: World, other: Host) -> None:
    """There is no way back: the records follow the guest, and the old host is cleared."""
    server = world.running()
    world.driver().inject("move", Fault.LOST)
    action = move_server(SYSTEM, server)
    work()
    long_ago = server.created - timedelta(days=1)
    Action.objects.filter(pk=action.pk).update(deadline=long_ago)
    due_now()
    assert (ended(action).state, action.error_code) == (ActionState.ERROR, "deadline_exceeded")
    lives_on(world, server, other, Power.RUNNING)


# --- calling it off -------------------------------------------------------------------


def test_before_it_began(world: World, other: Host) -> None:
    server = world.running()
    action = move_server(SYSTEM, server)
    cancel_move(SYSTEM, server)
    action.refresh_from_db()
    assert action.state == ActionState.CANCELLED
    lives_on(world, server, world.host, Power.RUNNING)


def test_while_it_goes_on(world: World, other: Host) -> None:
    """From another process: it stays where it is."""
    server = world.running()
    action = move_server(SYSTEM, server)
    update(world.host, uri=world.host.uri + "&move_s=30")
    world.driver().ensure_pool("vpspanel", "/pool")
    worker = threading.Thread(target=in_thread(work))
    worker.start()
    wait_until(lambda: world.driver().call_log("move"), 30, "it is being moved")
    began = time.monotonic()
    cancel_move(SYSTEM, server)
    worker.join(30)
    took = time.monotonic() - began
    assert took < 15
    assert (ended(action).state, action.error_code) == (ActionState.ERROR, "cancelled")
    lives_on(world, server, world.host, Power.RUNNING)


def in_thread(what: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        try:
            what()
        finally:
            connections.close_all()

    return run


def test_not_once_it_lives_there(world: World, other: Host) -> None:
    server = world.running()
    world.driver().inject("undefine", HostUnreachable, times=1)
    action = move_server(SYSTEM, server)
    work()
    action.refresh_from_db()
    assert action.step == "clear_source"
    with pytest.raises(Refused, match="can no longer be called off"):
        cancel_move(SYSTEM, server)
    assert ended(action).state == ActionState.SUCCESS, action.error_detail
    lives_on(world, server, other, Power.RUNNING)
