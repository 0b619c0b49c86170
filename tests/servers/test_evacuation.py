"""A host is lost: what leaves it, what cannot, and that nothing moves on a guess."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hosts.models import CapacityClaim, Host, HostStatus, StoragePool
from hosts.virt.errors import VirtError
from hosts.virt.spec import Power
from tests.servers.losing import FENCED, evacuated, lose, shared_world
from tests.world import World, make_host, work
from vpspanel.accounts.models import User
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers import evacuation
from vpspanel.servers.audit_records import check_records
from vpspanel.servers.groups import named_group
from vpspanel.servers.models import Server

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def world(db: None) -> World:
    return shared_world()


def identity(server: Server) -> tuple[Any, ...]:
    """What its owner and the network know it by."""
    addresses = server.primary_ips.values_list("pk", "address__address")
    return server.pk, server.uuid, server.mac, server.disk_volume(), tuple(addresses)


def counters() -> list[str]:
    """What the audit finds wrong with the records."""
    return [finding.code for finding in check_records(timezone.now())]


def test_a_server_on_shared_storage_runs_on_as_the_same_elsewhere(world: World) -> None:
    server, off = world.running(), world.stopped("off")
    before, source, target = identity(server), world.host, world.hosts[1]
    old = world.driver().guest_record(server.uuid).spec
    lose(world)
    done = evacuated(world)
    assert (len(done.actions), done.stays) == (2, [])
    server.refresh_from_db()
    off.refresh_from_db()
    assert identity(server) == before
    assert (server.host, server.power_seen, server.power_wanted) == (target, "running", "on")
    assert (off.host, off.power_seen, off.power_wanted) == (target, "off", "off")
    there = world.driver(target)
    seen = there.domain(server.uuid)
    assert seen is not None
    assert (seen.power, seen.ours) == (Power.RUNNING, True)
    assert there.guest_record(server.uuid).spec == old
    assert there.filter_record(server.filter_name) == world.driver().filter_record(
        server.filter_name
    )
    assert set(CapacityClaim.objects.values_list("host_id", flat=True)) == {target.pk}
    source.refresh_from_db()
    assert (source.vcpus_used, source.memory_used_mib, source.accepting) == (0, 0, False)
    assert counters() == []
    fenced = Event.objects.get(kind="host.fenced")
    assert (fenced.data["how"], fenced.public) == (FENCED, False)


@pytest.mark.parametrize(
    ("status", "name", "fenced"),
    [
        (HostStatus.REACHABLE, "", FENCED),
        (HostStatus.DEGRADED, "", FENCED),
        (HostStatus.UNKNOWN, "", FENCED),
        (HostStatus.UNREACHABLE, "another", FENCED),
        (HostStatus.UNREACHABLE, "", "  "),
    ],
)
def test_nothing_moves_on_a_guess(world: World, status: str, name: str, fenced: str) -> None:
    server = world.running()
    Host.objects.filter(pk=world.host.pk).update(status=status)
    calls = len(world.driver(world.hosts[1]).call_log())
    with pytest.raises(Refused):
        evacuation.evacuate(
            SYSTEM, world.host, confirmed_name=name or world.host.name, fenced=fenced
        )
    work()
    server.refresh_from_db()
    assert server.host == world.host
    assert not Action.objects.filter(command="evacuate").exists()
    assert not Event.objects.filter(kind="host.fenced").exists()
    assert len(world.driver(world.hosts[1]).call_log()) == calls
    assert Host.objects.get(pk=world.host.pk).accepting


def test_who_stays_and_why(world: World, django_assert_max_num_queries: Any) -> None:
    local, busy = world.running("local"), world.running("busy")
    StoragePool.objects.create(host=world.host, name="own", path="/own", limit_gib=10)
    Server.objects.filter(pk=local.pk).update(pool="own")
    Action.objects.create(
        command="power_off",
        resource_type="server",
        resource_id=busy.pk,
        state="parked",
        run_after=busy.created,
    )
    lose(world)
    done = evacuated(world)
    reasons = {one.server.name: one.reason for one in done.stays}
    assert done.actions == []
    assert "no snapshot" in reasons["local"]
    assert "power_off" in reasons["busy"]
    with django_assert_max_num_queries(4):
        assert len(evacuation.plan(world.host).stays) == 2


def test_spread_groups_and_room_hold(world: World) -> None:
    group = named_group(world.alice, world.project, "apart")
    first = world.running("first", placement_group=group)
    second = world.running("second", placement_group=group)
    assert {first.host, second.host} == set(world.hosts)
    lost = first.host
    assert lost is not None
    lose(world, lost)
    left = next(host for host in world.hosts if host != lost)
    Host.objects.filter(pk=left.pk).update(memory_limit_mib=0)
    done = evacuated(world, lost)
    assert done.actions == []
    assert all("room" in one.reason for one in done.stays)
    Host.objects.filter(pk=left.pk).update(memory_limit_mib=65536)
    done = evacuated(world, lost)
    assert [one.server.pk for one in done.stays] == [first.pk]  # the other one is there
    third = make_host(world.location)
    world.hosts.append(third)
    StoragePool.objects.filter(host=third).update(shared_id="nfs1")
    world.driver(third).outside_share(world.driver(lost))
    assert evacuated(world, lost).stays == []
    first.refresh_from_db()
    assert first.host == third
    assert counters() == []


@pytest.mark.parametrize("call", ["start", "define", "volumes"])
def test_what_fails_leaves_it_where_it_was(world: World, call: str) -> None:
    server, target = world.running(), world.hosts[1]
    lose(world)
    there = world.driver(target)
    if call == "volumes":
        there.delete_volume(server.pool, server.disk_volume())
    else:
        there.inject(call, VirtError("the lock is held by another host"), times=None)
    action = evacuated(world).actions[0]
    action.refresh_from_db()
    assert action.state == "error", action.detail
    server.refresh_from_db()
    assert (server.host, server.power_wanted) == (world.host, "on")
    assert there.domain(server.uuid) is None
    assert there.filters() == []
    assert CapacityClaim.objects.get(owner=server.uuid).host == world.host
    assert counters() == []


def test_the_page_and_the_command(world: World, client: Client, capsys: Any) -> None:
    world.running()
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    page = reverse("admin:servers_evacuate", args=[world.host.pk])
    said = client.get(page).content.decode()
    assert "Only a host that does not answer is evacuated" in said
    assert "How it was fenced" not in said
    lose(world)
    assert "How it was fenced" in client.get(page).content.decode()
    wrong = client.post(page, {"confirmed_name": "x", "fenced": FENCED})
    assert "Type the name of the host" in wrong.content.decode()
    call_command("host_evacuate", world.host.name)
    assert "web can leave" in capsys.readouterr().out
    assert not Action.objects.filter(command="evacuate").exists()
    done = client.post(page, {"confirmed_name": world.host.name, "fenced": FENCED}, follow=True)
    assert "Being restarted on other hosts: 1." in done.content.decode()
    assert Event.objects.get(kind="host.fenced").actor_name == "root@example.com"
    with pytest.raises(CommandError, match="no host nope"):
        call_command("host_evacuate", "nope", fenced=FENCED)


def test_staff_who_may_not_start_servers_may_not_evacuate(world: World, client: Client) -> None:
    client.force_login(User.objects.create_user("clerk@example.com", "secret", is_staff=True))
    page = reverse("admin:servers_evacuate", args=[world.host.pk])
    assert client.get(page).status_code == 403
