"""Suspension: what is suspended is stopped and kept, and starts again as it was wanted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hosts.models import HostStatus
from hosts.virt.spec import Power
from tests.api.asking import program
from tests.world import World, due_now, work
from vpspanel.accounts.models import Account, Project, Suspender
from vpspanel.actions.models import Action
from vpspanel.consoles.rights import may_watch
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.models import Event
from vpspanel.servers import power_steps, services
from vpspanel.servers.models import PowerSeen, Restart, Server
from vpspanel.servers.restarts import start_due
from vpspanel.servers.suspending import (
    stop_suspended,
    suspend_account,
    suspend_server,
    unsuspend_account,
    unsuspend_server,
)

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

WHY = "An invoice is overdue."


def power(world: World, server: Server) -> Power:
    """What the host says."""
    seen = world.driver().domain(server.uuid)
    assert seen is not None
    return seen.power


def settle(world: World) -> None:
    """What the monitor, a worker and obedient guests do in the next seconds."""
    stop_suspended()
    work()
    asked = Action.objects.filter(command="suspend", state="running").values("resource_id")
    for server in Server.objects.filter(pk__in=asked):
        world.driver().guest_poweroff(server.uuid)
    due_now()
    work()
    start_due()
    work()


def customer_of(world: World, parent: Account, name: str) -> Project:
    """An account below another one, with a project that Alice owns."""
    account = Account.objects.create(name=name, parent=parent, server_limit=10)
    project = Project.objects.create(account=account, name=name)
    assert world.alice.user is not None
    project.members.create(user=world.alice.user, role="owner")
    return project


def test_a_suspended_server_is_stopped_and_kept(world: World) -> None:
    server = world.running()
    suspend_server(SYSTEM, server.pk, reason=f"  {WHY} ")
    settle(world)
    server.refresh_from_db()
    assert (server.power_wanted, server.power_seen) == ("on", "off")
    assert (server.suspended_reason, server.suspender) == (WHY, Suspender.STAFF)
    assert power(world, server) is Power.OFF
    assert server.disk_volume() in [v.name for v in world.driver().volumes("vpspanel")]
    assert Event.objects.get(kind="server.suspended", public=True).message == f"Suspended: {WHY}"
    for verb in (services.power_on, services.reboot, services.reset, services.reset_password):
        with pytest.raises(Refused, match="It is suspended"):
            verb(world.alice, server.pk)
    assert world.alice.user is not None
    pair = (world.alice.user.pk, server.pk)
    assert may_watch({pair}) == {}


def test_its_end_starts_what_was_wanted_on_and_nothing_else(world: World) -> None:
    on, off = world.running("on"), world.stopped("off")
    for server in (on, off):
        suspend_server(SYSTEM, server.pk, reason=WHY)
    settle(world)
    for server in (on, off):
        unsuspend_server(SYSTEM, server.pk)
    settle(world)
    assert (power(world, on), power(world, off)) == (Power.RUNNING, Power.OFF)
    assert Server.objects.get(pk=on.pk).suspended_at is None
    assert not Restart.objects.exclude(server=on).exists()
    said = Event.objects.filter(resource_id=on.pk, kind="server.power_on").get()
    assert said.message == "Start requested after its suspension"


def test_a_guest_that_does_not_listen_is_forced_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = world.running()
    world.driver().configure_guest(server.uuid, ignore_acpi=True)
    suspend_server(SYSTEM, server.pk, reason=WHY)
    work()
    due_now()
    work()
    assert power(world, server) is Power.RUNNING
    monkeypatch.setattr(power_steps, "SHUTDOWN_SECONDS", 0.0)
    due_now()
    work()
    assert power(world, server) is Power.OFF
    assert Action.objects.get(command="suspend").state == "success"


def test_lifted_while_it_is_being_stopped_it_ends_running(world: World) -> None:
    server = world.running()
    world.driver().configure_guest(server.uuid, ignore_acpi=True)
    suspend_server(SYSTEM, server.pk, reason=WHY)
    work()
    unsuspend_server(SYSTEM, server.pk)
    Restart.objects.update(since=timezone.now() - timedelta(minutes=1))  # seen since, running
    Server.objects.filter(pk=server.pk).update(seen_at=timezone.now())
    start_due()
    assert Restart.objects.filter(server=server).exists()  # still being stopped: not forgotten
    world.driver().guest_poweroff(server.uuid)
    settle(world)
    assert power(world, server) is Power.RUNNING


def test_lifted_before_its_stop_has_begun_it_just_runs_on(world: World) -> None:
    server = world.running()
    boots = world.driver().guest_record(server.uuid).boots
    suspend_server(SYSTEM, server.pk, reason=WHY)
    unsuspend_server(SYSTEM, server.pk)
    assert Action.objects.get(command="suspend").state == "cancelled"
    settle(world)
    assert world.driver().guest_record(server.uuid).boots == boots


def test_no_customer_cancels_the_stop(world: World) -> None:
    server = world.running()
    suspend_server(SYSTEM, server.pk, reason=WHY)
    stop = Action.objects.get(command="suspend")
    with pytest.raises(Refused, match="Only the staff"):
        services.cancel_action(world.alice, stop.pk)


def test_whatever_starts_it_it_is_stopped_again(world: World) -> None:
    server = world.running()
    suspend_server(SYSTEM, server.pk, reason=WHY)
    settle(world)
    world.driver().start(server.uuid)
    Server.objects.filter(pk=server.pk).update(power_seen=PowerSeen.RUNNING)
    settle(world)
    assert power(world, server) is Power.OFF


def test_one_that_is_being_built_is_stopped_when_it_is_ready(world: World) -> None:
    ordered = world.order()
    suspend_server(SYSTEM, ordered.server.pk, reason=WHY)
    work()
    settle(world)
    assert power(world, ordered.server) is Power.OFF


def test_a_silent_host_is_left_alone(world: World) -> None:
    server = world.running()
    world.host.status = HostStatus.UNREACHABLE
    world.host.save(update_fields=["status"])
    suspend_server(SYSTEM, server.pk, reason=WHY)
    assert stop_suspended() == 0
    world.host.status = HostStatus.REACHABLE
    world.host.save(update_fields=["status"])
    assert stop_suspended() == 1


def test_customers_suspend_nothing(world: World) -> None:
    server = world.running()
    program(world.project)
    token = world.project.api_tokens.get()
    for actor in (world.alice, world.bob, Actor(None, "api", token=token)):
        with pytest.raises(Refused, match="staff or a reseller"):
            suspend_server(actor, server.pk, reason=WHY)
        with pytest.raises(Refused, match="staff or a reseller"):
            unsuspend_server(actor, server.pk)
        with pytest.raises(NotFound):
            suspend_account(actor, world.project.account_id, reason=WHY)
        with pytest.raises(NotFound):
            unsuspend_account(actor, world.project.account_id)
    with pytest.raises(NotFound):
        suspend_server(world.charlie, server.pk, reason=WHY)
    assert not Server.objects.exclude(suspended_at=None).exists()


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201, "a\x00b"])
def test_a_reason_is_one_line_of_text(world: World, reason: str) -> None:
    server = world.running()
    with pytest.raises(Refused, match="reason"):
        suspend_server(SYSTEM, server.pk, reason=reason)
    with pytest.raises(Refused, match="reason"):
        suspend_account(SYSTEM, world.project.account_id, reason=reason)


def test_what_is_suspended_or_not_is_said(world: World) -> None:
    server = world.running()
    with pytest.raises(Refused, match="not suspended"):
        unsuspend_server(SYSTEM, server.pk)
    with pytest.raises(Refused, match="not suspended"):
        unsuspend_account(SYSTEM, world.project.account_id)
    suspend_server(SYSTEM, server.pk, reason=WHY)
    suspend_account(SYSTEM, world.project.account_id, reason=WHY)
    with pytest.raises(Refused, match="already"):
        suspend_server(SYSTEM, server.pk, reason=WHY)
    with pytest.raises(Refused, match="already"):
        suspend_account(SYSTEM, world.project.account_id, reason=WHY)
    Server.objects.filter(pk=server.pk).update(lifecycle="deleting", suspended_at=None)
    with pytest.raises(Refused, match="being deleted"):
        suspend_server(SYSTEM, server.pk, reason=WHY)


def test_an_account_takes_its_servers_with_it(world: World) -> None:
    servers = [world.running(name) for name in ("one", "two")]
    off = world.stopped("off")
    alone = world.running("alone")
    suspend_server(SYSTEM, alone.pk, reason="Spam")
    account = suspend_account(SYSTEM, world.project.account_id, reason=WHY)
    assert (account.suspended_reason, account.suspender) == (WHY, Suspender.STAFF)
    settle(world)
    assert {power(world, server) for server in (*servers, off, alone)} == {Power.OFF}
    with pytest.raises(Refused, match="suspended"):
        world.order("more")
    unsuspend_account(SYSTEM, world.project.account_id)
    settle(world)
    assert [power(world, server) for server in servers] == [Power.RUNNING] * 2
    assert [power(world, server) for server in (off, alone)] == [Power.OFF] * 2
    told = Event.objects.filter(kind="server.suspended").exclude(resource_id=alone.pk)
    assert {event.message for event in told} == {"Suspended with its account"}


def test_a_reseller_takes_its_customers_with_it(world: World) -> None:
    reseller = world.project.account
    near, other = (customer_of(world, reseller, name) for name in ("near", "other"))
    far = customer_of(world, near.account, "far")
    servers = [world.running(p.name, project=p) for p in (near, other, far)]
    suspend_account(SYSTEM, other.account_id, reason="Spam")  # for itself, before
    suspend_account(SYSTEM, reseller.pk, reason=WHY)
    settle(world)
    assert {power(world, server) for server in servers} == {Power.OFF}
    followers = Account.objects.filter(suspender=Suspender.ABOVE)
    assert {account.name for account in followers} == {"near", "far"}
    assert not followers.exclude(suspended_reason="").exists()  # not its customers' business
    with pytest.raises(Refused, match="above"):
        unsuspend_account(SYSTEM, near.account_id)
    unsuspend_account(SYSTEM, reseller.pk)
    settle(world)
    assert [power(world, server) for server in servers] == [
        Power.RUNNING,
        Power.OFF,
        Power.RUNNING,
    ]
    assert list(Account.objects.exclude(suspended_at=None)) == [other.account]


def test_a_suspension_of_its_own_outlives_that_of_the_reseller(world: World) -> None:
    reseller = world.project.account
    near = customer_of(world, reseller, "near")
    far = customer_of(world, near.account, "far")
    suspend_account(SYSTEM, reseller.pk, reason=WHY)
    suspend_account(SYSTEM, near.account_id, reason="Spam")  # it only followed so far
    unsuspend_account(SYSTEM, reseller.pk)
    suspended = Account.objects.exclude(suspended_at=None)
    assert {account.pk for account in suspended} == {near.account_id, far.account_id}
    suspend_account(SYSTEM, reseller.pk, reason=WHY)
    unsuspend_account(SYSTEM, near.account_id)  # stays, as long as the reseller is
    assert Account.objects.get(pk=near.account_id).suspender == Suspender.ABOVE
    unsuspend_account(SYSTEM, reseller.pk)
    assert not suspended.all().exists()


def test_a_round_asks_the_same_whatever_is_suspended(world: World) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert stop_suspended() == 0
        return len(captured)

    few = queries()
    for name in ("one", "two", "three"):
        suspend_server(SYSTEM, world.stopped(name).pk, reason=WHY)
    suspend_account(SYSTEM, world.project.account_id, reason=WHY)
    assert queries() == few == 2
