"""A host is lost with the disks on it: what runs on from a snapshot, as what, what does not."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hosts.models import CapacityClaim, Host, HostStatus, Image
from hosts.virt.errors import DiskFull
from hosts.virt.spec import Power
from tests.servers.losing import FENCED, evacuated, lose, two_hosts, with_snapshot
from tests.servers.moves import update
from tests.world import World, make_host, work
from vpspanel.accounts.models import User
from vpspanel.actions.models import Action
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers import evacuation, services, stale
from vpspanel.servers.audit import audit
from vpspanel.servers.audit_records import check_records
from vpspanel.servers.evacuation import evacuate
from vpspanel.servers.groups import named_group
from vpspanel.servers.images import image_owner
from vpspanel.servers.models import Server, StaleCopy
from vpspanel.servers.moving import move_server
from vpspanel.servers.observe import Observer
from vpspanel.servers.rescue import enable_rescue
from vpspanel.servers.snapshots import create_image, delete_image

pytestmark = pytest.mark.both_databases


@pytest.fixture
def world(transactional_db: None) -> World:
    return two_hosts()


def seed_of(world: World, server: Server) -> bytes:
    """What cloud-init reads on the host where the server lives."""
    record = world.driver(server.host).volume_record(server.pool, server.seed_volume)
    assert record is not None
    return record.head


def instance_of(world: World, server: Server) -> bytes:
    """Whom cloud-init takes the system for."""
    return seed_of(world, server).split(b"instance-id: ")[1].split(b"\n")[0]


def restored(world: World, server: Server) -> Server:
    """Its host is lost, and it runs on from its newest snapshot."""
    lose(world, server.host, shared=False)
    done = evacuated(world, server.host, from_copies=True)
    assert [action.command for action in done.actions] == ["restore"], done.stays
    action = Action.objects.get(pk=done.actions[0].pk)
    assert action.state == "success", action.error_detail
    server.refresh_from_db()
    return server


def wrong() -> list[str]:
    """What the audit finds wrong with the records."""
    return [finding.code for finding in check_records(timezone.now())]


def test_it_runs_on_elsewhere_from_its_newest_snapshot(world: World) -> None:
    server, older = with_snapshot(world)
    services.power_off(world.alice, server.pk)
    work()
    newest = create_image(world.alice, server.pk, description="before the upgrade").image
    work()
    services.power_on(world.alice, server.pk)
    work()
    source, target = world.hosts
    before = (server.uuid, server.mac, [*server.primary_ips.values_list("pk", flat=True)])
    instance, disk = instance_of(world, server), server.disk_volume()
    restored(world, server)
    assert (server.host, server.image, server.power_seen) == (target, newest, "running")
    assert newest != older
    assert (server.uuid, server.mac, [*server.primary_ips.values_list("pk", flat=True)]) == before
    assert server.disk_volume() != disk
    there = world.driver(target)
    record = there.volume_record(server.pool, server.disk_volume())
    newest.refresh_from_db()
    assert record is not None
    assert (record.base, record.capacity) == (newest.volume, server.disk_gib * 1024**3)
    assert instance_of(world, server) == instance  # no new host keys, no user data again
    assert there.guest_record(server.uuid).boots == 1
    assert there.filters() == [server.filter_name]
    claim = CapacityClaim.objects.get()
    assert (claim.owner, claim.host, claim.disk_gib) == (server.uuid, target, server.disk_gib)
    source.refresh_from_db()
    assert (source.vcpus_used, source.pools.get().used_gib) == (0, 0)
    told = Event.objects.get(kind="server.restored")
    assert told.public
    assert "before the upgrade" in told.message
    assert wrong() == []


def test_it_does_so_only_if_staff_say_so(world: World) -> None:
    server, image = with_snapshot(world)
    lose(world, shared=False)
    done = evacuated(world)
    assert done.actions == []
    assert [one.server for one in done.stays] == [server]
    assert image.description in done.stays[0].reason
    server.refresh_from_db()
    assert server.host == world.host


def test_only_a_copy_of_its_own_project_counts(
    world: World, django_assert_num_queries: Any
) -> None:
    server, image = with_snapshot(world)
    plain = world.running("plain")
    with django_assert_num_queries(4):
        plan = evacuation.plan(world.host)
    assert [(one.server, one.image) for one in plan.restores] == [(server, image)]
    assert [one.server for one in plan.stays] == [plain]
    for change in ({"owner": image_owner(10**6)}, {"status": "unavailable"}):
        Image.objects.filter(pk=image.pk).update(**change)
        assert evacuation.plan(world.host).restores == []


def test_what_has_secrets_in_its_seed_still_has(world: World) -> None:
    """The snapshot is of a system that may not have read them."""
    server, _ = with_snapshot(world)
    update(server, root_password_hash="$6$unread", seed_secret_since=timezone.now())
    assert b"$6$unread" in seed_of(world, restored(world, server))


def test_what_was_rebuilt_since_gets_no_secret_of_its_new_system(world: World) -> None:
    server, _ = with_snapshot(world)
    instance = instance_of(world, server)
    services.rebuild(world.alice, server.pk, image=world.images[1])
    work()
    server.refresh_from_db()
    assert instance_of(world, server) != instance
    update(server, root_password_hash="$6$other", seed_secret_since=timezone.now())
    restored(world, server)
    assert instance_of(world, server) == instance
    assert b"$6$other" not in seed_of(world, server)


def test_a_snapshot_of_unknown_origin_is_a_new_instance(world: World) -> None:
    server, image = with_snapshot(world)
    update(image, created_from_instance=None)
    instance = instance_of(world, server)
    assert instance_of(world, restored(world, server)) != instance


def test_it_can_be_lost_rebuilt_copied_and_moved_again(world: World) -> None:
    server, _ = with_snapshot(world)
    instance = instance_of(world, server)
    restored(world, server)
    third = make_host(world.location)
    world.hosts.append(third)
    action = move_server(SYSTEM, server, third)
    work()
    action.refresh_from_db()
    assert action.state == "success", action.error_detail
    server.refresh_from_db()
    assert instance_of(world, server) == instance
    services.power_off(world.alice, server.pk)
    work()
    copy = create_image(world.alice, server.pk).image
    assert f"{server.uuid}-{copy.created_from_instance}".encode() == instance
    work()
    services.rebuild(world.alice, server.pk, image=world.images[0])
    work()
    server.refresh_from_db()
    assert server.restored_instance is None
    assert instance_of(world, server) != instance
    services.delete(world.alice, server.pk)
    work()
    assert world.driver(third).domains() == []


def test_rescue_system_and_iso_do_not_come_along(world: World) -> None:
    server, _ = with_snapshot(world)
    enable_rescue(world.alice, server.pk)
    work()
    iso = Image.objects.create(type="iso", description="installer", format="raw", sha256="5" * 64)
    update(server, iso=iso, iso_changed=True)
    restored(world, server)
    assert (server.iso, server.iso_changed, server.rescue_enabled) == (None, False, False)
    assert server.rescue_password_hash == ""
    disks = world.driver(server.host).guest_record(server.uuid).spec.disks
    assert [disk.volume for disk in disks] == [*server.volumes]


@pytest.mark.parametrize("off", ["wish", "suspension"])
def test_what_should_be_off_is_restored_and_stays_off(world: World, off: str) -> None:
    server, _ = with_snapshot(world)
    if off == "wish":
        services.power_off(world.alice, server.pk)
        work()
    else:
        update(server, suspended_at=timezone.now())
    restored(world, server)
    assert (server.host, server.power_seen) == (world.hosts[1], "off")


@pytest.mark.parametrize("call", ["create_overlay", "write_volume", "define", "start"])
def test_what_fails_leaves_it_where_it_was(world: World, call: str) -> None:
    server, _ = with_snapshot(world)
    lose(world, shared=False)
    there = world.driver(world.hosts[1])
    there.inject(call, DiskFull("no room"), times=None)
    action = evacuated(world, from_copies=True).actions[0]
    action.refresh_from_db()
    assert action.state == "error", action.detail
    server.refresh_from_db()
    assert (server.host, server.power_wanted) == (world.host, "on")
    assert (there.domains(), there.filters()) == ([], [])
    assert not [one for one in there.volumes("vpspanel") if server.owns_volume(one.name)]
    assert CapacityClaim.objects.get().host == world.host
    assert wrong() == []


def test_a_snapshot_that_is_deleted_meanwhile_leaves_it_where_it_was(world: World) -> None:
    server, image = with_snapshot(world)
    lose(world, shared=False)
    (action,) = evacuate(
        SYSTEM, world.host, confirmed_name=world.host.name, fenced=FENCED, from_copies=True
    ).actions
    delete_image(world.alice, image.pk)
    work()
    action.refresh_from_db()
    assert (action.state, action.error_code) == ("error", "image_gone")
    server.refresh_from_db()
    assert server.host == world.host
    assert CapacityClaim.objects.get().host == world.host
    assert wrong() == []


def test_a_second_click_begins_nothing_more(world: World) -> None:
    with_snapshot(world)
    lose(world, shared=False)
    confirmed: dict[str, Any] = {"confirmed_name": world.host.name, "fenced": FENCED}
    first, second = (evacuate(SYSTEM, world.host, from_copies=True, **confirmed) for _ in range(2))
    assert (len(first.actions), second.actions) == (1, [])
    assert "restore is still open" in second.stays[0].reason
    assert CapacityClaim.objects.count() == 2  # where it was, and what is held elsewhere
    work()
    assert CapacityClaim.objects.get().host == world.hosts[1]


def test_what_lies_there_already_is_nobodys_to_overwrite(world: World) -> None:
    server, _ = with_snapshot(world)
    lose(world, shared=False)
    there = world.driver(world.hosts[1])
    there.write_volume("vpspanel", server.disk_volume(), b"x", capacity_bytes=1024)
    action = evacuated(world, from_copies=True).actions[0]
    action.refresh_from_db()
    assert action.error_code == "already_there"
    assert there.volume_record("vpspanel", server.disk_volume()) is not None


def test_room_and_spread_groups_hold(world: World) -> None:
    group = named_group(world.alice, world.project, "apart")
    server, _ = with_snapshot(world)
    update(server, placement_group=group)
    CapacityClaim.objects.update(spread=group.uuid)
    CapacityClaim.objects.create(
        owner=group.uuid, host=world.hosts[1], pool=world.hosts[1].pools.get(), spread=group.uuid,
        vcpus=0, memory_mib=0, disk_gib=0,
    )  # fmt: skip
    lose(world, shared=False)
    done = evacuated(world, from_copies=True)
    assert done.actions == []
    assert "room" in done.stays[0].reason
    assert CapacityClaim.objects.count() == 2


def test_the_lost_disk_is_kept_until_somebody_removes_it(world: World) -> None:
    server, _ = with_snapshot(world)
    lost_disk = server.disk_volume()
    restored(world, server)
    old = world.driver()
    old.set_reachable(True)
    Host.objects.filter(pk=world.host.pk).update(status=HostStatus.REACHABLE)
    Observer().on_list(world.host.pk, old.domains(), timezone.now(), gap=True)
    work()
    copy = StaleCopy.objects.get()
    assert copy.evacuated
    seen = old.domain(server.uuid)
    assert seen is not None
    assert seen.power is Power.OFF
    assert old.volume_record("vpspanel", lost_disk) is not None
    assert {"domain_elsewhere", "disk_elsewhere"} <= audit().codes()
    stale.clean_up(SYSTEM, copy)
    work()
    assert old.volume_record("vpspanel", lost_disk) is None
    assert audit().codes() == set()
    server.refresh_from_db()
    assert server.power_seen == "running"


def test_the_page_and_the_command(world: World, client: Client, capsys: Any) -> None:
    server, image = with_snapshot(world)
    lose(world, shared=False)
    call_command("host_evacuate", world.host.name)
    assert f"web can be restarted --from-snapshots: “{image.description}”" in (
        capsys.readouterr().out
    )
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    page = reverse("admin:servers_evacuate", args=[world.host.pk])
    said = client.get(page).content.decode()
    assert f"“{image.description}” of " in said
    assert "from_copies" in said
    confirmed = {"confirmed_name": world.host.name, "fenced": FENCED}
    stays = client.post(page, confirmed, follow=True).content.decode()
    assert " stays: Its disk lies on this host only" in stays
    done = client.post(page, {**confirmed, "from_copies": "on"}, follow=True).content.decode()
    assert "Being restarted on other hosts: 1." in done
    work()
    server.refresh_from_db()
    assert server.host == world.hosts[1]
    assert "from_copies" not in client.get(page).content.decode()
