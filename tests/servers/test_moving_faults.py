"""Moves that fail, are lost in the middle, or are called off: it is on exactly one host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from hosts.models import Host
from hosts.virt.errors import DiskFull, HostUnreachable, StillMoving, VirtError
from hosts.virt.fake import Fault
from hosts.virt.fake_moves import MoveCalls
from hosts.virt.spec import Power
from tests.audit import clean_audit
from tests.hosts.contract import wait_until
from tests.servers.moves import ended, lives_on, other, update
from tests.world import World, due_now, work
from vpspanel.actions import services as actions
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.servers.models import Server
from vpspanel.servers.moving import cancel_move, move_server

__all__ = ["clean_audit", "other"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]


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


def test_an_earlier_try_is_not_cleared_up_yet(world: World, other: Host) -> None:
    """Its hosts need some seconds for that: they are waited for."""
    server = world.running()
    world.driver().inject("move", StillMoving("another job is already running"), times=3)
    action = move_server(SYSTEM, server)
    assert ended(action).state == ActionState.SUCCESS, action.error_detail
    assert len(world.driver().call_log("move")) == 4
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
