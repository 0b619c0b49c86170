"""Each verb from the customer's word to the host and back into the records."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from hosts.models import CapacityClaim, Host, IPAddress
from hosts.virt.errors import DiskFull
from hosts.virt.spec import Power
from tests.world import World, due_now, work
from vpspanel.actions.models import Action, ActionState
from vpspanel.actions.services import resume_group
from vpspanel.errors import NotFound, Refused
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.models import Lifecycle, PowerSeen, PowerWanted, PrimaryIP, Server

pytestmark = pytest.mark.both_databases


def last_action(server: Server) -> Action:
    return Action.objects.filter(resource_id=server.pk).latest("id")


def test_an_order_becomes_a_running_guest(world: World) -> None:
    ordered = world.order("web")
    assert ordered.root_password
    assert ordered.server.lifecycle == Lifecycle.CREATING
    assert work() == 1
    server = Server.objects.get(pk=ordered.server.pk)
    action = Action.objects.get(pk=ordered.action.pk)
    assert (action.state, action.progress) == (ActionState.SUCCESS, 100), action.error_detail
    assert (server.lifecycle, server.power_seen) == (Lifecycle.ACTIVE, PowerSeen.RUNNING)
    seen = world.driver().domain(server.uuid)
    assert seen is not None
    assert seen.power is Power.RUNNING
    assert seen.metadata["server"] == str(server.pk)
    volumes = {volume.name for volume in world.driver().volumes("vpspanel")}
    assert {server.disk_volume(), server.seed_volume, world.images[0].volume} <= volumes
    assert world.driver().filters() == [server.filter_name]
    families = [ip.address.family for ip in server.primary_ips.all()]
    assert families == [4, 6]
    assert CapacityClaim.objects.get(owner=server.uuid).memory_mib == 128
    assert Event.objects.filter(kind="create.success", resource_id=server.pk, public=True).exists()


def test_power_verbs(world: World) -> None:
    server = world.running()
    driver = world.driver()
    services.power_off(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert (server.power_seen, server.power_wanted) == (PowerSeen.OFF, PowerWanted.OFF)
    services.power_on(world.olga, server.pk)
    work()
    services.reset(world.olga, server.pk)
    work()
    server.refresh_from_db()
    assert (server.power_seen, server.power_wanted) == (PowerSeen.RUNNING, PowerWanted.ON)
    seen = driver.domain(server.uuid)
    assert seen is not None
    assert seen.power is Power.RUNNING
    states = set(Action.objects.values_list("state", flat=True))
    assert states == {ActionState.SUCCESS}


def test_shutdown_waits_for_the_guest(world: World) -> None:
    server = world.running()
    services.shutdown(world.alice, server.pk)
    work()
    action = last_action(server)
    assert (action.state, action.lease_until) == (ActionState.RUNNING, None)
    assert action.detail == "Waiting for the operating system"
    world.driver().guest_poweroff(server.uuid)
    due_now()
    work()
    action.refresh_from_db()
    assert action.state == ActionState.SUCCESS


def test_a_guest_that_ignores_the_request_is_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = world.running()
    world.driver().configure_guest(server.uuid, ignore_acpi=True)
    monkeypatch.setattr("vpspanel.servers.power_steps.SHUTDOWN_SECONDS", 0.0)
    services.shutdown(world.alice, server.pk)
    work()
    action = last_action(server)
    assert (action.state, action.error_code) == (ActionState.ERROR, "guest_ignored_shutdown")
    assert "power it off instead" in action.error_message
    server.refresh_from_db()
    assert server.power_wanted == PowerWanted.ON


def test_rebuild_keeps_identity_and_addresses(world: World) -> None:
    server = world.running()
    before = sorted(server.primary_ips.values_list("address__address", flat=True))
    services.rebuild(world.alice, server.pk, image=world.images[1])
    work()
    assert last_action(server).state == ActionState.SUCCESS
    again = Server.objects.get(pk=server.pk)
    assert (again.uuid, again.image, again.disk_generation) == (server.uuid, world.images[1], 2)
    assert sorted(again.primary_ips.values_list("address__address", flat=True)) == before
    names = [v.name for v in world.driver().volumes("vpspanel") if str(server.uuid) in v.name]
    assert sorted(names) == sorted([again.disk_volume(), again.seed_volume])


def test_a_failed_rebuild_leaves_the_server_as_it_was(world: World) -> None:
    server = world.running()
    driver = world.driver()
    driver.inject("start", DiskFull("no room"), times=5)
    services.rebuild(world.alice, server.pk, image=world.images[1])
    for _ in range(6):
        due_now()
        work()
    action = last_action(server)
    assert (action.state, action.error_code) == (ActionState.ERROR, "disk_full")
    again = Server.objects.get(pk=server.pk)
    assert (again.disk_generation, again.image) == (1, world.images[0])
    seen = driver.domain(server.uuid)
    assert seen is not None
    assert seen.power is Power.RUNNING
    assert seen.disks[0].endswith(server.disk_volume(1))
    names = [v.name for v in driver.volumes("vpspanel") if str(server.uuid) in v.name]
    assert sorted(names) == sorted([server.disk_volume(1), server.seed_volume])


def test_delete_gives_everything_back(world: World) -> None:
    server = world.running()
    services.delete(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert server.lifecycle == Lifecycle.DELETED
    assert world.driver().domain(server.uuid) is None
    assert not [v for v in world.driver().volumes("vpspanel") if str(server.uuid) in v.name]
    assert world.driver().filters() == []
    host = Host.objects.get(pk=world.host.pk)
    assert (host.vcpus_used, host.memory_used_mib, host.pools.get().used_gib) == (0, 0, 0)
    assert not PrimaryIP.objects.exists()
    assert not IPAddress.objects.filter(owner__isnull=False).exists()
    world.project.account.refresh_from_db()
    assert world.project.account.servers_used == 0


def test_a_create_that_fails_gives_everything_back(world: World) -> None:
    world.driver().inject("define", DiskFull("no room"), times=99)
    ordered = world.order()
    for _ in range(6):
        due_now()
        work()
    action = Action.objects.get(pk=ordered.action.pk)
    assert (action.state, action.error_code) == (ActionState.ERROR, "disk_full")
    server = Server.objects.get(pk=ordered.server.pk)
    assert server.lifecycle == Lifecycle.DELETED
    assert server.failed_reason
    assert world.driver().filters() == []
    assert [v.name for v in world.driver().volumes("vpspanel")] == [world.images[0].volume]
    assert not CapacityClaim.objects.exists()


def test_a_silent_host_parks_and_its_return_resumes(world: World) -> None:
    server = world.running()
    world.driver().set_reachable(False)
    services.power_off(world.alice, server.pk)
    work()
    action = last_action(server)
    assert (action.state, action.error_code) == (ActionState.RUNNING, "")
    assert action.detail == "Trying again (Its host does not answer at the moment.)"
    a_minute_ago = timezone.now() - timedelta(minutes=1)
    Action.objects.filter(pk=action.pk).update(failing_since=a_minute_ago)
    due_now()
    work()
    action.refresh_from_db()
    assert (action.state, action.error_code) == (ActionState.PARKED, "host_unreachable")
    world.driver().set_reachable(True)
    assert resume_group(str(world.host.pk), "host_unreachable") == 1
    work()
    action.refresh_from_db()
    assert (action.state, action.error_code) == (ActionState.SUCCESS, "")


def test_password_through_the_agent_or_at_the_next_boot(world: World) -> None:
    server = world.running(ssh_keys=())
    assert services.reveal_root_password(world.alice, server.pk)
    assert services.reveal_root_password(world.alice, server.pk) is None
    services.reset_password(world.alice, server.pk)
    with pytest.raises(Refused, match="being set"):
        services.reveal_root_password(world.alice, server.pk)
    work()
    event = Event.objects.filter(kind="server.password_set").latest("pk")
    assert event.message == "The new root password takes effect at the next boot"
    world.driver().configure_guest(server.uuid, has_agent=True)
    services.reset_password(world.alice, server.pk)
    work()
    event = Event.objects.filter(kind="server.password_set").latest("pk")
    assert event.message == "The new root password is set"


def test_protection_refuses_delete_and_rebuild(world: World) -> None:
    server = world.running()
    services.change_protection(world.alice, server.pk, delete=True, rebuild=True)
    with pytest.raises(Refused, match="protected") as refused:
        services.delete(world.alice, server.pk)
    assert refused.value.code == "protected"
    with pytest.raises(Refused, match="protected"):
        services.rebuild(world.alice, server.pk, image=world.images[1])
    with pytest.raises(Refused, match="equal"):
        services.change_protection(world.alice, server.pk, delete=True, rebuild=False)


def test_only_one_action_at_a_time(world: World) -> None:
    server = world.running()
    services.power_off(world.alice, server.pk)
    with pytest.raises(Refused) as refused:
        services.reset(world.alice, server.pk)
    assert (refused.value.code, "power off" in refused.value.message) == ("locked", True)


def test_rename_is_unique_in_the_project(world: World) -> None:
    server = world.running("web")
    world.running("db")
    assert services.rename(world.alice, server.pk, name="WWW").name == "www"
    with pytest.raises(Refused) as refused:
        services.rename(world.alice, server.pk, name="db")
    assert refused.value.code == "uniqueness_error"
    with pytest.raises(Refused) as refused:
        services.rename(world.alice, server.pk, name="<script>")
    assert refused.value.code == "invalid_input"


def test_roles(world: World) -> None:
    server = world.running()
    with pytest.raises(NotFound):
        services.power_off(world.charlie, server.pk)
    for actor, verb in ((world.bob, services.power_off), (world.olga, services.delete)):
        with pytest.raises(Refused) as refused:
            verb(actor, server.pk)
        assert refused.value.code == "forbidden"


def test_cancel_before_it_begins(world: World) -> None:
    ordered = world.order()
    services.cancel_action(world.alice, ordered.action.pk)
    assert Server.objects.get(pk=ordered.server.pk).lifecycle == Lifecycle.DELETED
    assert not CapacityClaim.objects.exists()
    again = world.order()
    work()
    with pytest.raises(Refused, match="begun"):
        services.cancel_action(world.alice, again.action.pk)


def test_the_same_order_key_orders_once(world: World) -> None:
    first = world.order("web", idempotency_key="k1")
    second = world.order("web", idempotency_key="k1")
    assert (first.server.pk, second.root_password) == (second.server.pk, None)
    with pytest.raises(Refused) as refused:
        world.order("other", idempotency_key="k1")
    assert refused.value.code == "idempotency_key_reused"
    with pytest.raises(Refused) as refused:
        world.order("web")
    assert refused.value.code == "uniqueness_error"
