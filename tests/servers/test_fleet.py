"""The fleet in the admin: every host with its numbers, few queries, only for who may see hosts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from hosts.figures import MINUTE, beginning
from hosts.models import Host, HostStatus, Location
from hosts.models_fleet import HostSample
from tests.world import World, make_host, make_user, make_world
from vpspanel.accounts.models import User
from vpspanel.actions.models import Action
from vpspanel.servers.fleet import FleetRow, Wanted, read_fleet
from vpspanel.servers.models import Lifecycle, PowerSeen, Server

PAGE = reverse("admin:servers_fleet")
ROWS = reverse("admin:servers_fleet_rows")


@pytest.fixture
def world(db: None) -> World:
    return make_world()


@pytest.fixture
def root(world: World, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    return client


def names(**wanted: object) -> list[str]:
    return [row.host.name for row in rows(**wanted)]


def rows(**wanted: object) -> list[FleetRow]:
    places = read_fleet(Wanted(**wanted)).places  # type: ignore[arg-type]
    return [row for place in places for row in place.rows]


@pytest.mark.both_databases
def test_a_row_says_all_of_a_host(world: World) -> None:
    now = timezone.now()
    Host.objects.filter(pk=world.host.pk).update(cpus=8, memory_mib=65536)
    HostSample.objects.create(
        host=world.host, step=MINUTE, at=beginning(now, MINUTE), cpu_percent=200,
        memory_mib=16384, net_rx_bytes=125_000, net_tx_bytes=0,
    )  # fmt: skip
    for name, power, lifecycle in (
        ("on", PowerSeen.RUNNING, Lifecycle.ACTIVE),
        ("off", PowerSeen.OFF, Lifecycle.ACTIVE),
        ("gone", PowerSeen.RUNNING, Lifecycle.DELETED),
    ):
        ordered = world.order(name)
        Server.objects.filter(pk=ordered.server.pk).update(power_seen=power, lifecycle=lifecycle)
    Action.objects.filter(resource_id=Server.objects.get(name="off").pk).update(state="parked")
    (row,) = rows()
    assert (row.running, row.guests) == (1, 2)
    assert (row.cpu_load, row.memory_load) == (25, 25)
    assert (row.queue.running, row.queue.queued, row.queue.parked) == (0, 2, 1)
    assert [(share.claimed, share.limit) for share in row.shares] == [(3, 64), (0, 64), (3, 1000)]
    assert names(state="parked") == [world.host.name]


@pytest.mark.both_databases
def test_it_sorts_filters_and_searches(world: World) -> None:
    elsewhere = Location.objects.create(name="attic")
    full, empty = make_host(world.location), make_host(elsewhere)
    Host.objects.filter(pk=full.pk).update(
        memory_used_mib=60000, status=HostStatus.UNREACHABLE, accepting=False, tags=" nvme "
    )
    first, by_name = world.host.name, [empty.name, world.host.name, full.name]
    assert names() == by_name  # the attic's first, then by name
    assert names(sort="memory", down=True) == [empty.name, full.name, first]
    assert names(sort="health") == [empty.name, full.name, first]
    for sort in ("vcpus", "disk", "guests", "load", "nonsense"):
        assert sorted(names(sort=sort, down=True)) == sorted(by_name), sort
    assert names(state="unreachable") == names(state="closed") == names(words="nvme") == [full.name]
    assert names(location="attic") == names(words=empty.name) == [empty.name]
    assert names(words="no such") == names(state="parked") == []


def test_its_queries_do_not_grow(root: Client, world: World) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert root.get(ROWS, {"sort": "guests"}).status_code == 200
        return len(captured)

    few = queries()
    for number in range(5):
        make_host(world.location)
        world.order(f"web{number}")
    assert queries() == few <= 10


def test_the_page_and_its_rows(root: Client, world: World) -> None:
    Host.objects.filter(pk=world.host.pk).update(
        status=HostStatus.DEGRADED,
        status_since=timezone.now() - timedelta(hours=2),
        status_reason="<b>libvirt hangs</b>",
    )
    page = root.get(PAGE, {"state": "degraded", "page": "99"}).content.decode()
    assert f'hx-get="{ROWS}?state=degraded&amp;sort=name&amp;page=1"' in page
    part = root.get(ROWS).content.decode()
    for said in ("degraded", "&lt;b&gt;libvirt hangs", "2\xa0hours", world.host.name):
        assert said in page, said
        assert said in part, said
    assert "<html" not in part
    assert " style=" not in page


def test_it_is_for_those_who_may_see_hosts(world: World, client: Client) -> None:
    staff = make_user("staff@example.com")
    User.objects.filter(pk=staff.pk).update(is_staff=True)
    client.force_login(staff)
    assert {client.get(PAGE).status_code, client.get(ROWS).status_code} == {403}
    staff.user_permissions.add(Permission.objects.get(codename="view_host"))
    assert {client.get(PAGE).status_code, client.get(ROWS).status_code} == {200}
    assert world.alice.user is not None
    client.force_login(world.alice.user)
    assert {client.get(PAGE).status_code, client.get(ROWS).status_code} == {302}
