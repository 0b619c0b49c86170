"""Graphs: evenly spaced, bounded, with gaps where nothing was measured; for whom they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from hosts.figures import HOUR, MINUTE, beginning
from hosts.models import Host
from hosts.models_fleet import GuestSample, HostSample
from tests.world import World, make_user, make_world
from vpspanel.accounts.models import User
from vpspanel.servers.graphs import (
    MOST_POINTS,
    RANGES,
    TABLE_ROWS,
    as_json,
    as_table,
    host_series,
    range_named,
    server_series,
)
from vpspanel.servers.models import Server
from vpspanel.servers.templatetags.fleet import amount

NOW = datetime(2026, 3, 1, 12, 30, 30, tzinfo=UTC)


@pytest.fixture
def world(db: None) -> World:
    return make_world()


@pytest.fixture
def server(world: World) -> Server:
    server: Server = world.order().server
    Server.objects.filter(pk=server.pk).update(vcpus=2)
    server.refresh_from_db()
    return server


def test_a_point_for_each_step_and_a_gap_where_nothing_was_measured(server: Server) -> None:
    for minutes, cpu, rx in ((59, 50, 1000), (0, 100, None)):
        at = beginning(NOW, MINUTE) - timedelta(minutes=minutes)
        GuestSample.objects.create(
            owner=server.uuid, step=MINUTE, at=at, cpu_percent=cpu, net_rx_bytes=rx
        )
    answer = as_json(server_series(server, range_named("1h"), NOW))
    cpu, _, network = (graph["lines"][0]["values"] for graph in answer["graphs"])
    assert (answer["step"], answer["points"], len(cpu)) == (60, 60, 60)
    assert answer["start"] == (beginning(NOW, MINUTE) - timedelta(minutes=59)).timestamp()
    assert [cpu[0], *cpu[-2:]] == [25.0, None, 50.0]  # of both vCPUs together
    assert [network[0], network[-1]] == [8000.0, None]  # bits


def test_of_this_machine_more_is_known(world: World) -> None:
    host, at = world.host, beginning(NOW, MINUTE) - timedelta(minutes=1)
    HostSample.objects.create(host=host, step=MINUTE, at=at, load_average=1.5, swap_mib=64)
    for uri, titles in (
        ("qemu+ssh://root@192.0.2.1/system", ["CPU", "Memory", "Disk", "Network"]),
        ("qemu:///system", ["CPU", "Load", "Memory", "Disk", "Network"]),
    ):
        host.uri = uri
        series = host_series(host, range_named("1h"), NOW)
        assert [one["title"] for one in as_json(series)["graphs"]] == titles
    graphs = {one["title"]: one["lines"] for one in as_json(series)["graphs"]}
    assert graphs["Load"][0]["values"][-2] == 1.5
    assert graphs["Memory"][1]["values"][-2] == 64
    assert amount(1.5, "") == "1.5"


@pytest.mark.both_databases
def test_no_range_has_more_points_than_a_page_shows(world: World) -> None:
    Host.objects.filter(pk=world.host.pk).update(cpus=4, memory_mib=1000)
    world.host.refresh_from_db()
    hour = beginning(NOW, HOUR)
    HostSample.objects.bulk_create(
        HostSample(host=world.host, step=HOUR, at=hour - timedelta(hours=hours), cpu_percent=200)
        for hours in range(40)
    )
    for one in RANGES:
        series = host_series(world.host, one, NOW)
        assert series.points <= MOST_POINTS
        assert series.points * series.step >= one.span.total_seconds()
        assert len(as_table(series).rows) <= TABLE_ROWS
    year = as_json(host_series(world.host, RANGES[-1], NOW))
    assert year["graphs"][0]["lines"][0]["values"][-2:] == [50.0, 50.0]
    assert year["graphs"][0]["lines"][0]["values"][0] is None


def test_the_customers_page_has_a_table_for_who_runs_no_scripts(
    world: World, server: Server, client: Client
) -> None:
    assert world.bob.user is not None
    client.force_login(world.bob.user)
    page = reverse("servers:graphs", args=[server.pk])
    assert "Nothing was measured" in client.get(page).content.decode()
    GuestSample.objects.create(
        owner=server.uuid, step=MINUTE, at=beginning(datetime.now(UTC), MINUTE), cpu_percent=150
    )
    html = client.get(page, {"range": "1h"}).content.decode()
    figures = reverse("servers:figures", args=[server.pk])
    assert f'data-graphs="{figures}?range=1h"' in html
    assert "75.0 %" in html
    assert client.get(figures, {"range": "1h"}).json()["graphs"][0]["lines"][0]["values"][-1] == 75
    wrong = client.get(figures, {"range": "2h"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_input")
    assert "1h, 24h, 14d, 400d" in wrong.json()["error"]["message"]


def test_staff_see_what_they_may(world: World, server: Server, client: Client) -> None:
    pages = {
        "view_host": [
            reverse("admin:servers_host", args=[world.host.pk]),
            reverse("admin:servers_host_figures", args=[world.host.pk]),
        ],
        "view_server": [
            reverse("admin:servers_server_graphs", args=[server.pk]),
            reverse("admin:servers_server_figures", args=[server.pk]),
        ],
    }
    staff = make_user("staff@example.com")
    User.objects.filter(pk=staff.pk).update(is_staff=True)
    client.force_login(staff)
    for right, addresses in pages.items():
        assert {client.get(page).status_code for page in addresses} == {403}
        staff.user_permissions.add(Permission.objects.get(codename=right))
        assert {client.get(page).status_code for page in addresses} == {200}


def test_the_page_of_a_host_says_all_of_it(world: World, server: Server, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    for number in range(30):
        world.order(f"more{number:02}")
    page = reverse("admin:servers_host", args=[world.host.pk])
    html = client.get(page).content.decode()
    for said in ("vpspanel", "31 servers, page 1 of 2", "more05", "create", "Being created"):
        assert said in html, said
    assert "more29" not in html
    assert "more29" in client.get(page, {"page": "2"}).content.decode()
    found = client.get(page, {"q": "more07"}).content.decode()
    assert "more07" in found
    assert "more08" not in found
