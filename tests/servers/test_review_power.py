"""Guests are asked once and then now and then; what was seen later is not written over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from hosts.models import Host, HostStatus
from hosts.monitor import StatusChange
from hosts.virt.errors import CallTimeout
from hosts.virt.fake import FakeDriver
from hosts.virt.spec import DomainSeen
from tests.servers.test_verbs import last_action
from tests.world import World, due_now, work
from vpspanel.actions.models import Action, ActionState
from vpspanel.servers import services
from vpspanel.servers.models import PowerSeen, Server
from vpspanel.servers.observe import Observer

pytestmark = pytest.mark.both_databases


def asked(world: World, call: str) -> int:
    return len(world.driver().call_log(call))


def time_passes(action: Action, seconds: float) -> None:
    """It was asked that long ago, has not booted since, and is due."""
    action.refresh_from_db()
    Server.objects.update(booted_at=None)
    earlier = timezone.now() - timedelta(seconds=seconds)
    action.memory["asked_at"] = earlier.isoformat()
    Action.objects.filter(pk=action.pk).update(memory=action.memory)
    due_now()


def hear_from_the_host() -> None:
    Host.objects.update(seen_at=timezone.now())


@pytest.mark.parametrize("verb", ["shutdown", "reboot"])
def test_a_guest_is_asked_once_and_again_only_after_a_while(world: World, verb: str) -> None:
    server = world.running()
    world.driver().configure_guest(server.uuid, ignore_acpi=True)
    hear_from_the_host()
    action = getattr(services, verb)(world.alice, server.pk)
    work()
    assert asked(world, verb) == 1
    due_now()
    work()
    assert asked(world, verb) == 1
    time_passes(action, 11)
    work()
    assert asked(world, verb) == 2


def test_a_guest_is_not_rebooted_again_while_nobody_hears_whether_it_did(world: World) -> None:
    server = world.running()
    Host.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    action = services.reboot(world.alice, server.pk)
    work()
    for seconds in (11, 30, 60):
        time_passes(action, seconds)
        work()
    assert asked(world, "reboot") == 1
    hear_from_the_host()
    time_passes(action, 61)
    work()
    assert asked(world, "reboot") == 2


def test_a_reboot_that_nobody_could_see_is_not_called_ignored(world: World) -> None:
    server = world.running()
    Host.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    action = services.reboot(world.alice, server.pk)
    work()
    time_passes(action, 91)
    work()
    assert last_action(server).error_code == "reboot_not_seen"


def test_a_reboot_that_is_told_before_the_call_returns_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = world.running()
    reboot = FakeDriver.reboot

    def at_once(self: FakeDriver, uuid: UUID) -> None:
        reboot(self, uuid)
        Server.objects.filter(uuid=uuid).update(booted_at=timezone.now())

    monkeypatch.setattr(FakeDriver, "reboot", at_once)
    services.reboot(world.alice, server.pk)
    work()
    assert (last_action(server).state, asked(world, "reboot")) == (ActionState.SUCCESS, 1)


def test_a_step_does_not_write_over_what_was_seen_after_it_looked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = world.running()
    look = FakeDriver.domain

    def crash_then(self: FakeDriver, uuid: UUID) -> DomainSeen | None:
        seen = look(self, uuid)
        Server.objects.filter(uuid=uuid).update(
            power_seen=PowerSeen.CRASHED, seen_at=timezone.now()
        )
        return seen

    monkeypatch.setattr(FakeDriver, "domain", crash_then)
    services.reset(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert last_action(server).state == ActionState.SUCCESS
    assert server.power_seen == PowerSeen.CRASHED


@pytest.mark.parametrize("how", ["status", "list"])
def test_what_was_parked_for_timeouts_goes_on_when_the_host_is_back(world: World, how: str) -> None:
    """A host that hangs answers with timeouts first, so the last one may be why it was parked."""
    server = world.running()
    world.driver().inject("destroy", CallTimeout("hangs"), times=2)
    action = services.power_off(world.alice, server.pk)
    work()
    Action.objects.filter(pk=action.pk).update(failing_since=timezone.now() - timedelta(minutes=1))
    due_now()
    work()
    action.refresh_from_db()
    assert (action.state, action.error_code) == (ActionState.PARKED, "host_timeout")
    come_back(world, how)
    work()
    action.refresh_from_db()
    assert action.state == ActionState.SUCCESS


def come_back(world: World, how: str) -> None:
    """The monitor sees the host again."""
    observer, now = Observer(), timezone.now()
    if how == "list":
        observer.on_list(world.host.pk, world.driver().domains(), now, gap=True)
        return
    change: Any = StatusChange(HostStatus.REACHABLE, "", now, HostStatus.UNREACHABLE)
    observer.on_status(world.host.pk, change, changed=True)


def test_one_frozen_guest_is_not_tried_again_at_every_list(world: World) -> None:
    server = world.running()
    action = services.power_off(world.alice, server.pk)
    Action.objects.filter(pk=action.pk).update(
        state=ActionState.PARKED, detail="host_timeout: It did not answer in time."
    )
    Observer().on_list(world.host.pk, world.driver().domains(), timezone.now(), gap=False)
    action.refresh_from_db()
    assert action.state == ActionState.PARKED
